"""Reads the executors of a compiled pipeline: containers, and imports of artifacts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from millrace.errors import PipelineError
from millrace.ir import platform
from millrace.ir import spec as ir
from millrace.ir.platform import PlatformSettings, Reference
from millrace.ir.quantity import cpus, duration, memory

Message = Mapping[str, Any]
_VOLUME_TASKS = {"argostub/createpvc": False, "argostub/deletepvc": True}  # whether it deletes
_RUNTIME = ("image", "resources")  # fields that may hold a placeholder, filled in when a task runs


def only(spec: Message, known: Collection[str], what: str) -> None:
    """Rejects a message with unknown fields."""
    for key in spec:
        if key not in known:
            raise PipelineError(f'{what} has "{key}", which this version of Millrace cannot run')


def retry(spec: Message) -> ir.Retry:
    """Returns the retry policy of a task."""
    return ir.Retry(
        int(spec.get("maxRetryCount", 0)),
        duration(spec.get("backoffDuration", "0s")),
        float(spec.get("backoffFactor", 2)),
        duration(spec.get("backoffMaxDuration", "3600s")),
    )


def container(
    label: str, spec: Message, settings: PlatformSettings | None
) -> ir.Container | ir.VolumeTask:
    """Returns a container with its resources and its platform settings.

    The containers of `CreatePVC` and `DeletePVC` only stand for what KFP's driver does.
    """
    if spec.get("image") in _VOLUME_TASKS:
        return ir.VolumeTask(deletes=_VOLUME_TASKS[spec["image"]])
    only(
        spec,
        ("image", "command", "args", "env", "resources"),
        f'the executor "{label}"',
    )
    at_runtime = "{{$" in json.dumps([spec.get(name) for name in _RUNTIME])
    return ir.Container(
        spec["image"],
        tuple(spec.get("command", ())),
        tuple(spec.get("args", ())),
        {one["name"]: str(one.get("value", "")) for one in spec.get("env", [])},
        ir.Resources() if at_runtime else _resources(spec),
        settings or PlatformSettings(),
        {name: spec[name] for name in _RUNTIME if name in spec} if at_runtime else None,
    )


def filled(
    container: ir.Container,
    fill: Callable[[Any], Any],
    look_up: Callable[[Reference], Any],
) -> ir.Container:
    """Returns a container with its names, and its placeholders in image and resources, filled in.

    Args:
        container: The container.
        fill: Fills in the placeholders of a JSON value.
        look_up: Returns the value of a reference.

    Raises:
        PipelineError: The value of a placeholder is not an image or a quantity.
        ParameterError: A Secret, a ConfigMap or a volume that is needed has no name.
    """
    if container.settings.references:
        settings = platform.resolved(container.settings, look_up)
        container = dataclasses.replace(container, settings=settings)
    if container.template is None:
        return container
    spec = fill(container.template)
    return dataclasses.replace(
        container, image=spec["image"], resources=_resources(spec), template=None
    )


def importer(spec: Message) -> ir.Importer:
    """Returns the importer of an existing artifact."""
    uri, kind = spec["artifactUri"], spec["typeSchema"]
    parameter = uri.get("runtimeParameter")
    return ir.Importer(
        ir.FromInput(parameter) if parameter else ir.Constant(uri["constant"]),
        kind.get("schemaTitle", "system.Artifact"),
        kind.get("schemaVersion", "0.0.1"),
        spec.get("metadata", {}),
        bool(spec.get("reimport")),
    )


def _resources(spec: Message) -> ir.Resources:
    resources = spec.get("resources", {})
    accelerator = resources.get("accelerator", {})
    return ir.Resources(
        cpus(resources.get("resourceCpuRequest") or resources.get("cpuRequest", 0)),
        cpus(resources.get("resourceCpuLimit") or resources.get("cpuLimit", 0)),
        memory(resources.get("resourceMemoryRequest") or resources.get("memoryRequest", 0)),
        memory(resources.get("resourceMemoryLimit") or resources.get("memoryLimit", 0)),
        int(accelerator.get("resourceCount") or accelerator.get("count", 0)),
    )
