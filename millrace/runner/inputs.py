"""Resolves the inputs of a task: from its DAG, from other tasks, or from defaults."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from millrace.errors import ParameterError
from millrace.ir import placeholders, values
from millrace.ir import spec as ir
from millrace.ir.platform import Reference
from millrace.ir.spec import MISSING
from millrace.lineage.nodes import ArtifactRecord
from millrace.runner import external

Artifacts = Mapping[str, Sequence[ArtifactRecord]]


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The inputs of a task; optional ones that were not given are absent.

    Attributes:
        parameters: Its parameters, including the component's defaults.
        artifacts: The artifacts at each port.
        given: The parameters that do not come from the component's defaults.
        unread: Why artifacts cannot be read on this machine.
    """

    parameters: Mapping[str, Any]
    artifacts: Artifacts
    given: frozenset[str] = frozenset()
    unread: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class TaskContext:
    """The part of a DAG that a task can refer to.

    Attributes:
        given: The inputs of the DAG.
        loop_items: The items of the enclosing loops, which KFP's compiler forgets to pass into
            loops over constant lists.
        parameter: Returns an output parameter of another task, or MISSING.
        artifacts: Returns the artifacts at an output of another task, or None.
        status: Returns KFP's final status of another task.
        placeholders: The values of placeholders for the run and the task.
        folders: Where relative paths are looked for; the last is where the caller is.
    """

    given: Inputs
    loop_items: Mapping[str, Any]
    parameter: Callable[[str, str], Any]
    artifacts: Callable[[str, str], Sequence[ArtifactRecord] | None]
    status: Callable[[str], dict[str, Any]]
    placeholders: Mapping[str, str]
    folders: tuple[Path, ...]


def resolve(task: ir.Task, context: TaskContext) -> Inputs:
    """Returns the inputs of a task whose upstream tasks have ended.

    Raises:
        ParameterError: A required input is missing, or of the wrong type.
    """
    declared = task.component.parameters
    is_dag = isinstance(task.component.body, ir.Dag)
    raw = {name: _parameter(source, context) for name, source in task.parameters.items()}
    raw = {name: value for name, value in raw.items() if value is not MISSING}
    # A constant may be an f-string over the task's other inputs.
    message = {"inputs": {"parameterValues": raw}, "outputs": {}}
    found: dict[str, Any] = {}
    for name, value in raw.items():
        if isinstance(task.parameters[name], ir.Constant):
            value = placeholders.fill_value(value, message, context.placeholders)
        value = _typed(declared.get(name), value, is_dag)
        if value is not None or name not in declared:  # null means no value
            found[name] = value
    for name, parameter in declared.items():
        if name in found or _is_item(task, name):
            continue
        if parameter.required:
            if not task.needs(name):
                continue
            raise ParameterError(f'The parameter "{name}" has no value: {_why(task, name)}.')
        if parameter.default is not MISSING:
            found[name] = parameter.default
        elif is_dag:
            found[name] = None  # as KFP's driver passes it on
    folders = {
        name: context.folders[-1:] if _is_handed_on(task, name) else context.folders
        for name in found
    }
    found = external.absolute(external.of(task.component), found, folders)
    given = frozenset(name for name, value in raw.items() if value is not None)
    return Inputs(found, _artifacts(task, context), given)


def reference(source: Reference, context: TaskContext) -> Any:
    """Returns the value of a reference in the platform settings of a task; None if it has none."""
    if source.task:
        value = context.parameter(source.task, source.output)
    elif source.parent_input:
        value = _parameter(ir.FromInput(source.parent_input), context)
    else:
        value = placeholders.fill_value(
            source.constant,
            {"inputs": {"parameterValues": {}}, "outputs": {}},
            context.placeholders,
        )
    return None if value is MISSING else value


def items(task: ir.Task, given: Inputs) -> Sequence[Any]:
    """Returns the items of a loop: JSON values or artifacts.

    Raises:
        ParameterError: They are not a list.
    """
    loop = task.loop
    assert loop is not None
    if loop.over_artifacts:
        assert isinstance(loop.items, ir.FromInput)
        return given.artifacts.get(loop.items.name, ())
    if isinstance(loop.items, ir.Constant):
        value = loop.items.value
    else:
        value = given.parameters.get(loop.items.name)
    listed = _as_list(value)
    if listed is None:
        name = loop.items.name if isinstance(loop.items, ir.FromInput) else "items"
        raise ParameterError(
            f"The loop needs a list, and {name.removeprefix('pipelinechannel--')} is "
            f"{values.shown(value)}."
        )
    return listed


def iteration(task: ir.Task, given: Inputs, item: Any) -> Inputs:
    """Returns the inputs of one iteration: those of the loop, with the item for the list."""
    loop = task.loop
    assert loop is not None
    source = loop.items.name if isinstance(loop.items, ir.FromInput) else ""
    if loop.over_artifacts:
        artifacts = {name: one for name, one in given.artifacts.items() if name != source}
        return Inputs(given.parameters, {**artifacts, loop.item: [item]}, given.given)
    parameters = {name: one for name, one in given.parameters.items() if name != source}
    is_dag = isinstance(task.component.body, ir.Dag)
    parameters[loop.item] = _typed(task.component.parameters.get(loop.item), item, is_dag)
    return Inputs(parameters, given.artifacts, given.given | {loop.item})


def _artifacts(task: ir.Task, context: TaskContext) -> dict[str, Sequence[ArtifactRecord]]:
    artifacts: dict[str, Sequence[ArtifactRecord]] = {}
    for name, source in task.artifacts.items():
        if isinstance(source, ir.FromInput):
            found = context.given.artifacts.get(source.name)
        else:
            found = context.artifacts(source.task, source.output)
        if found is not None:
            artifacts[name] = found
        elif name in task.component.artifacts and not task.component.artifacts[name].optional:
            raise ParameterError(f'The input "{name}" is not there: {_why(task, name)}.')
    return artifacts


def _parameter(source: ir.ParameterSource, context: TaskContext) -> Any:
    if isinstance(source, ir.Constant):
        return source.value
    if isinstance(source, ir.FinalStatus):
        return context.status(source.task)
    if isinstance(source, ir.FromInput):
        otherwise = context.loop_items.get(source.name, MISSING)
        value = context.given.parameters.get(source.name, otherwise)
    else:
        value = context.parameter(source.task, source.output)
    return value if value is MISSING or source.selector is None else source.selector.select(value)


def _typed(parameter: ir.Parameter | None, value: Any, is_dag: bool) -> Any:
    """Returns a value as an input declares it.

    The types of a DAG's inputs are KFP's guesses, so only conversion to text is done.
    """
    if parameter is None or (is_dag and parameter.type != "STRING"):
        return value
    return values.typed(parameter, value)


def _is_item(task: ir.Task, name: str) -> bool:
    return task.loop is not None and name == task.loop.item


def _is_handed_on(task: ir.Task, name: str) -> bool:
    """Returns whether a value is passed to the task, and is no constant in the pipeline."""
    return isinstance(task.parameters.get(name), (ir.FromInput, ir.FromTask))


def _as_list(value: Any) -> Sequence[Any] | None:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, list) else None


def _why(task: ir.Task, name: str) -> str:
    source = task.parameters.get(name) or task.artifacts.get(name)
    if isinstance(source, ir.FromTask):
        return f'the task "{source.task}" gave no "{source.output}"'
    if isinstance(source, ir.FromInput):
        return f'"{source.name}" was not given'
    return "it was not given"
