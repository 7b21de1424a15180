"""Reads the platform document of a compiled pipeline: what `kfp-kubernetes` set for the cluster.

Where a task is placed and how its image is pulled means nothing on this machine and is passed over.
Time limits, environment variables, secrets, ConfigMaps, volumes and the workspace are kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from millrace.errors import PipelineError

SECRET, CONFIG_MAP = "Secret", "ConfigMap"
_UNSUPPORTED = ("genericEphemeralVolume",)


@dataclasses.dataclass(frozen=True)
class Reference:
    """A value that is a constant, an input of the task, or an output of another task."""

    spec: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Variable:
    """An environment variable whose value is a key of a Secret or ConfigMap.

    Attributes:
        name: The variable.
        kind: `Secret` or `ConfigMap`.
        source: The name of the Secret or ConfigMap.
        key: The key in it.
        optional: Whether the task runs without it.
    """

    name: str
    kind: str
    source: Reference
    key: str
    optional: bool = False


@dataclasses.dataclass(frozen=True)
class Mount:
    """A folder that the cluster mounts into the container.

    Attributes:
        path: Where the container sees it.
        kind: `Secret`, `ConfigMap`, or empty for a PersistentVolumeClaim.
        source: The name of what is mounted.
        sub_path: The folder within the volume.
        optional: Whether the task runs without it.
    """

    path: str
    kind: str
    source: Reference
    sub_path: str = ""
    optional: bool = False


@dataclasses.dataclass(frozen=True)
class PlatformSettings:
    """What the platform adds to a container.

    Attributes:
        timeout: Seconds after which the task is stopped; 0 sets no limit.
        variables: Environment variables from Secrets and ConfigMaps.
        mounts: Volumes, Secrets and ConfigMaps that are mounted as folders.
        fields: Environment variables from fields of the pod, by their `fieldPath`.
    """

    timeout: float = 0
    variables: tuple[Variable, ...] = ()
    mounts: tuple[Mount, ...] = ()
    fields: Mapping[str, str] = dataclasses.field(default_factory=dict)


def settings(documents: list[dict[str, Any]]) -> dict[str, PlatformSettings]:
    """Returns the settings of each executor.

    Raises:
        PipelineError: A task mounts a kind of volume that this machine cannot stand in for.
    """
    return {
        label: _settings(label, spec)
        for document in documents
        for label, spec in _kubernetes(document)
        .get("deploymentSpec", {})
        .get("executors", {})
        .items()
    }


def uses_workspace(documents: list[dict[str, Any]]) -> bool:
    """Returns whether the pipeline is configured with a workspace that its tasks share."""
    return any(
        "workspace" in _kubernetes(document).get("pipelineConfig", {}) for document in documents
    )


def _kubernetes(document: Mapping[str, Any]) -> Mapping[str, Any]:
    found = document["platforms"].get("kubernetes", {})
    return found if isinstance(found, Mapping) else {}


def _settings(label: str, spec: Mapping[str, Any]) -> PlatformSettings:
    for kind in _UNSUPPORTED:
        if spec.get(kind):
            raise PipelineError(
                f'the executor "{label}" has "{kind}": this machine has no volume of the cluster'
            )
    return PlatformSettings(
        float(spec.get("activeDeadlineSeconds", 0)),
        tuple(_variables(spec)),
        tuple(_mounts(spec)),
        {one["name"]: one["fieldPath"] for one in spec.get("fieldPathAsEnv", [])},
    )


def _variables(spec: Mapping[str, Any]) -> Iterator[Variable]:
    for field, kind in (("secretAsEnv", SECRET), ("configMapAsEnv", CONFIG_MAP)):
        for source in spec.get(field, []):
            for mapping in source.get("keyToEnv", []):
                key = mapping.get("secretKey") or mapping.get("configMapKey") or ""
                yield Variable(
                    mapping["envVar"], kind, _name(source, kind), key, bool(source.get("optional"))
                )


def _mounts(spec: Mapping[str, Any]) -> Iterator[Mount]:
    for field, kind in (("secretAsVolume", SECRET), ("configMapAsVolume", CONFIG_MAP)):
        for source in spec.get(field, []):
            optional = bool(source.get("optional"))
            yield Mount(source["mountPath"], kind, _name(source, kind), optional=optional)
    for source in spec.get("pvcMount", []):
        reference = source.get("pvcNameParameter") or {
            key: source[key]
            for key in ("constant", "taskOutputParameter", "componentInputParameter")
            if key in source
        }
        yield Mount(source["mountPath"], "", Reference(reference), source.get("subPath", ""))


def _name(source: Mapping[str, Any], kind: str) -> Reference:
    """Returns the name of a Secret or ConfigMap; a parameter in newer files, text in older ones."""
    prefix = "secret" if kind == SECRET else "configMap"
    parameter = source.get(f"{prefix}NameParameter")
    if isinstance(parameter, Mapping):
        return Reference(parameter)
    return Reference({"runtimeValue": {"constant": source.get(f"{prefix}Name", "")}})
