"""`millrace cache explain RUN TASK`: why a task ran, or where its result came from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from millrace.cli import output
from millrace.errors import StoreError, nearest
from millrace.lineage.nodes import Task


def explain(run: str, task: str, root: str | Path, store: str | None, as_json: bool) -> None:
    """Prints why a task of a run ran, or which run its result was taken from.

    Raises:
        StoreError: There is no such run or task, or the lineage store cannot be read.
    """
    from millrace.lineage import query
    from millrace.lineage.resume import PARTS
    from millrace.runner import explain as explained

    with output.store_of(root, store) as opened:
        found = query.find_run(opened, run)
        one = _named(task, query.tasks(opened, found), found.run_id)
        parts = one.properties.get(PARTS)
        parts = parts if isinstance(parts, Mapping) else {}
        if one.cached_from is not None:
            maker = query.run_of(opened, one.cached_from)
            why = f"its result was taken from run {maker}" if maker else "its result was cached"
        else:
            before = explained.latest(opened, found.pipeline, one.name, one.id)
            why = explained.reason({str(key): str(value) for key, value in parts.items()}, before)
    if as_json:
        output.as_json({"task": one.name, "state": one.state, "why": why, "parts": dict(parts)})
        return
    console = output.console()
    console.print(f"{one.name}  {one.state.lower()}", style="bold")
    console.print(why)


def _named(text: str, tasks: list[Task], run_id: str) -> Task:
    """Returns the last execution of the task with a path or display name."""
    for task in reversed(tasks):
        if text in (task.name, task.display_name):
            return task
    names = [task.name for task in tasks]
    raise StoreError(f'Run {run_id} has no task "{text}".{nearest(text, names)}')
