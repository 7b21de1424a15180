"""Derives what KFP's backend does not record: the state, end and error of its DAGs.

KFP (up to 2.17) leaves a run's root DAG RUNNING for ever, and most nested DAGs too. It records
neither times nor errors, so they are derived from the tasks' executions.

See https://github.com/kubeflow/pipelines/blob/2.4.0/backend/src/v2/metadata/client.go.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone

from millrace.lineage import read, values
from millrace.lineage.mlmd import pb

LOG_PORT = "executor-logs"  # the output under which KFP's launcher records a task's log

_ACTIVE = {pb.Execution.NEW, pb.Execution.RUNNING}
_NAMED = 3  # failed tasks named in a run's error


def complete(messages: Mapping[int, pb.Execution], root: pb.Execution) -> None:
    """Sets state, end and error of a run's executions, if KFP recorded it.

    A DAG is running if a task in it is running or pending, failed if a task in it failed, and
    complete otherwise. If the run has failed, a DAG with tasks that never started is canceled. If
    a task has several executions, because the run was retried, the newest counts. A task that KFP
    has not started yet has no execution: a run between two tasks looks complete.
    """
    if "started_at" in root.custom_properties:
        return
    children = _children(messages)
    leaves = {
        one.last_known_state for inner in children.values() for one in inner if not read.is_dag(one)
    }
    has_failed = pb.Execution.FAILED in leaves and not leaves & _ACTIVE
    # The executions in a DAG have greater ids than the DAG itself.
    for number, message in sorted(messages.items(), reverse=True):
        if read.is_dag(message):
            _end(message, children[number], has_failed)
        elif message.last_known_state == pb.Execution.FAILED:
            pod = values.text(message, "pod_name")
            where = f": see the log of pod {pod}" if pod else ""
            _explain(message, f"KFP does not record why{where}")
    if root.last_known_state == pb.Execution.FAILED:
        failed = [read.path(one, messages) for one in _failed(int(root.id), children)]
        more = f" and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
        _explain(root, f"failed: {', '.join(failed[:_NAMED])}{more}")


def _children(messages: Mapping[int, pb.Execution]) -> dict[int, list[pb.Execution]]:
    """Returns the direct children of each DAG."""
    newest = {
        (read.parent(message), read.path(message, messages)): number
        for number, message in sorted(messages.items())
    }
    children: dict[int, list[pb.Execution]] = defaultdict(list)
    for (parent, _), number in newest.items():
        if parent is not None and parent < number:
            children[parent].append(messages[number])
    return children


def _end(dag: pb.Execution, inner: list[pb.Execution], has_failed: bool) -> None:
    """Sets the state and end of a DAG from its direct children."""
    states = {message.last_known_state for message in inner}
    if dag.last_known_state == pb.Execution.RUNNING:
        if states & _ACTIVE:
            return
        if pb.Execution.FAILED in states:
            dag.last_known_state = pb.Execution.FAILED
        elif len(inner) >= _expected(dag):
            dag.last_known_state = pb.Execution.COMPLETE
        elif has_failed:
            dag.last_known_state = pb.Execution.CANCELED
        else:
            return
    if inner:
        last = max(map(_finished, inner)).isoformat(timespec="milliseconds")
        values.set_property(dag, "finished_at", last)


def _expected(dag: pb.Execution) -> int:
    """Returns how many executions a DAG will have, as far as KFP records it."""
    for name in ("iteration_count", "total_dag_tasks"):
        if name in dag.custom_properties:
            return int(dag.custom_properties[name].int_value)
    return 1


def _finished(message: pb.Execution) -> datetime:
    if recorded := values.text(message, "finished_at"):
        return datetime.fromisoformat(recorded)
    return datetime.fromtimestamp(message.last_update_time_since_epoch / 1000, timezone.utc)


def _failed(dag: int, children: Mapping[int, list[pb.Execution]]) -> Iterator[pb.Execution]:
    """Yields the failed tasks in a DAG and in nested ones."""
    for message in children.get(dag, ()):
        if read.is_dag(message):
            yield from _failed(int(message.id), children)
        elif message.last_known_state == pb.Execution.FAILED:
            yield message


def _explain(message: pb.Execution, error: str) -> None:
    if not values.text(message, "error"):
        values.set_property(message, "error", error)
