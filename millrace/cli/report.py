"""`millrace run report RUN`: writes the page of a run."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from millrace.cli import liveness, output, task_summary
from millrace.errors import PipelineError
from millrace.lineage.nodes import Kind, Run, Task
from millrace.runner import kept
from millrace.runner.result import TaskResult

if TYPE_CHECKING:  # jinja2 takes 50 ms to import
    from millrace.report import run_page

_PAGES = ("system.HTML", "system.Markdown")


def write(run: str, target: Path | None, root: Path, store: str | None, as_json: bool) -> None:
    """Write the page of a run and print where it lies.

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
    target = target or Path(found.root) / "report.html"
    text = run_page.page(
        found.run_id,
        found.pipeline,
        found.state,
        found.started,
        found.seconds,
        output.parameters(found.parameters, longest=1_000),
        _rows(found, tasks, target),
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


def _rows(run: Run, tasks: list[Task], target: Path) -> list[run_page.TaskRow]:
    from millrace.report import run_page

    depends = _dependencies(run, tasks)
    shown = [task for task in tasks if task.kind != Kind.DAG or _is_loop(task)]
    return [
        run_page.TaskRow(
            task.display_name if "[" not in task.name else task.name,
            task.name,
            task.state,
            _since(run.started, task.started),
            task.seconds,
            task.error or _summary(task),
            _pages(task, target),
            tuple(sorted(depends.get(task.name, ()))),
        )
        for task in shown
    ]


def _dependencies(run: Run, tasks: list[Task]) -> dict[str, set[str]]:
    """Return what each task waited for: what made its inputs, and what the pipeline says."""
    makers = {
        record.id: task.name
        for task in tasks
        for records in task.outputs.values()
        for record in records
    }
    found: dict[str, set[str]] = {}
    for task in tasks:
        made_by = {
            makers[record.id]
            for records in task.inputs.values()
            for record in records
            if record.id in makers
        }
        found[task.name] = made_by - {task.name}
    folder = Path(run.root)
    if (folder / kept.FOLDER).is_dir():
        for path, task_spec in kept.pipeline(folder).walk():
            prefix = path.rpartition("/")[0]
            names = {f"{prefix}/{name}" if prefix else name for name in task_spec.depends}
            found.setdefault(path, set()).update(names)
    return found


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


def _pages(task: Task, target: Path) -> dict[str, str]:
    """Return links to the pages that a task wrote, relative to the page of the run."""
    return {
        port: os.path.relpath(record.uri, target.resolve().parent)
        for port, records in task.outputs.items()
        for record in records
        if record.schema_title in _PAGES and "://" not in record.uri and not record.deleted
    }
