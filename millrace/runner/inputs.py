"""What a task is given: parameters and artifacts of the pipeline, of other tasks, or defaults."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from millrace.errors import MillraceError, ParameterError
from millrace.ir import parameters, placeholders
from millrace.ir import spec as ir
from millrace.ir.spec import MISSING
from millrace.lineage.nodes import ArtifactRecord
from millrace.runner import external


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The parameters and artifacts of a task; optional ones that were not given are absent."""

    parameters: Mapping[str, Any]
    artifacts: Mapping[str, ArtifactRecord]


@dataclasses.dataclass(frozen=True)
class TaskContext:
    """What a task can see of the DAG it is in.

    Attributes:
        given: The inputs of the DAG.
        parameter: Returns an output parameter of another task, or MISSING.
        artifact: Returns an output artifact of another task, or None.
        status: Returns KFP's final status of another task.
        facts: What placeholders say about run and task.
        folders: Where relative paths are looked for; the last is where the caller is.
    """

    given: Inputs
    parameter: Callable[[str, str], Any]
    artifact: Callable[[str, str], ArtifactRecord | None]
    status: Callable[[str], dict[str, Any]]
    facts: Mapping[str, str]
    folders: tuple[Path, ...]


def resolve(task: ir.Task, around: TaskContext) -> Inputs:
    """Returns the inputs of a task whose upstream tasks have ended.

    Raises:
        ParameterError: One that is needed is not there, or is of the wrong type.
    """
    declared = task.component.parameters
    raw = {name: _parameter(source, around) for name, source in task.parameters.items()}
    raw = {name: value for name, value in raw.items() if value is not MISSING}
    # A constant may be an f-string over the task's other inputs.
    message = {"inputs": {"parameterValues": raw}, "outputs": {}}
    values: dict[str, Any] = {}
    for name, value in raw.items():
        if isinstance(task.parameters[name], ir.Constant):
            value = external.absolute(name, value, around.folders)
            value = placeholders.fill_value(value, message, around.facts)
        value = external.absolute(name, value, around.folders[-1:])
        values[name] = typed(declared[name], value) if name in declared else value
    for name, parameter in declared.items():
        if name not in values:
            if parameter.required:
                raise ParameterError(f'The parameter "{name}" has no value: {_why(task, name)}.')
            if parameter.default is not MISSING:
                values[name] = external.absolute(name, parameter.default, around.folders)
    artifacts: dict[str, ArtifactRecord] = {}
    for name, source in task.artifacts.items():
        found = _artifact(source, around)
        if found is not None:
            artifacts[name] = found
        elif name in task.component.artifacts and not task.component.artifacts[name].optional:
            raise ParameterError(f'The input "{name}" is not there: {_why(task, name)}.')
    return Inputs(values, artifacts)


def _parameter(source: ir.ParameterSource, around: TaskContext) -> Any:
    if isinstance(source, ir.Constant):
        return source.value
    if isinstance(source, ir.FinalStatus):
        return around.status(source.task)
    if isinstance(source, ir.FromInput):
        value = around.given.parameters.get(source.name, MISSING)
    else:
        value = around.parameter(source.task, source.output)
    return value if value is MISSING or source.selector is None else source.selector.select(value)


def _artifact(source: ir.ArtifactSource, around: TaskContext) -> ArtifactRecord | None:
    if isinstance(source, ir.FromInput):
        return around.given.artifacts.get(source.name)
    return around.artifact(source.task, source.output)


def _why(task: ir.Task, name: str) -> str:
    source = task.parameters.get(name) or task.artifacts.get(name)
    if isinstance(source, ir.FromTask):
        return f'the task "{source.task}" gave no "{source.output}"'
    if isinstance(source, ir.FromInput):
        return f'"{source.name}" was not given'
    return "it was not given"


def typed(parameter: ir.Parameter, value: Any) -> Any:
    """Returns a value as the declared type; loops and selectors hand everything on as text."""
    if parameter.type == "TASK_FINAL_STATUS":
        return value
    if parameter.type == "STRING" and not isinstance(value, str):
        return placeholders.text_of(value)
    if parameter.type != "STRING" and isinstance(value, str):
        return read_text(parameter, value)
    return parameters.check(parameter, value)


def read_text(parameter: ir.Parameter, text: str) -> Any:
    """Returns the value of an output parameter as a step writes it to its file: text or JSON.

    Raises:
        ParameterError: It is not of the declared type.
    """
    if parameter.type == "STRING":
        return text
    try:
        value = json.loads(text.lower() if parameter.type == "BOOLEAN" else text)
    except ValueError:
        value = text
    try:
        return parameters.check(parameter, value)
    except MillraceError:
        raise ParameterError(
            f'"{parameter.name}" must be {parameter.type}, and is {text[:80]!r}.'
        ) from None
