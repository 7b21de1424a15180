"""The page of a run: its DAG, its timeline, and what became of each task."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from millrace.report.page import render

_TEMPLATE = Path(__file__).parent / "templates" / "run.html.j2"
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y = 124, 32, 22, 12  # pixels of a task in the graph
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
    """

    name: str
    path: str
    state: str
    begin: float | None
    seconds: float | None
    summary: str = ""
    pages: Mapping[str, str] = dataclasses.field(default_factory=dict)
    depends: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Node:
    """A task in the graph, with the pixel of its upper left corner."""

    row: TaskRow
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
        rows: Its tasks, in the order in which they started.
        error: Why it failed.
    """
    nodes = _placed([row for row in rows if "[" not in row.path])
    total = max([seconds or 0.0, *((row.begin or 0) + (row.seconds or 0) for row in rows)])
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.state] = counts.get(row.state, 0) + 1
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
    """Places tasks in columns: each to the right of all that it waited for."""
    known = {row.path: row for row in rows}
    columns: dict[str, int] = {}

    def column(path: str, above: frozenset[str]) -> int:
        if path not in columns:
            before = [one for one in known[path].depends if one in known and one not in above]
            columns[path] = 1 + max((column(one, above | {path}) for one in before), default=-1)
        return columns[path]

    used: dict[int, int] = {}
    nodes = []
    for row in rows:
        x = column(row.path, frozenset())
        y = used.get(x, 0)
        used[x] = y + 1
        nodes.append(Node(row, x * (_WIDTH + _GAP_X) + 1, y * (_HEIGHT + _GAP_Y) + 1))
    return nodes


def _edges(nodes: Sequence[Node]) -> list[str]:
    """Returns the path of each line from a task to one that waited for it, as SVG."""
    places = {node.row.path: node for node in nodes}
    found = []
    for node in nodes:
        for name in node.row.depends:
            if (start := places.get(name)) is None:
                continue
            x1, y1 = start.x + _WIDTH, start.y + _HEIGHT / 2
            x2, y2 = node.x, node.y + _HEIGHT / 2
            bend = (x1 + x2) / 2
            found.append(f"M{x1:g},{y1:g} C{bend:g},{y1:g} {bend:g},{y2:g} {x2:g},{y2:g}")
    return found
