"""Finds runs and their tasks."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from millrace.errors import StoreError, nearest
from millrace.lineage import kfp_states, read, values
from millrace.lineage.layout import PIPELINE, PIPELINE_RUN, ROOT_NAME
from millrace.lineage.mlmd import ListOptions, OrderByField, pb
from millrace.lineage.nodes import Event, Run, Task
from millrace.lineage.store import Store

LATEST = "latest"
PINNED = "pinned"  # a property of the context of a run

_RUN_ID = re.compile(r"[\w.:+-]+")
_CONTEXTS = 16  # contexts of all kinds that are read per wanted run, at first
_SOME = 5


def runs(store: Store, limit: int | None = None) -> list[Run]:
    """Returns the newest runs, the newest first.

    Raises:
        StoreError: The store cannot be read.
    """
    found = (_run(store, context) for context in _contexts(store, limit))
    return [run for run in found if run is not None]


def find_run(store: Store, text: str) -> Run:
    """Returns the run with an id, the beginning of one, or `latest`.

    Raises:
        StoreError: There is none, or there are several.
    """
    context = None
    if _RUN_ID.fullmatch(text):
        context = store.call("get_context_by_type_and_name", PIPELINE_RUN, text)
    if context is None and text == LATEST:
        context = next(iter(_contexts(store, 1)), None)
    run = _run(store, context or _by_prefix(store, text))
    if run is None:
        raise StoreError(f"Run {text} has no root execution in the store {store.where}.")
    return run


def run_ids(store: Store, prefix: str) -> list[str]:
    """Returns the ids of the runs with a prefix, the newest first.

    Raises:
        StoreError: The store cannot be read.
    """
    return [context.name for context in _contexts(store) if context.name.startswith(prefix)]


def pipelines(store: Store) -> list[str]:
    """Returns the names of the pipelines that runs were made of.

    Raises:
        StoreError: The store cannot be read.
    """
    return sorted(str(context.name) for context in store.call("get_contexts_by_type", PIPELINE))


def tasks(store: Store, run: Run) -> list[Task]:
    """Returns the tasks of a run in the order in which they started, with what they read and made.

    Raises:
        StoreError: The store cannot be read.
    """
    context = store.call("get_context_by_type_and_name", PIPELINE_RUN, run.run_id)
    messages = _executions(store, context)
    found = {
        number: read.task(message, run.run_id, read.path(message, messages))
        for number, message in sorted(messages.items())
        if number != run.id
    }
    attach(store, found.values())
    return list(found.values())


def run_of(store: Store, execution_id: int) -> str:
    """Returns the id of the run that an execution belongs to; empty if there is none.

    Raises:
        StoreError: The store cannot be read.
    """
    contexts = store.call("get_contexts_by_execution", execution_id)
    return next((str(one.name) for one in contexts if one.type == PIPELINE_RUN), "")


def is_pinned(context: pb.Context) -> bool:
    """Returns whether a run is pinned: all that it read and made is to be kept."""
    return PINNED in context.custom_properties and context.custom_properties[PINNED].bool_value


def attach(store: Store, found: Iterable[Task]) -> list[Event]:
    """Sets the inputs and outputs of tasks, and returns the events."""
    by_id = {task.id: task for task in found}
    events = read.events_of_executions(store, by_id)
    artifacts = read.artifacts(store, (event.artifact_id for event in events))
    sides: dict[tuple[int, bool], list[Event]] = defaultdict(list)
    for event in events:
        sides[event.execution_id, event.is_output].append(event)
    for (number, is_output), found_events in sides.items():
        ports = read.by_port(found_events, artifacts)
        if is_output and (log := ports.pop(kfp_states.LOG_PORT, None)):
            by_id[number].properties["log"] = log[0].uri
        side = by_id[number].outputs if is_output else by_id[number].inputs
        side.update(ports)
    return events


def _contexts(store: Store, limit: int | None = None) -> list[pb.Context]:
    """Returns the contexts of the newest runs, the newest first."""
    if limit is None:
        found = store.call("get_contexts_by_type", PIPELINE_RUN)
        return sorted(found, key=lambda context: -int(context.id))
    size = limit * _CONTEXTS
    while True:
        options = ListOptions(limit=size, order_by=OrderByField.ID, is_asc=False)
        newest = store.call("get_contexts", options)
        found = [context for context in newest if context.type == PIPELINE_RUN]
        if len(found) >= limit or len(newest) < size:
            return found[:limit]
        size *= _CONTEXTS


def _executions(store: Store, context: pb.Context) -> dict[int, pb.Execution]:
    """Returns the executions of a run, with what KFP does not record filled in."""
    found = store.call("get_executions_by_context", context.id)
    messages = {int(message.id): message for message in found}
    if root := _root(context, messages):
        kfp_states.complete(messages, root)
    return messages


def _root(context: pb.Context, messages: Mapping[int, pb.Execution]) -> pb.Execution | None:
    """Returns the execution of a run's root DAG."""
    name = ROOT_NAME + context.name
    return next((message for message in messages.values() if message.name == name), None)


def _by_prefix(store: Store, text: str) -> pb.Context:
    known = _contexts(store)
    found = [context for context in known if text and context.name.startswith(text)]
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(context.name for context in found[:_SOME])
        more = f" and {len(found) - _SOME} more" if len(found) > _SOME else ""
        raise StoreError(f'"{text}" matches {len(found)} runs: {some}{more}. Give more of the id.')
    if not known:
        raise StoreError(f'There is no run "{text}": the lineage store {store.where} has none.')
    raise StoreError(
        f'There is no run "{text}" in the lineage store {store.where}. `millrace runs` lists them.'
        f"{nearest(text, [context.name for context in known])}"
    )


def _run(store: Store, context: pb.Context) -> Run | None:
    messages = _executions(store, context)
    root = _root(context, messages)
    if root is None:
        return None
    parents = store.call("get_parent_contexts_by_context", context.id)
    states = Counter(
        pb.Execution.State.Name(message.last_known_state)
        for message in messages.values()
        if not read.is_dag(message)
    )
    common = read.span(root)
    return Run(
        run_id=str(context.name),
        pipeline=next((str(one.name) for one in parents if one.type == PIPELINE), ""),
        root=values.text(context, "pipeline_root"),
        counts=dict(states),
        pinned=is_pinned(context),
        **{**common, "display_name": common["display_name"] or str(context.name)},
    )
