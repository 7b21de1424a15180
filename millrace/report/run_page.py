"""The page of a run: its DAG, its timeline, and what became of each task."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from millrace.report.page import render

_TEMPLATE = Path(__file__).parent / "templates" / "run.html.j2"
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y = 124, 44, 22, 12  # pixels of a task in the graph
_ROWS = 400  # of the timeline and the table; a loop may have thousands of tasks


@dataclasses.dataclass(frozen=True)
class TaskRow:
    """A task as the page shows it.

    Attributes:
        name: What people call it.
        path: Its path in the run.
        state: Its state, in capital letters.
        begin: Seconds from the start of the run to its own; None if it never started.
        seconds: How long it took.
        summary: What came out, or why it failed.
        pages: Links to what it wrote, by name.
        depends: The paths of the tasks that it waited for.
        depth: How many loops it is in.
        is_loop: Whether it is a loop, whose tasks have rows of their own.
    """

    name: str
    path: str
    state: str
    begin: float | None
    seconds: float | None
    summary: str = ""
    pages: Mapping[str, str] = dataclasses.field(default_factory=dict)
    depends: tuple[str, ...] = ()
    depth: int = 0
    is_loop: bool = False

    @property
    def word(self) -> str:
        """The state as people read it."""
        return self.state.lower().replace("_", " ")


@dataclasses.dataclass(frozen=True)
class Node:
    """A task in the graph, with the pixel of its upper left corner and the number of its row."""

    row: TaskRow
    number: int
    x: float
    y: float


def page(
    title: str,
    pipeline: str,
    state: str,
    started: datetime | None,
    seconds: float | None,
    parameters: Sequence[str],
    rows: Sequence[TaskRow],
    error: str = "",
) -> str:
    """Returns the page as HTML.

    Args:
        title: The run's id.
        pipeline: The pipeline's name.
        state: The run's state.
        started: When it started.
        seconds: How long it took.
        parameters: Its parameters as `name=value`.
        rows: Its tasks, each loop's after it.
        error: Why it failed.
    """
    nodes = _placed(rows)
    total = max([seconds or 0.0, *((row.begin or 0) + (row.seconds or 0) for row in rows)])
    counts: dict[str, int] = {}
    for row in rows:
        if not row.is_loop:
            counts[row.word] = counts.get(row.word, 0) + 1
    return render(
        _TEMPLATE,
        title=title,
        pipeline=pipeline,
        state=state,
        started=f"{started.astimezone():%Y-%m-%d %H:%M:%S}" if started else "",
        seconds=seconds,
        parameters=parameters,
        error=error,
        counts=counts,
        rows=rows[:_ROWS],
        left_out=max(0, len(rows) - _ROWS),
        total=total or 1.0,
        nodes=nodes,
        edges=_edges(nodes),
        box=(_WIDTH, _HEIGHT),
        width=max((node.x + _WIDTH for node in nodes), default=0) + 2,
        height=max((node.y + _HEIGHT for node in nodes), default=0) + 2,
    )


def _placed(rows: Sequence[TaskRow]) -> list[Node]:
    """Places the tasks outside of loops in columns: each to the right of all that it waited for."""
    numbers = {row.path: number for number, row in enumerate(rows)}
    columns: dict[str, int] = {}
    used: dict[int, int] = {}
    nodes = []
    for row in _in_order([row for row in rows if not row.depth]):
        x = 1 + max((columns[one] for one in row.depends if one in columns), default=-1)
        y = used.get(x, 0)
        columns[row.path], used[x] = x, y + 1
        nodes.append(
            Node(row, numbers[row.path], x * (_WIDTH + _GAP_X) + 1, y * (_HEIGHT + _GAP_Y) + 1)
        )
    return nodes


def _in_order(rows: Sequence[TaskRow]) -> list[TaskRow]:
    """Returns tasks after those that they waited for; what waits in a circle comes last."""
    known = {row.path: row for row in rows}
    waiting = {row.path: {one for one in row.depends if one in known} for row in rows}
    after: dict[str, list[str]] = {}
    for path, names in waiting.items():
        for name in names:
            after.setdefault(name, []).append(path)
    ready = [row.path for row in rows if not waiting[row.path]]
    for path in ready:  # it grows
        for later in after.get(path, ()):
            waiting[later].discard(path)
            if not waiting[later]:
                ready.append(later)
    done = set(ready)
    return [known[path] for path in ready] + [row for row in rows if row.path not in done]


def _edges(nodes: Sequence[Node]) -> list[str]:
    """Returns the path of each line from a task to one that waited for it, as SVG.

    A line is left out if other lines say the same by way of a third task.
    """
    places = {node.row.path: node for node in nodes}
    above: dict[str, set[str]] = {}  # all that a task waited for, directly or not
    found = []
    for node in nodes:
        direct = [name for name in node.row.depends if name in places and name != node.row.path]
        indirect = set().union(*(above.get(name, set()) for name in direct))
        above[node.row.path] = indirect.union(direct)
        for name in direct:
            if name in indirect:
                continue
            start = places[name]
            x1, y1 = start.x + _WIDTH, start.y + _HEIGHT / 2
            x2, y2 = node.x, node.y + _HEIGHT / 2
            bend = (x1 + x2) / 2
            found.append(f"M{x1:g},{y1:g} C{bend:g},{y1:g} {bend:g},{y2:g} {x2:g},{y2:g}")
    return found
