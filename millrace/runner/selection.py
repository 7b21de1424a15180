"""Selects the tasks of a pipeline to run: `--from`, `--to` and `--only`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from millrace.errors import ParameterError, nearest
from millrace.ir import spec as ir


@dataclasses.dataclass(frozen=True)
class Selection:
    """The tasks that the user asked for.

    Attributes:
        forced: The paths of the tasks that run anew even if the cache has their results.
        skipped: The paths of the tasks that are left out.
        why: What the user asked for, for the reason that a skipped task shows.
    """

    forced: frozenset[str] = frozenset()
    skipped: frozenset[str] = frozenset()
    why: str = ""

    def is_forced(self, path: str) -> bool:
        """Returns whether a task, or a DAG that it is in, must run anew."""
        return any(path == one or path.startswith((f"{one}/", f"{one}[")) for one in self.forced)


def select(pipeline: ir.Pipeline, start: str = "", end: str = "", only: str = "") -> Selection:
    """Returns the selection of top-level tasks.

    Args:
        pipeline: The pipeline.
        start: The task from which everything runs anew; what comes before may be cached.
        end: The task after which nothing runs.
        only: The one task to run anew, after the tasks it needs.

    Raises:
        ParameterError: There is no such task, or `only` is combined with the others.
    """
    if only and (start or end):
        raise ParameterError("--only TASK means --from TASK --to TASK: leave those out.")
    tasks = pipeline.dag.tasks
    forced, kept = set[str](), set(tasks)
    if first := start or only:
        name = _named(tasks.values(), first)
        forced = {name} if only else _reached(name, pipeline.dag.dependents)
    if last := end or only:
        name = _named(tasks.values(), last)
        kept = _reached(name, {each: task.depends for each, task in tasks.items()})
    why = " ".join(
        f"--{option} {value}"
        for option, value in (("from", start), ("to", end), ("only", only))
        if value
    )
    return Selection(frozenset(forced & kept), frozenset(set(tasks) - kept), why)


def _named(tasks: Iterable[ir.Task], text: str) -> str:
    """Returns the name of the task with a name or display name."""
    names = {task.display_name: task.name for task in tasks}
    names |= {task.name: task.name for task in tasks}
    if text not in names:
        raise ParameterError(f'The pipeline has no task "{text}".{nearest(text, names)}')
    return names[text]


def _reached(name: str, ways: Mapping[str, tuple[str, ...]]) -> set[str]:
    found, waiting = set[str](), [name]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting.extend(ways[one])
    return found
