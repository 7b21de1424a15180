"""Explains why the cache had no result for a task: what differs from its last run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from millrace.lineage.nodes import Kind, State, Task

if TYPE_CHECKING:
    from millrace.lineage.store import Store

_LOOKED_AT = 500  # executions of the pipeline, the newest first


def latest(store: Store, pipeline: str, path: str, before: int | None = None) -> Task | None:
    """Returns the newest successful execution of a task, with the parts of its fingerprint.

    Args:
        store: The lineage store.
        pipeline: The pipeline's name.
        path: The task's path.
        before: An execution that is newer than the one to find.
    """
    from millrace.lineage import layout, read, values
    from millrace.lineage.mlmd import ListOptions, OrderByField

    context = store.call("get_context_by_type_and_name", layout.PIPELINE, pipeline)
    if context is None:
        return None
    newest = ListOptions(limit=_LOOKED_AT, order_by=OrderByField.ID, is_asc=False)
    name = path.rpartition("/")[2].partition("[")[0]
    for message in store.call("get_executions_by_context", context.id, newest):
        if before is not None and message.id >= before:
            continue
        if message.type != Kind.CONTAINER or values.text(message, "task_name") != name:
            continue
        task = read.task(message, "", path)
        if task.state in (State.COMPLETE, State.CACHED):
            return task
    return None


def reason(now: Mapping[str, str], before: Task | None) -> str:
    """Returns in one line why an earlier result does not fit.

    Args:
        now: The parts of the fingerprint now.
        before: The last successful execution of the task.
    """
    from millrace.lineage.resume import PARTS

    if before is None:
        return "it has not run before"
    was = before.properties.get(PARTS)
    if not isinstance(was, Mapping) or not was:
        return "an earlier version of Millrace ran it"
    changed = sorted(name for name in now.keys() & was.keys() if now[name] != was[name])
    changed += sorted(f"{name} (new)" for name in now.keys() - was.keys())
    changed += sorted(f"{name} (gone)" for name in was.keys() - now.keys())
    if not changed:
        return "its result is no longer complete, or was made without the cache"
    return "changed: " + ", ".join(changed)
