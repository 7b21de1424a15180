"""Checks before a run that what it will import for certain can be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from millrace.artifacts import Artifact
from millrace.errors import PipelineError
from millrace.ir import spec as ir

# What KFP puts into a pod from a registry of images or of models, and no store of files has.
_ON_A_CLUSTER = ("oci://", "huggingface://")


def check(pipeline: ir.Pipeline, values: Mapping[str, Any], folder: Path) -> None:
    """Checks the imports whose addresses are known before the run, and that no condition skips.

    Args:
        pipeline: The pipeline.
        values: Its parameters.
        folder: Where relative paths start.

    Raises:
        PipelineError: There is nothing to import, or it cannot be read; the message names the task.
    """
    for path, problem in _problems(pipeline.dag, values, folder, ""):
        raise PipelineError(f'{pipeline.path}: task "{path}": {problem}')


def _problems(
    dag: ir.Dag, values: Mapping[str, Any], folder: Path, prefix: str
) -> Iterator[tuple[str, str]]:
    for name, task in dag.tasks.items():
        if task.condition is not None or task.loop is not None:
            continue
        given = _given(task, values)
        body = task.component.body
        if isinstance(body, ir.Dag):
            yield from _problems(body, given, folder, f"{prefix}{name}/")
        elif isinstance(body, ir.Importer):
            uri = given.get(body.uri.name) if isinstance(body.uri, ir.FromInput) else body.uri.value
            if not isinstance(uri, str) or not uri or "{{$" in uri:
                continue
            if uri.startswith(_ON_A_CLUSTER):
                if _is_read(name, dag):
                    yield f"{prefix}{name}", f"{uri} can be read on a cluster only: import a copy."
            elif not task.depends and ("://" not in uri or uri.startswith("file://")):
                path = folder / Artifact(uri).path
                if not path.exists():
                    yield f"{prefix}{name}", f"there is no {path} to import."


def _given(task: ir.Task, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters of a task that are known before the run."""
    known: dict[str, Any] = {}
    for name, source in task.parameters.items():
        if isinstance(source, ir.Constant):
            known[name] = source.value
        elif isinstance(source, ir.FromInput) and source.selector is None:
            known[name] = values.get(source.name)
    return known


def _is_read(name: str, dag: ir.Dag) -> bool:
    """Returns whether another task is given what a task imports."""
    return any(
        isinstance(source, ir.FromTask) and source.task == name
        for task in dag.tasks.values()
        for source in task.artifacts.values()
    )
