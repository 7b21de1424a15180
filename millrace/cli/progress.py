"""Shows how a run goes on: a live table on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TextIO

from millrace.cli import task_summary
from millrace.report import numbers
from millrace.runner.result import RunResult, State, TaskResult

if TYPE_CHECKING:  # rich takes 50 ms to import, which is done beside the first tasks
    from rich.table import Table

STYLES = {
    State.WAITING: "dim",
    State.RUNNING: "bold cyan",
    State.COMPLETE: "green",
    State.CACHED: "blue",
    State.FAILED: "bold red",
    State.SKIPPED: "yellow",
    State.CANCELED: "yellow",
}
_REFRESHES = 8  # a second
_WIDTH = 160  # of the table where nobody watches


def listener(stream: TextIO | None = None) -> Lines:
    """Returns what shows a run on a stream, standard output if it is None."""
    stream = stream or sys.stdout
    return Live(stream) if stream.isatty() else Lines(stream)


class Lines:
    """Prints a line when a task has started or ended."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._start = time.monotonic()
        self._lock = threading.Lock()
        self._names: dict[str, str] = {}

    def started(self, run: RunResult) -> None:
        """Prints what is run, and where."""
        self._names = run.names()
        self._print(f"{run.pipeline}: run {run.run_id} in {run.folder}")

    def changed(self, task: TaskResult) -> None:
        """Prints what a task has come to."""
        if task.is_dag:
            return
        words = [task.state.value.lower()]
        if task.state.good or task.state is State.FAILED:
            words.append(numbers.seconds(task.seconds))
        words.append(task.error.partition("\n")[0] if task.error else task_summary.of(task))
        self._print(f"{self._names[task.path]}: {'  '.join(word for word in words if word)}")

    def retrying(self, task: TaskResult, error: str, seconds: float) -> None:
        """Prints why a task is tried again."""
        self._print(f"{self._names[task.path]}: failed, again in {seconds:g} s: {error}")

    def ended(self, run: RunResult) -> None:
        """Prints nothing: the summary follows."""

    def _print(self, line: str) -> None:
        with self._lock:
            elapsed = time.monotonic() - self._start
            self._stream.write(f"{elapsed:7.2f}  {line}\n")
            self._stream.flush()


class Live(Lines):
    """Keeps a table of the tasks up to date."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._run: RunResult | None = None
        self._live: Any = None
        self._notes: dict[str, str] = {}

    def started(self, run: RunResult) -> None:
        """Shows the table."""
        from rich.console import Console
        from rich.live import Live as RichLive

        self._run = run
        console = Console(file=self._stream)
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

    def ended(self, run: RunResult) -> None:
        """Takes the table away: the summary follows."""
        if self._live is not None:
            self._live.stop()

    def _table(self) -> Table:
        assert self._run is not None
        return table(self._run, self._notes)


def table(
    run: RunResult, notes: Mapping[str, str] = MappingProxyType({}), failures: bool = True
) -> Table:
    """Returns a table with a row for each task.

    Args:
        run: The run.
        notes: What to say of a running task, by its path.
        failures: Whether to say why a task failed.
    """
    from rich.table import Table
    from rich.text import Text

    result = Table(box=None, pad_edge=False, header_style="dim")
    result.add_column("task", no_wrap=True)
    result.add_column("state", no_wrap=True)
    result.add_column("time", justify="right", no_wrap=True)
    result.add_column("memory", justify="right", no_wrap=True)
    result.add_column("what came out", overflow="fold")
    names = run.names()
    for task in run.tasks.values():
        if task.is_dag:
            continue
        indent = "  " * task.path.count("/")
        name = Text(indent + names[task.path], style="bold" if task.state.good else "")
        result.add_row(
            name,
            Text(task.state.value.lower(), style=STYLES[task.state]),
            _elapsed(task),
            numbers.size(task.peak_memory) if task.peak_memory else "",
            Text(_what(task, notes, failures)),
        )
    return result


def _elapsed(task: TaskResult) -> str:
    if task.state is State.RUNNING:
        return numbers.seconds(time.monotonic() - task.started)
    return numbers.seconds(task.seconds) if task.seconds else ""


def _what(task: TaskResult, notes: Mapping[str, str], failures: bool) -> str:
    if task.error:
        return task.error.partition("\n")[0] if failures or task.state is not State.FAILED else ""
    if task.state is State.RUNNING:
        return notes.get(task.path, "")
    return task_summary.of(task)


def table_text(run: RunResult, stream: TextIO) -> str:
    """Returns the table as text: for a terminal in colours and as wide as it is."""
    from rich.console import Console

    console = Console(
        file=stream, width=None if stream.isatty() else _WIDTH, highlight=False, soft_wrap=True
    )
    with console.capture() as captured:
        console.print(table(run, failures=False))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
