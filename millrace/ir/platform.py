"""The second document of a compiled pipeline: what `kfp-kubernetes` set for the cluster.

Where a task is placed and how its image is pulled means nothing here and is passed over. A time
limit is kept. Environment variables that the cluster fills from a Secret or ConfigMap are taken
from the caller's environment. What mounts a volume cannot be run here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from millrace.errors import PipelineError

_VOLUMES = ("pvcMount", "secretAsVolume", "configMapAsVolume", "genericEphemeralVolume")
_FROM_CLUSTER = ("secretAsEnv", "configMapAsEnv")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What holds on this machine too.

    Attributes:
        timeout: Seconds after which the task is stopped; 0 sets no limit.
        env_from_caller: Environment variables that the caller must have set.
    """

    timeout: float = 0
    env_from_caller: tuple[str, ...] = ()


def settings(documents: list[dict[str, Any]]) -> dict[str, Settings]:
    """Returns the settings of each executor.

    Raises:
        PipelineError: A task mounts a volume of the cluster.
    """
    found: dict[str, Settings] = {}
    for document in documents:
        executors = (
            document["platforms"]
            .get("kubernetes", {})
            .get("deploymentSpec", {})
            .get("executors", {})
        )
        for label, spec in executors.items():
            found[label] = _settings(label, spec)
    return found


def _settings(label: str, spec: Mapping[str, Any]) -> Settings:
    for kind in _VOLUMES:
        if spec.get(kind):
            raise PipelineError(
                f'the executor "{label}" has "{kind}": this machine has no volume of the cluster'
            )
    names = [
        mapping["envVar"]
        for kind in _FROM_CLUSTER
        for source in spec.get(kind, [])
        for mapping in source.get("keyToEnv", [])
    ]
    return Settings(float(spec.get("activeDeadlineSeconds", 0)), tuple(names))
