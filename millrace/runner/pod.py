"""What a cluster would put into a task's pod: variables, mounted folders and fields of the pod."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import hashlib
import json
import os
import re
import socket
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from millrace import redact
from millrace.backends.base import BindMount
from millrace.errors import ParameterError
from millrace.ir import spec as ir
from millrace.ir.platform import (
    CLAIM,
    CONFIG_MAP,
    EMPTY,
    SECRET,
    Mount,
    PlatformSettings,
    Variable,
    field_key,
)
from millrace.runner.cluster_values import FILE_VARIABLE, ClusterValues
from millrace.runner.scratch import scratch_folder
from millrace.runner.volumes import Volumes

NAMESPACE = "default"
_RUN = ("pipeline/runid", "pipelines.kubeflow.org/run_name")  # what KFP itself sets for each pod
_HOW = f"name a file that has it with --secrets FILE or {FILE_VARIABLE}"


@dataclasses.dataclass(frozen=True)
class Pod:
    """What one attempt is given.

    Attributes:
        env: Environment variables from fields of the pod.
        secret_env: Environment variables from Secrets and ConfigMaps.
        mounts: Folders that it sees at paths of its own.
    """

    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    secret_env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    mounts: tuple[BindMount, ...] = ()


class Pods:
    """Makes what a cluster would put into the pods of one run.

    Args:
        values: The Secrets and ConfigMaps that the user has given.
        volumes: The volumes of the root.
        run_id: The run.
    """

    def __init__(self, values: ClusterValues, volumes: Volumes, run_id: str) -> None:
        self._values = values
        self._volumes = volumes
        self._run_id = run_id

    def missing(self, pipeline: ir.Pipeline) -> Iterator[str]:
        """Yields for each task why it will fail if it starts: a Secret or ConfigMap is not there.

        A task behind a condition may never start, and on a cluster only its own pod would fail.
        """
        for path, task in pipeline.walk():
            body = task.component.body
            if not isinstance(body, ir.Container):
                continue
            try:
                for variable in body.settings.variables:
                    if _is_known(variable):
                        self._variable(variable)
                    elif not (variable.optional or self._is_given(variable)):
                        raise ParameterError(f"${variable.name} comes from {_a(variable)}: {_HOW}.")
                for mount in body.settings.mounts:
                    if mount.kind not in (CLAIM, EMPTY) and _is_known(mount):
                        self._keys(mount)
            except ParameterError as error:
                yield f'Task "{path}" will fail if it starts: {error}'

    @contextlib.contextmanager
    def provide(self, settings: PlatformSettings, path: str) -> Iterator[Pod]:
        """Makes what the settings ask for; folders with Secrets are removed in the end.

        Args:
            settings: The settings of a container, names filled in.
            path: The path of the task instance.

        Raises:
            ParameterError: Something that is needed is not there.
        """
        env = {name: self._field(field, settings, path) for name, field in settings.fields.items()}
        found = {one.name: self._variable(one) for one in settings.variables}
        variables = {name: value for name, value in found.items() if value is not None}
        if not settings.mounts:
            yield Pod(env, variables)
            return
        with scratch_folder() as scratch:
            mounts = [
                mount
                for number, one in enumerate(settings.mounts)
                for mount in self._mount(one, scratch / str(number))
            ]
            yield Pod(env, variables, tuple(mounts))

    def present(self, settings: PlatformSettings) -> PlatformSettings:
        """Returns settings without the optional mounts of what is not there."""
        mounts = [
            one
            for one in settings.mounts
            if one.kind in (CLAIM, EMPTY) or self._keys(one) is not None
        ]
        return dataclasses.replace(settings, mounts=tuple(mounts))

    def identity(self, settings: PlatformSettings) -> list[Any]:
        """Returns what the cache knows settings by: names, and the content of ConfigMaps.

        A Secret counts by its name alone: its values leave no trace, and may be rotated.

        Raises:
            ParameterError: A ConfigMap that is needed is not there.
        """
        found: list[Any] = []
        for one in settings.variables:
            value = self._variable(one) if one.kind == CONFIG_MAP else ""
            found.append([one.kind, one.source.constant, one.name, one.key, value])
        for mount in settings.mounts:
            keys = self._keys(mount) if mount.kind == CONFIG_MAP else None
            digest = _digest(keys or {})
            found.append([mount.kind, mount.source.constant, mount.path, mount.sub_path, digest])
        return found

    def _is_given(self, variable: Variable) -> bool:
        """Returns whether a variable may be had though the name of its Secret is not known yet."""
        return self._values.file is not None or variable.name in os.environ

    def _variable(self, one: Variable) -> str | None:
        """Returns the value of a variable; None if it is optional and not there."""
        keys = self._values.get(one.kind, str(one.source.constant))
        if keys is None or one.key not in keys:
            if (value := os.environ.get(one.name)) is not None:
                if one.kind == SECRET:
                    redact.learn({"secret": value})
                return value
            if one.optional:
                return None
            where = f", and {self._values.file} has none" if self._values.file else ""
            raise ParameterError(
                f"${one.name} comes from {_a(one)}{where}: {_HOW}, or set ${one.name} here."
            )
        try:
            value = keys[one.key].decode()
        except UnicodeDecodeError:
            value = "\0"
        if "\0" in value:
            raise ParameterError(f"${one.name} comes from {_a(one)}, whose value is not text.")
        return value

    def _keys(self, one: Mount) -> Mapping[str, bytes] | None:
        keys = self._values.get(one.kind, str(one.source.constant))
        if keys is None and not one.optional:
            raise ParameterError(
                f'the {one.kind} "{one.source.constant}" is mounted at {one.path}: {_HOW}.'
            )
        return keys

    def _mount(self, one: Mount, scratch: Path) -> Iterator[BindMount]:
        if one.kind == CLAIM:
            yield BindMount(self._volumes.make(str(one.source.constant), one.sub_path), one.path)
            return
        keys = {} if one.kind == EMPTY else self._keys(one)
        if keys is None:
            return
        scratch.mkdir(mode=0o700)
        for key, value in keys.items():
            file = scratch / key
            file.touch(mode=0o600)
            file.write_bytes(value)
        yield BindMount(scratch, one.path, readonly=one.kind != EMPTY)

    def _field(self, field: str, settings: PlatformSettings, path: str) -> str:
        if (keyed := field_key(field)) is not None:
            own = settings.labels if keyed[0] == "labels" else settings.annotations
            return own.get(keyed[1], self._run_id if keyed[1] in _RUN else "")
        values = {
            "metadata.name": _pod_name(self._run_id, path),
            "metadata.namespace": NAMESPACE,
            "metadata.uid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._run_id}/{path}")),
            "spec.nodeName": socket.gethostname(),
            "spec.serviceAccountName": _user(),
        }
        return values.get(field, "127.0.0.1")  # the others are addresses


def _digest(keys: Mapping[str, bytes]) -> str:
    values = {key: hashlib.sha256(value).hexdigest() for key, value in sorted(keys.items())}
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _is_known(one: Variable | Mount) -> bool:
    """Returns whether the pipeline itself says the name."""
    name = one.source.constant
    return isinstance(name, str) and "{{$" not in name


def _a(one: Variable) -> str:
    name = one.source.constant
    which = f'the {one.kind} "{name}"' if name is not None else f"a {one.kind} named at run time"
    return f'the key "{one.key}" of {which}'


def _pod_name(run_id: str, path: str) -> str:
    """Returns a name as Kubernetes allows it: lower case, at most 63 characters."""
    name = re.sub(r"[^a-z0-9]+", "-", f"{run_id}-{path}".lower()).strip("-")
    if len(name) <= 63:
        return name
    return f"{name[:54].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "default"
