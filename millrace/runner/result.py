"""What a run and its tasks came to: what progress shows, and `--json` prints."""

from __future__ import annotations

import dataclasses
import enum
from collections import Counter
from pathlib import Path
from typing import Any

from millrace import redact
from millrace.lineage.nodes import ArtifactRecord


class State(str, enum.Enum):
    """How far a task or run is."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    CACHED = "CACHED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELED = "CANCELED"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self not in (State.WAITING, State.RUNNING)

    @property
    def good(self) -> bool:
        """Whether there is a result."""
        return self in (State.COMPLETE, State.CACHED)


@dataclasses.dataclass
class TaskResult:
    """A task of a run.

    Attributes:
        path: Its name, with those of the DAGs around it: `condition-1/trainer`.
        display_name: What people call it.
        state: How far it is.
        seconds: How long it took, retries included.
        error: One line that says why it failed, or was skipped.
        log: The file with its output.
        artifacts: What it made.
        parameters: The output parameters it gave.
        attempts: How often it was started.
        peak_memory: The most bytes its process held; 0 if that is not known.
        is_dag: Whether it is a DAG of tasks that have results of their own.
        started: `time.monotonic()` when it started.
    """

    path: str
    display_name: str
    state: State = State.WAITING
    seconds: float = 0.0
    error: str = ""
    log: Path | None = None
    artifacts: dict[str, ArtifactRecord] = dataclasses.field(default_factory=dict)
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    attempts: int = 0
    peak_memory: int = 0
    is_dag: bool = False
    started: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Returns the task as `--json` prints it."""
        return {
            "task": self.path,
            "name": self.display_name,
            "state": self.state.value,
            "seconds": round(self.seconds, 3),
            "attempts": self.attempts,
            "error": self.error or None,
            "log": str(self.log) if self.log else None,
            "peak_memory_bytes": self.peak_memory or None,
            "parameters": redact.parameters(self.parameters),
            "outputs": {
                name: {
                    "uri": redact.text(record.uri),
                    "type": record.schema_title,
                    "id": record.id,
                    "metadata": redact.metadata(record.metadata),
                }
                for name, record in self.artifacts.items()
            },
        }


@dataclasses.dataclass
class RunResult:
    """A run.

    Attributes:
        run_id: Its id in the lineage store.
        pipeline: The pipeline's name.
        folder: Where everything it made lies.
        store: The lineage store.
        parameters: The pipeline's parameters, defaults included.
        tasks: Its tasks by path, in the order of the pipeline.
        state: COMPLETE, FAILED or CANCELED; RUNNING until then.
        seconds: How long it took.
        error: One line that says why it failed.
        peak_memory: The most bytes that its processes held together; None if not measured.
    """

    run_id: str
    pipeline: str
    folder: Path
    store: str
    parameters: dict[str, Any]
    tasks: dict[str, TaskResult]
    state: State = State.RUNNING
    seconds: float = 0.0
    error: str = ""
    peak_memory: int | None = None

    @property
    def exit_code(self) -> int:
        """What the command returns: 0, 1 for a failed run, 130 for one that was stopped."""
        return {State.COMPLETE: 0, State.CANCELED: 130}.get(self.state, 1)

    def names(self) -> dict[str, str]:
        """Returns what people call each task, by path: that is its path if others are called so."""
        called = Counter(task.display_name for task in self.tasks.values() if not task.is_dag)
        return {
            path: path if called[task.display_name] > 1 else task.display_name
            for path, task in self.tasks.items()
        }

    def to_json(self) -> dict[str, Any]:
        """Returns the run as `--json` prints it."""
        return {
            "run_id": self.run_id,
            "pipeline": self.pipeline,
            "state": self.state.value,
            "seconds": round(self.seconds, 3),
            "error": self.error or None,
            "folder": str(self.folder),
            "store": redact.text(self.store),
            "parameters": redact.parameters(self.parameters),
            "peak_memory_bytes": self.peak_memory,
            "tasks": [task.to_json() for task in self.tasks.values() if not task.is_dag],
        }
