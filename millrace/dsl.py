"""The vocabulary of a component.py: KFP's classes of the artifact types, and `step`.

@step(Image.DATA)
def schema_gen(statistics: Input[Statistics], schema: Output[Schema]):
    \"\"\"Infers a schema from statistics.\"\"\"
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kfp import dsl
from kfp.dsl import Input, Output

from millrace import artifacts, images
from millrace.authoring.caching import PINNED
from millrace.errors import ParameterError, nearest
from millrace.images import Image
from millrace.ir.declared import Declared

__all__ = [
    "HTML",
    "Anomalies",
    "Artifact",
    "Blessing",
    "ClassificationMetrics",
    "Dataset",
    "Evaluation",
    "Examples",
    "Image",
    "Input",
    "Markdown",
    "Metrics",
    "Model",
    "Output",
    "PushedModel",
    "Schema",
    "Statistics",
    "TransformGraph",
    "pinned",
    "step",
    "with_resources",
]

Artifact, Dataset, Model = dsl.Artifact, dsl.Dataset, dsl.Model
Metrics, ClassificationMetrics = dsl.Metrics, dsl.ClassificationMetrics
HTML, Markdown = dsl.HTML, dsl.Markdown


def _twin(kind: type[artifacts.Artifact]) -> Any:
    """Returns KFP's class of an artifact type, since its compiler requires its own subclasses."""
    body = {
        "__doc__": kind.__doc__,
        "schema_title": kind.schema_title,
        "schema_version": kind.schema_version,
    }
    return type(kind.__name__, (dsl.Artifact,), body)


Examples = _twin(artifacts.Examples)
Statistics = _twin(artifacts.Statistics)
Schema = _twin(artifacts.Schema)
Anomalies = _twin(artifacts.Anomalies)
TransformGraph = _twin(artifacts.TransformGraph)
Evaluation = _twin(artifacts.Evaluation)
Blessing = _twin(artifacts.Blessing)
PushedModel = _twin(artifacts.PushedModel)


def step(
    image: Image | str,
    *,
    reads: str | Sequence[str] = (),
    modules: str | Sequence[str] = (),
    writes: str | Sequence[str] = (),
) -> Callable[[Callable[..., None]], Any]:
    """Turns a signature with a docstring and no body into the container component of that name.

    The container runs `python -m millrace.entrypoint <step>`, which calls `run` of the step's
    executor with the value that the backend fills in for `{{$}}`. The executor is the module
    `executor` beside the `component` that declares the step.

    Args:
        image: One of Millrace's images, or the name of an image that has Millrace and the step.
        reads: The parameters that name external data to read: results are reused only if its
            content is the same, lineage records it, and containers get it mounted.
        modules: The parameters that name the user's code: a Python file, or a dotted name.
        writes: The parameters that name an external place to write to.

    Raises:
        ParameterError: One of these is not a parameter of the signature.
    """
    declared = Declared(_names(reads), _names(modules), _names(writes))

    def decorate(signature: Callable[..., None]) -> Any:
        @functools.wraps(signature)
        def container(*_: Any, **__: Any) -> dsl.ContainerSpec:
            return dsl.ContainerSpec(
                image=images.name(image) if isinstance(image, Image) else image,
                command=[*images.COMMAND, _executor(signature)],
                args=["--executor_input", "{{$}}", *declared.arguments()],
            )

        component = dsl.container_component(container)
        _check(declared, signature.__name__, component.component_spec.inputs or {})
        return component

    return decorate


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _executor(signature: Callable[..., None]) -> str:
    """Returns the entrypoint's argument for a step: one of ours by name, or an executor."""
    package, _, module = signature.__module__.rpartition(".")
    if package and module == "component" and not package.startswith("millrace.components."):
        return f"{package}.executor"
    return signature.__name__


def _check(declared: Declared, step: str, inputs: Mapping[str, Any]) -> None:
    for use in ("reads", "modules", "writes"):
        for name in getattr(declared, use):
            if name not in inputs or not inputs[name].type == "String":
                raise ParameterError(
                    f'The step "{step}" declares {use}="{name}", and has no parameter of that name'
                    f" that is a str.{nearest(name, inputs)}"
                )


def pinned(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Declares that what a task reads never changes under its name, so that KFP may cache it.

    It is for addresses that contain a version or a digest, such as `s3://sales/2024-05-01.parquet`.
    KFP caches no other task that reads external data, as it would not notice changed data.

    Args:
        task: The task.

    Returns:
        The same task.
    """
    return task.set_env_variable(PINNED, "true")


def with_resources(
    task: dsl.PipelineTask, name: str, cpu: str = "1", memory: str = "2G"
) -> dsl.PipelineTask:
    """Sets a task's name and resources, and two retries in case its machine fails.

    Args:
        task: The task.
        name: The name in the KFP UI and on the terminal.
        cpu: The cores to request, such as `500m` or `2`.
        memory: The memory to request, such as `2G`.

    Returns:
        The same task.
    """
    task.set_display_name(name).set_cpu_request(cpu).set_memory_request(memory)
    return task.set_retry(num_retries=2, backoff_duration="10s", backoff_factor=2.0)
