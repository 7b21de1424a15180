"""The plain data classes of lineage; importing them does not load ml_metadata."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


class State(str, enum.Enum):
    """The state of a run or task; the names are those of MLMD's `Execution.State`."""

    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"
    CACHED = "CACHED"
    CANCELED = "CANCELED"


class Kind:
    """The types of executions, as KFP names them."""

    DAG = "system.DAGExecution"
    CONTAINER = "system.ContainerExecution"
    IMPORTER = "system.ImporterExecution"


@dataclass
class ArtifactRecord:
    """An artifact in the lineage.

    Attributes:
        name: Its name for people: that of the output, or of the file that was read.
        uri: Its URI.
        schema_title: Its type, such as `system.Examples`.
        schema_version: The version of that type.
        metadata: JSON values: `digest`, `bytes`, `rows` and whatever else the step set.
        id: Its id in the store; None until it is recorded.
        deleted: Whether it was deleted, or is about to be.
    """

    name: str
    uri: str
    schema_title: str = "system.Artifact"
    schema_version: str = "0.0.1"
    metadata: dict[str, Any] = field(default_factory=dict)
    id: int | None = None
    deleted: bool = False

    def to_json(self) -> dict[str, Any]:
        """Returns the artifact as `--json` prints it."""
        return {
            "id": self.id,
            "name": self.name,
            "type": self.schema_title,
            "uri": self.uri,
            "deleted": self.deleted,
            "metadata": self.metadata,
        }


@dataclass
class Execution:
    """The common fields of runs and tasks.

    Attributes:
        id: The id of its execution in the store.
        run_id: The run that it is, or is in.
        display_name: Its name for people.
        state: Its state in MLMD.
        started: When it started.
        finished: When it ended; None until then.
        parameters: Its input parameters.
        error: Why it failed.
        properties: Its other recorded properties.
    """

    id: int
    run_id: str
    display_name: str
    state: str
    started: datetime | None
    finished: datetime | None
    parameters: dict[str, Any]
    error: str
    properties: dict[str, Any]

    @property
    def seconds(self) -> float | None:
        """How long it took; None until it has ended."""
        if self.started is None or self.finished is None:
            return None
        return (self.finished - self.started).total_seconds()

    def to_json(self) -> dict[str, Any]:
        """Returns the fields that are set, as `--json` prints them."""
        return {
            "id": self.id,
            "run_id": self.run_id,
            "display_name": self.display_name,
            "state": self.state,
            "started": self.started.isoformat() if self.started else None,
            "finished": self.finished.isoformat() if self.finished else None,
            "seconds": self.seconds,
            "error": self.error or None,
            "parameters": self.parameters,
            "properties": self.properties,
        }


@dataclass
class Run(Execution):
    """A run of a pipeline.

    Attributes:
        pipeline: The pipeline's name.
        root: The folder or address that holds its outputs.
        counts: The number of its tasks in each state, without DAGs.
        pinned: Whether everything that it read and made is to be kept.
    """

    pipeline: str = ""
    root: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    pinned: bool = False

    def to_json(self) -> dict[str, Any]:
        """Returns the run as `--json` prints it."""
        return super().to_json() | {
            "pipeline": self.pipeline,
            "root": self.root,
            "tasks_by_state": self.counts,
            "pinned": self.pinned,
        }


@dataclass
class Task(Execution):
    """A task of a run.

    Attributes:
        name: Its name in the pipeline, with those of the enclosing DAGs: `condition-1/trainer`.
        kind: One of `Kind`.
        parent: The execution of the DAG that it is in.
        image: The image it ran in.
        fingerprint: The cache's key of its result.
        cached_from: The execution that made its result, if it was cached.
        results: Its output parameters.
        inputs: Its input artifacts, by port.
        outputs: Its output artifacts, by port.
    """

    name: str = ""
    kind: str = Kind.CONTAINER
    parent: int | None = None
    image: str = ""
    fingerprint: str = ""
    cached_from: int | None = None
    results: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, list[ArtifactRecord]] = field(default_factory=dict)
    outputs: dict[str, list[ArtifactRecord]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns the task as `--json` prints it, with its artifacts in full."""
        return super().to_json() | {
            "task": self.name,
            "kind": self.kind,
            "parent": self.parent,
            "image": self.image or None,
            "fingerprint": self.fingerprint or None,
            "cached_from": self.cached_from,
            "results": self.results,
            "inputs": _ports(self.inputs),
            "outputs": _ports(self.outputs),
        }


def _ports(ports: dict[str, list[ArtifactRecord]]) -> dict[str, list[dict[str, Any]]]:
    return {port: [record.to_json() for record in records] for port, records in ports.items()}


@dataclass(frozen=True)
class Event:
    """An execution's reading or making of an artifact.

    Attributes:
        execution_id: The execution.
        artifact_id: The artifact.
        is_output: Whether it made it.
        places: The execution's ports that hold it, each with its index in the list there; 0 if
            it is not a list.
    """

    execution_id: int
    artifact_id: int
    is_output: bool
    places: tuple[tuple[str, int], ...]

    @property
    def ports(self) -> list[str]:
        """The names of the inputs or outputs."""
        return list(dict.fromkeys(port for port, _ in self.places))


@dataclass(frozen=True)
class CachedTask:
    """An earlier result of a task with the same fingerprint.

    Attributes:
        execution_id: The execution that made it.
        parameters: Its output parameters.
        outputs: Its output artifacts by port.
        store: The store that it was found in; empty for the run's own.
    """

    execution_id: int
    parameters: dict[str, Any]
    outputs: dict[str, list[ArtifactRecord]]
    store: str = ""
