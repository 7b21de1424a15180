"""`millrace run PIPELINE`: runs a pipeline, and shows its progress and its results."""

from __future__ import annotations

import itertools
import json
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from millrace import redact
from millrace.backends.docker import Options
from millrace.cli import output, progress
from millrace.errors import ParameterError
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
    resume: str = "",
    selection: Mapping[str, str] | None = None,
    fail_fast: bool = False,
    cache_from: Iterable[Path] = (),
    dry: bool = False,
    junit_file: Path | None = None,
    params_file: Path | None = None,
    root: str | Path | None = None,
    store: str | None = None,
    runner: str = "process",
    docker_network: str = "",
    secrets_file: Path | None = None,
    use_cache: bool = True,
    measure_memory: bool = False,
    as_json: bool = False,
) -> int:
    """Runs a pipeline, and returns the exit code: 0, 1 if it failed, 130 if it was stopped.

    Args:
        pipeline: One of ours by name, its folder, its `pipeline.py` or a compiled YAML file.
        params: Parameters as `name=value`; they override those of the file.
        resume: A run to resume, in place of a pipeline.
        selection: The selected tasks: `start`, `end` and `only`.
        fail_fast: Whether nothing new is started after a task has failed.
        cache_from: Other roots whose results may be reused.
        dry: Whether to only print what would run.
        junit_file: The file for the result as JUnit XML.
        params_file: A JSON or YAML file of parameters.
        root: The folder that keeps runs, artifacts and lineage, or a URI in an object store.
        store: The lineage store, if it is not SQLite within the root.
        runner: `process` or `docker`.
        docker_network: The network of containers; Docker's own if empty.
        secrets_file: The YAML file with Secrets and ConfigMaps.
        use_cache: Whether results of earlier runs may be reused.
        measure_memory: Whether to measure the memory of all processes together.
        as_json: Whether to print one JSON document, and nothing else.
    """
    values = parameters.of_file(params_file) if params_file else {}
    options: dict[str, Any] = {
        "root": root,
        "store": store,
        "docker": Options(network=docker_network),
        "secrets_file": secrets_file,
        "fail_fast": fail_fast,
        "measure_memory": measure_memory,
        "listener": None if as_json or dry else progress.listener(),
    }
    try:
        if resume:
            result = run.resume(resume, values | parameters.of_command_line(params, {}), **options)
        else:
            loaded = run.load(pipeline)
            values |= parameters.of_command_line(params, loaded.root.parameters)
            options |= {"runner": runner, "caching": use_cache, "dry": dry, **(selection or {})}
            options["cache_from"] = list(cache_from)
            result = run.run(loaded, values, **options)
    except KeyboardInterrupt:  # before the first task
        return STOPPED
    if junit_file is not None:
        _write_junit(result, junit_file)
    with output.outliving_reader():
        if as_json:
            output.as_json(result.to_json())
        elif dry:
            _print_plan(result)
        else:
            summarise(result, sys.stdout, _asked(root, store))
    return result.exit_code


def _write_junit(result: RunResult, path: Path) -> None:
    from millrace.runner import junit

    try:
        path.write_bytes(junit.document(result))
    except OSError as error:
        raise ParameterError(f"Cannot write {path}: {error.strerror}.") from error


def _print_plan(result: RunResult) -> None:
    """Prints which tasks would run and why, and which are cached."""
    from rich.table import Table

    table = Table("task", "would be", "why", box=None, pad_edge=False, header_style="dim")
    words = {State.PLANNED: "run", State.COMPLETE: "imported"}
    for task in result.shown():
        if not task.is_dag:
            word = words.get(task.state, task.state.value.lower())
            table.add_row(result.name(task), word, task.error)
    console = output.console()
    console.print(output.table(table))
    counts = Counter(task.state for task in result.tasks.values() if not task.is_dag)
    console.print(f"\n{counts[State.PLANNED]} to run, {counts[State.CACHED]} in the cache")


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
    """Prints a table of the tasks, links to their pages, warnings, and why the run failed.

    Args:
        result: The run.
        stream: The stream to print to.
        options: The options with which a command finds the run.
    """
    found = [(result.name(task), page) for task in result.shown() for page in _pages(task)]
    width = max((len(name) for name, _ in found), default=0)
    pages = [f"{name:<{width}}  {page.as_uri()}" for name, page in found]
    lines = ["", progress.table_text(result, stream), "", *pages]
    warnings = [f"{result.name(task)}: {text}" for task in result.shown() for text in _texts(task)]
    lines += ["", *warnings] if warnings else []
    for task in result.tasks.values():
        if task.state is State.FAILED and not task.is_dag:
            lines += ["", f"{result.name(task)} failed: {task.error}"]
            lines += _left_behind(task)
    stream.write("\n".join([*lines, "", _last_line(result, options), ""]))


def _left_behind(task: TaskResult) -> Iterator[str]:
    """Yields the log of a failed task, and its page if it wrote one."""
    if task.log is not None:
        yield f"Its log: {task.log}"
        for page in sorted(task.log.parent.glob("*.html")):
            yield f"Its page: {page.as_uri()}"


def _pages(task: TaskResult) -> Iterator[Path]:
    for record in itertools.chain.from_iterable(task.artifacts.values()):
        if record.schema_title in _PAGES and "://" not in record.uri:
            yield Path(record.uri)


def _texts(task: TaskResult) -> Iterator[str]:
    """Yields the warnings of a task, which a step puts into the metadata of an output."""
    for record in itertools.chain.from_iterable(task.artifacts.values()):
        found = record.metadata.get("warning_texts")
        yield from map(str, found if isinstance(found, list) else [])


def _asked(root: str | Path | None, store: str | None) -> str:
    """Returns the options for a root or store other than the default."""
    given = {
        "--root": str(root) if root not in (None, run.ROOT, Path(run.ROOT)) else "",
        "--store": redact.text(store or ""),
    }
    return "".join(f" {name} {shlex.quote(value)}" for name, value in given.items() if value)


def _last_line(result: RunResult, options: str) -> str:
    words = [f"{result.run_id} {result.state.value.lower()} in {numbers.seconds(result.seconds)}"]
    if result.peak_memory:
        words.append(f"peak memory of all processes {numbers.size(result.peak_memory)}")
    words.append(f"millrace run show {result.run_id}{options}")
    return " · ".join(words)
