"""Finds what cannot be run in a pipeline before anything of it is started."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from millrace.errors import PipelineError, nearest
from millrace.ir import platform
from millrace.ir import spec as ir


def check(pipeline: ir.Pipeline) -> None:
    """Checks that every task of a pipeline can be run, and that its references lead somewhere.

    Raises:
        PipelineError: One cannot; the message names the task and the reason.
    """
    try:
        for name, port in pipeline.root.artifacts.items():
            if not port.optional:
                raise PipelineError(
                    f'the pipeline takes the artifact "{name}" as an input, which no runner can be '
                    "given: import it with dsl.importer"
                )
        _dag(pipeline.root, "")
    except PipelineError as error:
        raise PipelineError(f"{pipeline.path}: {error}") from None


def _dag(component: ir.Component, prefix: str, items: frozenset[str] = frozenset()) -> None:
    """Checks the tasks of a DAG, which see the items of the enclosing loops."""
    dag = component.body
    assert isinstance(dag, ir.Dag)
    for name, task in dag.tasks.items():
        for problem in _problems(task, component, dag, items):
            raise PipelineError(f'task "{prefix}{name}": {problem}')
        if isinstance(task.component.body, ir.Dag):
            own = {task.loop.item} if task.loop is not None else set()
            _dag(task.component, f"{prefix}{name}/", items | own)
    where = f'the outputs of "{component.name}"'
    for sources in (dag.artifact_outputs, dag.parameter_outputs):
        for name, producers in sources.items():
            for producer in producers:
                for problem in _output(producer, dag):
                    raise PipelineError(f'{where}: "{name}": {problem}')


def _problems(
    task: ir.Task, around: ir.Component, dag: ir.Dag, items_around: frozenset[str]
) -> Iterator[str]:
    component = task.component
    items = task.loop.items if task.loop is not None else None
    if task.loop is not None and isinstance(items, ir.FromInput):
        inputs = task.artifacts if task.loop.over_artifacts else task.parameters
        if items.name not in inputs:
            yield f'its loop is over "{items.name}", which is none of its inputs'
    for reference in task.references:
        yield from _reference(reference, around.parameters.keys() | items_around, dag)
    for name, source in task.parameters.items():
        if not task.needs(name):
            continue
        yield from _source(name, source, around.parameters.keys() | items_around, dag)
    for name, artifact in task.artifacts.items():
        yield from _source(name, artifact, around.artifacts, dag)
    for parameter in component.parameters.values():
        is_item = task.loop is not None and parameter.name == task.loop.item
        if (
            parameter.required
            and parameter.name not in task.parameters
            and not is_item
            and task.needs(parameter.name)
        ):
            yield f'its parameter "{parameter.name}" is given no value'
    for port in component.artifacts.values():
        is_item = task.loop is not None and port.name == task.loop.item
        if not port.optional and port.name not in task.artifacts and not is_item:
            yield f'its input "{port.name}" is not connected'
    if task.condition is not None:
        for name in sorted(task.condition.inputs - task.parameters.keys()):
            yield f'its condition looks at "{name}", which is none of its inputs'


def _source(
    name: str,
    source: ir.ParameterSource | ir.ArtifactSource,
    inputs: Collection[str],
    dag: ir.Dag,
) -> Iterator[str]:
    if isinstance(source, ir.FromTask):
        for problem in _output(source, dag):
            yield f'its input "{name}": {problem}'
    elif isinstance(source, ir.FromInput) and source.name not in inputs:
        yield (
            f'its input "{name}" comes from "{source.name}", which is no input of the pipeline'
            f" around it.{nearest(source.name, inputs)}"
        )


def _reference(
    reference: platform.Reference, inputs: Collection[str], dag: ir.Dag
) -> Iterator[str]:
    """Checks where the name of a Secret, a ConfigMap or a volume comes from."""
    name = reference.parent_input
    if name and name not in inputs:
        yield (
            f'a name in its Kubernetes settings comes from "{name}", which is no input of the '
            f"pipeline around it.{nearest(name, inputs)}"
        )
    if reference.task:
        for problem in _output(ir.FromTask(reference.task, reference.output), dag):
            yield f"a name in its Kubernetes settings: {problem}"


def _output(source: ir.FromTask, dag: ir.Dag) -> Iterator[str]:
    if source.task not in dag.tasks:
        yield f'there is no task "{source.task}".{nearest(source.task, dag.tasks)}'
        return
    component = dag.tasks[source.task].component
    outputs = {**component.output_artifacts, **component.output_parameters}
    if source.output not in outputs:
        near = nearest(source.output, outputs)
        yield f'the task "{source.task}" has no output "{source.output}".{near}'
