"""Reopens the record of a run that failed or was killed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from millrace.errors import StoreError
from millrace.lineage import layout, query, read, values
from millrace.lineage.mlmd import pb
from millrace.lineage.nodes import CachedTask, Kind, State
from millrace.lineage.record import RunRecord
from millrace.lineage.store import Store

PARTS, TASK_FINGERPRINT = "fingerprint_parts", "task_fingerprint"
RESUMED = "resumed_at"  # a property of a run


@dataclasses.dataclass(frozen=True)
class Ended:
    """A task of the run that succeeded.

    Attributes:
        state: COMPLETE or CACHED.
        fingerprint: The cache's key of its result.
        result: Its outputs.
    """

    state: str
    fingerprint: str
    result: CachedTask


@dataclasses.dataclass(frozen=True)
class Previous:
    """The state of a run before it is resumed.

    Attributes:
        ended: The tasks that succeeded, by path.
        dags: The executions of its DAGs, by path.
    """

    ended: dict[str, Ended] = dataclasses.field(default_factory=dict)
    dags: dict[str, int] = dataclasses.field(default_factory=dict)


def reopen(
    store: Store, pipeline: str, run_id: str, properties: Mapping[str, Any]
) -> tuple[RunRecord, Previous]:
    """Sets a run RUNNING again and its interrupted tasks CANCELED; DAGs may go on.

    Args:
        store: The store.
        pipeline: The pipeline's name.
        run_id: The run's id.
        properties: Properties of the process that resumes it.

    Raises:
        StoreError: There is no such run, it has succeeded, or the store cannot be written.
    """
    run = query.find_run(store, run_id)
    if run.state == State.COMPLETE:
        raise StoreError(f"Run {run_id} has succeeded: there is nothing to resume.")
    context = store.call("get_context_by_type_and_name", layout.PIPELINE_RUN, run_id)
    context_of_pipeline = store.call("get_context_by_type_and_name", layout.PIPELINE, pipeline)
    if not store.call("get_parent_contexts_by_context", context.id):  # it was killed before
        parent = pb.ParentContext(child_id=context.id, parent_id=context_of_pipeline.id)
        store.call("put_parent_contexts", [parent])
    messages = {int(one.id): one for one in store.call("get_executions_by_context", context.id)}
    root = messages[run.id]
    # Before what has ended is read: from now on nothing that the run has made is deleted.
    root.last_known_state = pb.Execution.RUNNING
    for name in ("error", "finished_at"):
        root.custom_properties.pop(name, None)
    for name, value in {**properties, RESUMED: layout.now()}.items():
        values.set_property(root, name, value)
    store.put_execution(root, [], [])
    dags = {}
    for number, message in messages.items():
        if number == run.id:
            continue
        if message.type == Kind.DAG:
            dags[read.path(message, messages)] = number
        elif message.last_known_state == pb.Execution.RUNNING:
            layout.end(message, State.CANCELED, None, "the run was interrupted", {})
            store.put_execution(message, [], [])
    ended = {
        task.name: Ended(
            task.state,
            str(task.properties.get(TASK_FINGERPRINT) or ""),
            CachedTask(task.id, task.results, task.outputs),
        )
        for task in query.tasks(store, run)
        if task.state in (State.COMPLETE, State.CACHED) and task.kind != Kind.DAG
    }
    record = RunRecord(store, pipeline, (context_of_pipeline.id, context.id), root)
    record.adopt(messages[number] for number in dags.values())
    return record, Previous(ended, dags)
