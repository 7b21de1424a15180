"""`millrace run report RUN`: writes the page of a run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from millrace.cli import liveness, output, task_summary
from millrace.errors import PipelineError
from millrace.ir import spec as ir
from millrace.lineage.nodes import Kind, Run, State, Task
from millrace.runner import kept
from millrace.runner.attempt import LOG
from millrace.runner.result import TaskResult
from millrace.runner.run import home_of
from millrace.runner.task import folder_of

if TYPE_CHECKING:  # jinja2 takes 50 ms to import
    from millrace.report import run_page

_PAGES = ("system.HTML", "system.Markdown")
_INDEX = re.compile(r"\[(\d+)\]")


def write(
    run: str, target: Path | None, root: str | Path, store: str | None, as_json: bool
) -> None:
    """Writes the page of a run, and prints where it lies.

    Args:
        run: The run's id, the beginning of one, or `latest`.
        target: The file; `report.html` in the run's folder if None.
        root: The folder of the runs.
        store: The lineage store, if it is not SQLite within the root.
        as_json: Whether to print JSON.

    Raises:
        StoreError: There is no such run, or the lineage store cannot be read.
        PipelineError: The page cannot be written.
    """
    from millrace.lineage import query
    from millrace.report import run_page

    with output.store_of(root, store) as opened:
        found = liveness.run(query.find_run(opened, run))
        tasks = liveness.tasks(found, query.tasks(opened, found))
    folder = Path(found.root)
    if "://" in found.root:
        folder = home_of(root) / found.pipeline / found.run_id
    target = target or folder / "report.html"
    text = run_page.page(
        found.run_id,
        found.pipeline,
        found.state,
        found.started,
        found.seconds,
        output.parameters(found.parameters, longest=1_000),
        _rows(found, tasks, folder, target),
        found.error,
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise PipelineError(
            f"Cannot write {target}: {error.strerror}. Name another file with --output."
        ) from error
    if as_json:
        output.as_json({"run": found.run_id, "report": str(target)})
    else:
        output.console().print(target.resolve().as_uri(), soft_wrap=True)


def _rows(run: Run, tasks: list[Task], folder: Path, target: Path) -> list[run_page.TaskRow]:
    """Returns the tasks in the order in which they started, those of a loop after it."""
    from millrace.report.run_page import TaskRow

    shown = [task for task in tasks if task.kind != Kind.DAG or _is_loop(task)]
    planned = _planned(folder)
    here = target.resolve().parent
    depends = _dependencies(shown, planned)
    rows = [
        TaskRow(
            _label(task),
            task.name,
            task.state,
            _since(run.started, task.started),
            task.seconds,
            task.error or _summary(task),
            dict(_links(task, run.root, folder, here)),
            tuple(sorted(depends.get(task.name, ()))),
            task.name.count("["),
            _is_loop(task),
        )
        for task in shown
    ]
    state = "WAITING" if run.state == State.RUNNING else "NOT_RUN"
    started = {task.name for task in tasks}
    rows += [
        TaskRow(task.display_name, path, state, None, None, depends=tuple(sorted(depends[path])))
        for path, task in planned.items()
        if path not in started and not _is_group(task)
    ]
    return _each_after_its_loop(rows)


def _planned(folder: Path) -> dict[str, ir.Task]:
    """Returns the tasks outside of loops by path, as the run's own copy of the pipeline says."""
    if not (folder / kept.FOLDER).is_dir():
        return {}
    return dict(ir.walk(kept.pipeline(folder).dag, loops=False))


def _is_group(task: ir.Task) -> bool:
    """Returns whether a task is a condition or a pipeline, whose tasks are shown in its place."""
    return isinstance(task.component.body, ir.Dag) and task.loop is None


def _dependencies(tasks: list[Task], planned: Mapping[str, ir.Task]) -> dict[str, set[str]]:
    """Returns what each task waited for: what made its inputs, and what the pipeline says."""
    makers = {
        record.id: task.name
        for task in tasks
        for records in task.outputs.values()
        for record in records
    }
    found: dict[str, set[str]] = {}
    for task in tasks:
        read = [record.id for records in task.inputs.values() for record in records]
        found[task.name] = {makers[one] for one in read if one in makers} - {task.name}
    for path, planned_task in planned.items():
        if not _is_group(planned_task):
            found.setdefault(path, set()).update(_upstream(path, planned))
    return found


def _upstream(path: str, planned: Mapping[str, ir.Task]) -> Iterator[str]:
    """Yields the shown tasks that a task, and the groups around it, wait for."""
    while path:
        around = path.rpartition("/")[0]
        for name in planned[path].depends:
            other = f"{around}/{name}" if around else name
            if not _is_group(planned[other]):
                yield other
                continue
            inside = (one for one in planned if one.startswith(f"{other}/"))
            yield from (one for one in inside if not _is_group(planned[one]))
        path = around


def _each_after_its_loop(rows: list[run_page.TaskRow]) -> list[run_page.TaskRow]:
    """Puts the tasks of a loop after it, iteration by iteration."""
    places = {row.path: place for place, row in enumerate(rows)}

    def key(row: run_page.TaskRow) -> list[int]:
        found = []
        for bracket in _INDEX.finditer(row.path):
            found += [places.get(row.path[: bracket.start()], len(rows)), int(bracket[1])]
        return [*found, places[row.path]]

    return sorted(rows, key=key)


def _label(task: Task) -> str:
    indices = "".join(match[0] for match in _INDEX.finditer(task.name))
    return f"{indices} {task.display_name}".strip()


def _is_loop(task: Task) -> bool:
    return "iteration_count" in task.properties


def _since(start: datetime | None, moment: datetime | None) -> float | None:
    if start is None or moment is None:
        return None
    return max(0.0, (moment - start).total_seconds())


def _summary(task: Task) -> str:
    if _is_loop(task):
        return f"{task.properties['iteration_count']} iterations"
    result = TaskResult(task.name, task.display_name, parameters=task.results)
    result.artifacts.update(task.outputs)
    return task_summary.of(result)


def _links(task: Task, root: str, folder: Path, here: Path) -> Iterator[tuple[str, str]]:
    """Yields links to the pages that a task wrote and to its log, as seen from a folder."""
    for port, records in task.outputs.items():
        for record in records:
            uri = record.uri.replace(root, str(folder), 1)  # a copy stays on this machine
            if record.schema_title in _PAGES and "://" not in uri and not record.deleted:
                yield port, os.path.relpath(uri, here)
    log = folder_of(folder, task.name) / LOG
    if log.is_file():
        yield "log", os.path.relpath(log, here)
