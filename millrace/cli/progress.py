"""Shows how a run goes on: a live table on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TextIO

from millrace.cli import task_summary
from millrace.report import numbers
from millrace.runner.result import RunResult, State, TaskResult

if TYPE_CHECKING:  # rich takes 50 ms to import, which only a terminal is worth
    from rich.console import Console
    from rich.table import Table

STYLES = {
    State.WAITING: "dim",
    State.RUNNING: "bold cyan",
    State.COMPLETE: "green",
    State.CACHED: "blue",
    State.FAILED: "bold red",
    State.SKIPPED: "yellow",
    State.CANCELED: "yellow",
    State.PLANNED: "cyan",
}
_REFRESHES = 8  # a second
_MANY = 50  # iterations of a loop that lines are printed for
_HEADINGS = ("task", "state", "time", "memory", "what came out")
_AROUND = 5  # lines of a terminal that the table leaves
_INDEX = re.compile(r"\[\d+\]")
_PAUSE = 10.0  # seconds between two lines on how far a task is


def listener(stream: TextIO | None = None) -> Lines:
    """Returns what shows a run on a stream, standard output if it is None."""
    stream = stream or sys.stdout
    return Live(stream) if stream.isatty() else Lines(stream)


class Lines:
    """Prints a line when a task has started or ended.

    Of a loop with many iterations it prints how far it is, and what has failed in it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._start = time.monotonic()
        self._run: RunResult | None = None
        self._told: dict[str, int] = {}
        self._progressed: dict[str, float] = {}

    def started(self, run: RunResult) -> None:
        """Prints what is run, and where."""
        self._run = run
        self._print(f"{run.pipeline}: run {run.run_id} in {run.folder}")

    def changed(self, task: TaskResult) -> None:
        """Prints what a task has come to."""
        assert self._run is not None
        loop = self._large_loop(task)
        if loop is not None:
            self._tell_progress(loop)
        if (task.is_dag and task.iterations is None) or (
            loop is not None and task.state is not State.FAILED
        ):
            return
        words = [task.state.value.lower()]
        if task.state.good or task.state is State.FAILED:
            words.append(numbers.seconds(task.seconds))
        words.append(task.error.partition("\n")[0] if task.error else summary_of(task))
        self._print(f"{self._run.name(task)}: {'  '.join(word for word in words if word)}")

    def retrying(self, task: TaskResult, error: str, seconds: float) -> None:
        """Prints why a task is tried again."""
        assert self._run is not None
        self._print(f"{self._run.name(task)}: failed, again in {seconds:g} s: {error}")

    def progressed(self, task: TaskResult) -> None:
        """Prints now and then how far a task is."""
        assert self._run is not None
        now = time.monotonic()
        if now - max(task.started, self._progressed.get(task.path, 0.0)) >= _PAUSE:
            self._progressed[task.path] = now
            self._print(f"{self._run.name(task)}: {task.progress}")

    def ended(self, run: RunResult) -> None:
        """Prints nothing: the summary follows."""

    def _large_loop(self, task: TaskResult) -> TaskResult | None:
        """Returns the loop that a task is in, if its iterations are too many to print."""
        assert self._run is not None
        if not task.is_in_loop:
            return None
        loop = self._run.tasks.get(task.path.partition("[")[0])
        return loop if loop is not None and (loop.iterations or 0) > _MANY else None

    def _tell_progress(self, loop: TaskResult) -> None:
        """Prints how far a loop is, at every tenth of it."""
        assert loop.iterations is not None
        tenth = 10 * loop.iterations_ended // loop.iterations
        if tenth > self._told.get(loop.path, 0) and tenth < 10:
            self._told[loop.path] = tenth
            self._print(f"{loop.path}: {summary_of(loop)}")

    def _print(self, line: str) -> None:
        elapsed = time.monotonic() - self._start
        self._stream.write(f"{elapsed:7.2f}  {line}\n")
        self._stream.flush()


def summary_of(task: TaskResult) -> str:
    """Returns on one line what a task came to, or how far a loop is."""
    if task.iterations is not None:
        return f"{task.iterations_ended:,} of {task.iterations:,} iterations"
    return task_summary.of(task)


class Live(Lines):
    """Keeps a table of the tasks up to date."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._live: Any = None
        self._console: Console | None = None
        self._notes: dict[str, str] = {}

    def started(self, run: RunResult) -> None:
        """Shows the table."""
        from rich.console import Console
        from rich.live import Live as RichLive

        self._run = run
        console = self._console = Console(file=self._stream)
        console.print(f"[bold]{run.pipeline}[/]  run {run.run_id}", highlight=False)
        self._live = RichLive(
            console=console,
            get_renderable=self._table,
            refresh_per_second=_REFRESHES,
            transient=True,
        )
        self._live.start()

    def changed(self, task: TaskResult) -> None:
        """Leaves it to the next refresh."""

    def retrying(self, task: TaskResult, error: str, seconds: float) -> None:
        """Shows why a task is tried again beside its name."""
        self._notes[task.path] = f"again in {seconds:g} s: {error}"

    def progressed(self, task: TaskResult) -> None:
        """Leaves it to the next refresh."""

    def ended(self, run: RunResult) -> None:
        """Takes the table away: the summary follows."""
        if self._live is not None:
            self._live.stop()

    def _table(self) -> Table:
        assert self._run is not None
        assert self._console is not None
        width, height = self._console.size
        return table(self._run, self._notes, width=width, height=height - _AROUND)


def table(
    run: RunResult,
    notes: Mapping[str, str] = MappingProxyType({}),
    failures: bool = True,
    width: int = 0,
    height: int = 0,
) -> Table:
    """Returns a table with a row for each task.

    Args:
        run: The run.
        notes: What to say of a running task, by its path.
        failures: Whether to say why a task failed.
        width: Columns of the terminal, of which names take a third at most; 0 cuts no name.
        height: The most rows, each of one line; 0 shows all.
    """
    from rich.table import Table
    from rich.text import Text

    tasks = run.shown()
    shown = _most_telling(tasks, height) if height else tasks
    result = Table(box=None, pad_edge=False, header_style="dim")
    columns: list[dict[str, Any]] = [
        {"no_wrap": True, "max_width": width // 3 or None},
        {"no_wrap": True},
        {"no_wrap": True, "justify": "right"},
        {"no_wrap": True, "justify": "right"},
        {"overflow": "fold"},
    ]
    for heading, options in zip(_HEADINGS, columns, strict=True):
        result.add_column(heading, **options)
    one_line: dict[str, Any] = {"no_wrap": True, "overflow": "ellipsis"} if height else {}
    for task in shown:
        label, state, elapsed, memory, what = _row(run, task, notes, failures)
        result.add_row(
            Text(label, style="bold" if task.state.good else ""),
            Text(state, style=STYLES[task.state]),
            elapsed,
            memory,
            Text(what, **one_line),
        )
    if len(shown) < len(tasks):
        result.add_row(Text(f"… {len(tasks) - len(shown)} more", style="dim"))
    return result


def _row(
    run: RunResult, task: TaskResult, notes: Mapping[str, str], failures: bool
) -> tuple[str, str, str, str, str]:
    """Returns what the table says of a task."""
    return (
        _label(run, task),
        task.state.value.lower(),
        _elapsed(task),
        numbers.size(task.peak_memory) if task.peak_memory else "",
        _what(task, notes, failures),
    )


def _most_telling(tasks: Sequence[TaskResult], height: int) -> Sequence[TaskResult]:
    """Returns the tasks that there is room for: those that run or failed before others."""
    if len(tasks) <= height:
        return tasks
    notable = (State.RUNNING, State.FAILED)
    ranked = sorted(tasks, key=lambda task: (task.state not in notable, task.is_in_loop))
    kept = {task.path for task in ranked[: max(1, height - 1)]}
    return [task for task in tasks if task.path in kept]


def _label(run: RunResult, task: TaskResult) -> str:
    """Returns a task's name; in loops with its iterations, and indented below the loop."""
    indices = _INDEX.findall(task.path)
    if not indices:
        return run.name(task)
    return f"{'  ' * len(indices)}{''.join(indices)} {task.display_name}"


def _elapsed(task: TaskResult) -> str:
    if task.state is State.RUNNING:
        return numbers.seconds(time.monotonic() - task.started)
    return numbers.seconds(task.seconds) if task.seconds else ""


def _what(task: TaskResult, notes: Mapping[str, str], failures: bool) -> str:
    if task.error:
        return task.error.partition("\n")[0] if failures or task.state is not State.FAILED else ""
    if task.state is State.RUNNING:
        if task.iterations is not None:
            return summary_of(task)
        return str(task.progress or notes.get(task.path, ""))
    return summary_of(task)


def table_text(run: RunResult, stream: TextIO) -> str:
    """Returns the table as text: in colours and as wide as the terminal, or plain and uncut."""
    if not stream.isatty():
        return _plain([_HEADINGS, *(_row(run, task, {}, failures=False) for task in run.shown())])
    from millrace.cli.console import Console

    console = Console(file=stream, highlight=False, soft_wrap=True)
    with console.capture() as captured:
        console.print(table(run, failures=False, width=console.width))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _plain(rows: Sequence[Sequence[str]]) -> str:
    """Lays rows out in columns: times and memory to the right, the others to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = [
        "  ".join(
            f"{cell:{side}{width}}" for cell, side, width in zip(row, "<<>><", widths, strict=True)
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in aligned)
