"""Reads the platform document of a compiled pipeline: what `kfp-kubernetes` set for the cluster.

Where a task is placed and how its image is pulled means nothing on this machine and is passed over.
Time limits, environment variables, secrets, ConfigMaps, volumes and the workspace are kept.

The messages are described in
https://github.com/kubeflow/pipelines/blob/master/kubernetes_platform/proto/kubernetes_executor_config.proto.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from millrace.errors import ParameterError, PipelineError

SECRET, CONFIG_MAP, CLAIM, EMPTY = "Secret", "ConfigMap", "PersistentVolumeClaim", "emptyDir"
FIELDS = (
    *("metadata.name", "metadata.namespace", "metadata.uid"),
    *("spec.nodeName", "spec.serviceAccountName"),
    *("status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"),
)
_KEYED = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


@dataclasses.dataclass(frozen=True)
class Reference:
    """Where a value comes from: a constant, an input of the DAG, or an output of another task.

    Attributes:
        constant: The value itself, if neither of the others is given.
        parent_input: An input of the DAG that the task is in.
        task: Another task of that DAG.
        output: The output parameter of that task.
    """

    constant: Any = None
    parent_input: str = ""
    task: str = ""
    output: str = ""


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
        kind: `Secret`, `ConfigMap`, `PersistentVolumeClaim`, or `emptyDir` for an empty folder.
        source: The name of what is mounted; an empty folder has none.
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
        labels: The labels of the pod.
        annotations: The annotations of the pod.
    """

    timeout: float = 0
    variables: tuple[Variable, ...] = ()
    mounts: tuple[Mount, ...] = ()
    fields: Mapping[str, str] = dataclasses.field(default_factory=dict)
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    annotations: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def sources(self) -> tuple[Variable | Mount, ...]:
        """The variables and mounts."""
        return (*self.variables, *self.mounts)

    @property
    def references(self) -> tuple[Reference, ...]:
        """Where the names of Secrets, ConfigMaps and volumes come from."""
        return tuple(one.source for one in self.sources)


def settings(documents: list[dict[str, Any]]) -> dict[str, PlatformSettings]:
    """Returns the settings of each executor.

    Raises:
        PipelineError: A task needs something of a cluster that this machine cannot stand in for.
    """
    return {
        label: _settings(label, spec)
        for document in documents
        for label, spec in _kubernetes(document)
        .get("deploymentSpec", {})
        .get("executors", {})
        .items()
    }


def resolved(settings: PlatformSettings, look_up: Callable[[Reference], Any]) -> PlatformSettings:
    """Returns settings with the names of Secrets, ConfigMaps and volumes in place of references.

    What is optional and has no name is left out.

    Args:
        settings: The settings.
        look_up: Returns the value of a reference, None if it has none.

    Raises:
        ParameterError: Something that is needed has no name.
    """

    def named(one: Any, what: str) -> Iterator[Any]:
        name = look_up(one.source)
        if isinstance(name, str) and name:
            yield dataclasses.replace(one, source=Reference(name))
        elif name:
            raise ParameterError(f"The name of {what} must be text, and is {name!r}.")
        elif not one.optional:
            raise ParameterError(f"The name of {what} has no value.")

    variables = [
        found
        for one in settings.variables
        for found in named(one, f"the {one.kind} with ${one.name}")
    ]
    mounts = [
        found
        for one in settings.mounts
        for found in (
            (one,) if one.kind == EMPTY else named(one, f"the {one.kind} mounted at {one.path}")
        )
    ]
    return dataclasses.replace(settings, variables=tuple(variables), mounts=tuple(mounts))


def field_key(path: str) -> tuple[str, str] | None:
    """Returns `labels` or `annotations` and the key, if a field path names one of those."""
    found = _KEYED.fullmatch(path)
    return (found[1], found[2]) if found else None


def uses_workspace(documents: list[dict[str, Any]]) -> bool:
    """Returns whether the pipeline is configured with a workspace that its tasks share."""
    return any(
        "workspace" in _kubernetes(document).get("pipelineConfig", {}) for document in documents
    )


def _kubernetes(document: Mapping[str, Any]) -> Mapping[str, Any]:
    found = document["platforms"].get("kubernetes", {})
    return found if isinstance(found, Mapping) else {}


def _settings(label: str, spec: Mapping[str, Any]) -> PlatformSettings:
    if spec.get("initContainers"):
        raise PipelineError(
            f'the executor "{label}" has init containers, which run on a cluster only'
        )
    fields = {one["name"]: one["fieldPath"] for one in spec.get("fieldPathAsEnv", [])}
    for name, path in fields.items():
        if path not in FIELDS and field_key(path) is None:
            raise PipelineError(
                f'the executor "{label}" sets ${name} to the field "{path}" of its pod, which has '
                "no value on this machine"
            )
    pod = spec.get("podMetadata", {})
    return PlatformSettings(
        float(spec.get("activeDeadlineSeconds", 0)),
        tuple(_variables(spec)),
        tuple(_mounts(spec)),
        fields,
        {key: str(value) for key, value in pod.get("labels", {}).items()},
        {key: str(value) for key, value in pod.get("annotations", {}).items()},
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
            yield Mount(_path(source), kind, _name(source, kind), optional=optional)
    for source in spec.get("pvcMount", []):
        reference = _reference(source.get("pvcNameParameter") or source)
        yield Mount(_path(source), CLAIM, reference, source.get("subPath", ""))
    for field in ("emptyDirMounts", "genericEphemeralVolume"):
        for source in spec.get(field, []):
            yield Mount(_path(source), EMPTY, Reference())


def _path(source: Mapping[str, Any]) -> str:
    """Returns where something is mounted.

    Raises:
        PipelineError: That is no path of a folder below the root.
    """
    path = str(source["mountPath"])
    parts = PurePosixPath(path).parts
    if parts[:1] != ("/",) or len(parts) == 1 or ".." in parts or "\0" in path:
        raise PipelineError(f"something is mounted at {path!r}: it must be an absolute path")
    return path


def _name(source: Mapping[str, Any], kind: str) -> Reference:
    """Returns the name of a Secret or ConfigMap; a parameter in newer files, text in older ones."""
    prefix = "secret" if kind == SECRET else "configMap"
    parameter = source.get(f"{prefix}NameParameter")
    if isinstance(parameter, Mapping):
        return _reference(parameter)
    return Reference(source.get(f"{prefix}Name", ""))


def _reference(spec: Mapping[str, Any]) -> Reference:
    if "taskOutputParameter" in spec:
        source = spec["taskOutputParameter"]
        return Reference(task=source["producerTask"], output=source["outputParameterKey"])
    if "componentInputParameter" in spec:
        return Reference(parent_input=spec["componentInputParameter"])
    if "runtimeValue" in spec:
        return Reference(spec["runtimeValue"]["constant"])
    return Reference(spec.get("constant"))
