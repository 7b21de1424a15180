"""`millrace runs` and `millrace run show RUN`: past runs and their results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from millrace.cli import liveness, output, task_summary, warm
from millrace.runner.result import TaskResult

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from millrace.lineage.nodes import ArtifactRecord, Run, Task

_NARROW = 100  # columns; below that, the pipeline is only visible in a run's id
_TINY = 76  # columns; below that, the tasks' states are not shown
_LISTED = 10  # artifacts shown of a list; --json has all
_COUNTED = ("COMPLETE", "CACHED", "FAILED", "CANCELED", "RUNNING", liveness.INTERRUPTED)
_LABELS = {"COMPLETE": "done"}


def list_runs(root: str | Path, store: str | None, limit: int, as_json: bool) -> None:
    """Prints the newest runs, the newest first.

    Raises:
        StoreError: There is no lineage store, or it cannot be read.
    """
    from millrace.lineage import query

    with output.store_of(root, store) as opened:
        found = list(map(liveness.run, query.runs(opened, limit)))
    if as_json:
        output.as_json([run.to_json() for run in found])
        return
    console = output.console()
    if not found:
        console.print("There are no runs yet. `millrace run PIPELINE` starts one.")
        return
    console.print(output.table(_runs_table(found, console.width)))
    if servers := warm.described():
        console.print(f"\n{servers}", style="dim")


def show_run(run: str, root: str | Path, store: str | None, as_json: bool) -> None:
    """Prints the tasks of a run and their outputs.

    Raises:
        StoreError: There is no such run, or the lineage store cannot be read.
    """
    from millrace.lineage import query

    with output.store_of(root, store) as opened:
        found = liveness.run(query.find_run(opened, run))
        tasks = liveness.tasks(found, query.tasks(opened, found))
    if as_json:
        output.as_json(found.to_json() | {"tasks": [task.to_json() for task in tasks]})
        return
    console = output.console()
    for part in _parts(found, tasks, console.width):
        console.print(part)


def _runs_table(found: list[Run], width: int) -> Table:
    from rich.table import Table

    is_wide = width >= _NARROW
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("run", no_wrap=True, overflow="fold")
    if is_wide:
        table.add_column("pipeline", overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("started", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    if width >= _TINY:
        table.add_column("tasks")
    for run in found:
        table.add_row(
            run.run_id,
            *([run.pipeline] if is_wide else []),
            output.state(run.state),
            output.when(run.started, short=not is_wide),
            output.seconds(run.seconds),
            *([_counts(run)] if width >= _TINY else []),
        )
    return table


def _counts(run: Run) -> str:
    parts = [
        f"{run.counts[state]} {_LABELS.get(state, state.lower())}"
        for state in _COUNTED
        if run.counts.get(state)
    ]
    return ", ".join([*parts, *(["pinned"] if run.pinned else [])])


def _parts(run: Run, tasks: list[Task], width: int) -> Iterator[RenderableType]:
    from rich.text import Text

    state = output.state(run.state)
    yield Text.assemble((run.run_id, "bold"), "  ", state, f"  {output.seconds(run.seconds)}")
    if run.state == liveness.INTERRUPTED:
        yield Text(
            f"Its process {run.properties['process']} is gone: it was killed before it could "
            "record how the run ended.",
            "yellow",
        )
    yield Text.assemble(("pipeline  ", "dim"), run.pipeline)
    yield Text.assemble(("started   ", "dim"), output.when(run.started), _by(run))
    if code := run.properties.get("code_version"):
        yield Text.assemble(("code      ", "dim"), f"millrace {code}")
    yield Text.assemble(("folder    ", "dim"), Text(run.root, overflow="fold"))
    if run.pinned:
        yield Text.assemble(("pinned    ", "dim"), "`millrace gc` keeps what it has read and made")
    yield ""
    if given := output.parameters(run.parameters, longest=1_000):
        yield Text("parameters", "dim")
        for line in given:
            yield Text("  " + line, overflow="fold")
        yield ""
    yield from _lines(run, tasks, width)
    for task in tasks:
        if task.error and not _is_dag(task):
            yield ""
            yield Text(f"{task.name} {task.state.lower()}: {task.error}", "red")
            if log := task.properties.get("log"):
                yield Text(f"Its log: {log}", overflow="fold")
    if run.error and not any(task.error for task in tasks):
        yield ""
        yield Text(run.error, "red")


def _lines(run: Run, tasks: list[Task], console_width: int) -> Iterator[Text]:
    """Yields a line for each task and each of its artifacts."""
    from rich.text import Text

    shown = [task for task in tasks if not _is_dag(task)]
    ports = [port for task in shown for port in task.outputs]
    width = max((len(name) for name in [*(task.name for task in shown), *ports]), default=0) + 2
    for task in shown:
        line = Text(f"{task.name:<{width}}  ", "bold")
        line = Text.assemble(line, output.state(task.state))
        line.pad_right(width + 12 - len(line))
        line.append(f"{output.seconds(task.seconds) if task.cached_from is None else '':>7}")
        said = _summary(task)
        is_wide = len(line) + 2 + len(said) > console_width
        line.append(f"\n    {said}" if is_wide else f"  {said}", "dim")
        line.rstrip()
        yield line
        folder = _folder(task)
        if folder and folder != f"{run.root.rstrip('/')}/{task.name}":
            yield Text(f"    in {folder}", "dim", overflow="fold")
        for port, records in task.outputs.items():
            for index, record in enumerate(records[:_LISTED]):
                item = f"{port}[{index}]" if len(records) > 1 else port
                yield _output(item, record, folder, width)
            if len(records) > _LISTED:
                yield Text(f"  {port}: {len(records) - _LISTED} more", "dim")


def _output(port: str, artifact: ArtifactRecord, folder: str, width: int) -> Text:
    from rich.text import Text

    line = Text(f"  {port:<{width}}{output.size(artifact):>8}", overflow="fold")
    if digest := output.digest(artifact):
        line.append(f"  sha256 {digest}", "cyan")
    if rows := output.rows(artifact):
        line.append(f"  {rows} rows")
    if gone := output.deleted(artifact):
        line.append(f"  {gone}", "red")
    inside = artifact.uri.removeprefix(folder + "/") if folder else artifact.uri
    if inside.partition(".")[0] != port.partition("[")[0]:
        line.append(f"\n    {inside}", "dim")
    line.rstrip()
    return line


def _folder(task: Task) -> str:
    """Returns the folder that holds all outputs of a task; empty if there is none."""
    found = {
        record.uri.rstrip("/").rpartition("/")[0]
        for records in task.outputs.values()
        for record in records
    }
    return found.pop() if len(found) == 1 else ""


def _summary(task: Task) -> str:
    artifacts: Mapping[str, Sequence[ArtifactRecord]] = task.outputs
    return task_summary.of(
        TaskResult(task.name, task.display_name, artifacts=dict(artifacts), parameters=task.results)
    )


def _is_dag(task: Task) -> bool:
    from millrace.lineage.nodes import Kind

    return task.kind == Kind.DAG


def _by(run: Run) -> str:
    user, host = run.properties.get("user"), run.properties.get("host")
    return (f" by {user}" if user else "") + (f" on {host}" if host else "")
