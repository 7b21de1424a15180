"""`millrace run PIPELINE`: runs a pipeline and shows how it goes on and what came out of it."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from millrace import redact
from millrace.backends.docker import Options
from millrace.cli import progress
from millrace.ir import parameters
from millrace.report import numbers
from millrace.runner import run
from millrace.runner.result import RunResult, State, TaskResult

STOPPED = 130
_PAGES = {"system.HTML", "system.Markdown"}


def start(
    pipeline: str,
    params: Iterable[str] = (),
    *,
    params_file: Path | None = None,
    root: Path | None = None,
    store: str | None = None,
    runner: str = "process",
    docker_network: str = "",
    use_cache: bool = True,
    measure_memory: bool = False,
    as_json: bool = False,
) -> int:
    """Runs a pipeline and returns the exit code: 0, 1 if it failed, 130 if it was stopped.

    Args:
        pipeline: One of ours by name, its folder, its `pipeline.py` or a compiled YAML file.
        params: Parameters as `name=value`; they win over those of the file.
        params_file: A JSON or YAML file of parameters.
        root: The folder that keeps runs, artifacts and lineage.
        store: The lineage store, if it is not SQLite within the root.
        runner: `process` or `docker`.
        docker_network: The network of containers; Docker's own if empty.
        use_cache: Whether results of earlier runs may be taken.
        measure_memory: Whether to measure the memory of all processes together.
        as_json: Whether to print one JSON document, and nothing else.
    """
    loaded = run.load(pipeline)
    values = parameters.of_file(params_file) if params_file else {}
    values |= parameters.of_command_line(params, loaded.root.parameters)
    try:
        result = run.run(
            loaded,
            values,
            root=root,
            store=store,
            runner=runner,
            docker=Options(network=docker_network),
            caching=use_cache,
            measure_memory=measure_memory,
            listener=None if as_json else progress.listener(),
        )
    except KeyboardInterrupt:  # before the first task
        return STOPPED
    if as_json:
        print(json.dumps(result.to_json(), ensure_ascii=False, indent=1))  # noqa: T201
    else:
        summarise(result, sys.stdout, _asked(root, store))
    return result.exit_code


def list_parameters(pipeline: str, as_json: bool) -> None:
    """Prints the parameters of a pipeline with their types, defaults and descriptions."""
    loaded = run.load(pipeline)
    declared = loaded.root.parameters.values()
    if as_json:
        rows = [
            {
                "name": parameter.name,
                "type": parameter.type,
                "description": parameter.description,
                "required": parameter.required,
                "default": parameters.shown(parameter),
            }
            for parameter in declared
        ]
        print(json.dumps(rows, ensure_ascii=False, indent=1))  # noqa: T201
    else:
        print(parameters.listed(declared))  # noqa: T201


def summarise(result: RunResult, stream: TextIO, options: str = "") -> None:
    """Prints a table of the tasks, where their pages lie, and why the run failed if it did.

    Args:
        result: The run.
        stream: Where to.
        options: What a command needs to find the run again.
    """
    names = result.names()
    width = max(map(len, names.values()))
    pages = [
        f"{names[task.path]:<{width}}  {page.as_uri()}"
        for task in result.tasks.values()
        for page in _pages(task)
    ]
    lines = ["", progress.table_text(result, stream), "", *pages]
    for task in result.tasks.values():
        if task.state is State.FAILED and not task.is_dag:
            lines += ["", f"{names[task.path]} failed: {task.error}"]
            lines += _left_behind(task)
    stream.write("\n".join([*lines, "", _last_line(result, options), ""]))


def _left_behind(task: TaskResult) -> Iterator[str]:
    """Yields where a task that failed says more: its log, and a page that it wrote before."""
    if task.log is not None:
        yield f"Its log: {task.log}"
        for page in sorted(task.log.parent.glob("*.html")):
            yield f"Its page: {page.as_uri()}"


def _pages(task: TaskResult) -> Iterator[Path]:
    for record in task.artifacts.values():
        if record.schema_title in _PAGES and "://" not in record.uri:
            yield Path(record.uri)


def _asked(root: Path | None, store: str | None) -> str:
    """Returns the options that name a root or store of the user's own."""
    given = {
        "--root": str(root) if root not in (None, Path(run.ROOT)) else "",
        "--store": redact.text(store or ""),
    }
    return "".join(f" {name} {shlex.quote(value)}" for name, value in given.items() if value)


def _last_line(result: RunResult, options: str) -> str:
    words = [f"{result.run_id} {result.state.value.lower()} in {numbers.seconds(result.seconds)}"]
    if result.peak_memory:
        words.append(f"peak memory of all processes {numbers.size(result.peak_memory)}")
    words.append(f"millrace run show {result.run_id}{options}")
    return " · ".join(words)
