"""The results of a run and its tasks, which progress shows and `--json` prints."""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from millrace import redact
from millrace.lineage.nodes import ArtifactRecord
from millrace.progress import Progress


class State(str, enum.Enum):
    """The state of a task or run."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    CACHED = "CACHED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELED = "CANCELED"
    PLANNED = "PLANNED"  # in a dry run: it would run

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self not in (State.WAITING, State.RUNNING)

    @property
    def good(self) -> bool:
        """Whether it has a result."""
        return self in (State.COMPLETE, State.CACHED)


_MANY = 30  # tasks of one loop; of more, only some are shown
_NOTABLE = (State.RUNNING, State.FAILED)


@dataclasses.dataclass
class TaskResult:
    """A task of a run.

    Attributes:
        path: Its name, with those of the enclosing DAGs and the index of each iteration:
            `for-loop-1[2]/trainer`.
        display_name: Its name for people.
        state: Its state.
        seconds: How long it took, retries included.
        error: One line that says why it failed, or was skipped.
        log: The file with its output.
        artifacts: Its output artifacts, by port.
        parameters: Its output parameters.
        attempts: How many times it was started.
        peak_memory: The peak memory of its process in bytes; 0 if unknown.
        is_dag: Whether it is a DAG or a loop, whose tasks have results of their own.
        iterations: The number of its iterations, if it is a loop.
        iterations_ended: How many of them have ended.
        started: `time.monotonic()` when it started.
        progress: How far it is, if it runs and says so.
    """

    path: str
    display_name: str
    state: State = State.WAITING
    seconds: float = 0.0
    error: str = ""
    log: Path | None = None
    artifacts: dict[str, Sequence[ArtifactRecord]] = dataclasses.field(default_factory=dict)
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    attempts: int = 0
    peak_memory: int = 0
    is_dag: bool = False
    iterations: int | None = None
    iterations_ended: int = 0
    started: float = 0.0
    progress: Progress | None = None

    @property
    def is_in_loop(self) -> bool:
        """Whether it is an iteration of a loop, or a task in one."""
        return "[" in self.path

    @property
    def is_group(self) -> bool:
        """Whether it is a condition, a pipeline within the pipeline, or an iteration of a loop."""
        return self.is_dag and self.iterations is None

    @property
    def loop(self) -> tuple[str, int]:
        """The path of the innermost loop that it is in, and its iteration there."""
        loop, _, index = self.path[: self.path.rindex("]")].rpartition("[")
        return loop, int(index)

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
            "outputs": _ports(self.artifacts),
        }


def _ports(artifacts: Mapping[str, Sequence[ArtifactRecord]]) -> dict[str, Any]:
    """Returns artifacts as JSON: an object for an output, a list of them if it is a list."""
    found: dict[str, Any] = {}
    for name, records in artifacts.items():
        listed = [
            {
                "uri": redact.text(record.uri),
                "type": record.schema_title,
                "id": record.id,
                "metadata": redact.metadata(record.metadata),
            }
            for record in records
        ]
        found[name] = listed[0] if len(listed) == 1 else listed
    return found


def _within(
    loop: TaskResult, inner: Mapping[str, Mapping[int, Sequence[TaskResult]]]
) -> Iterator[TaskResult]:
    """Yields the tasks of a loop, iteration by iteration, and those of the loops in it."""
    for _, tasks in sorted(inner.get(loop.path, {}).items()):
        for task in tasks:
            yield task
            yield from _within(task, inner)


@dataclasses.dataclass
class RunResult:
    """A run.

    Attributes:
        run_id: Its id in the lineage store.
        pipeline: The pipeline's name.
        folder: Its folder on this machine, with logs, and with artifacts unless `target` is set.
        target: The URI that holds its artifacts, if the root is remote.
        store: The lineage store.
        parameters: The pipeline's parameters, defaults included.
        tasks: Its tasks by path, in the order of the pipeline.
        state: COMPLETE, FAILED or CANCELED; RUNNING until then.
        seconds: How long it took.
        error: One line that says why it failed.
        outputs: The pipeline's own output parameters.
        artifacts: The pipeline's own output artifacts.
        peak_memory: The peak memory of its processes together, in bytes; None if not measured.
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
    target: str = ""
    outputs: dict[str, Any] = dataclasses.field(default_factory=dict)
    artifacts: dict[str, Sequence[ArtifactRecord]] = dataclasses.field(default_factory=dict)
    peak_memory: int | None = None

    @property
    def exit_code(self) -> int:
        """The exit code: 0, 1 for a failed run, 130 for one that was stopped."""
        return {State.COMPLETE: 0, State.PLANNED: 0, State.CANCELED: 130}.get(self.state, 1)

    def name(self, task: TaskResult) -> str:
        """Returns a task's display name; its path if it is in a loop or the name is not unique."""
        is_alone = self._called[task.display_name] <= 1
        return task.display_name if is_alone and not task.is_in_loop else task.path

    def shown(self) -> list[TaskResult]:
        """Returns the tasks to show, in the order of the pipeline, each after the loop it is in.

        Of a loop with many tasks, only those that run or have failed are shown.
        """
        inner: dict[str, dict[int, list[TaskResult]]] = {}  # by loop and iteration
        for task in list(self.tasks.values()):
            if task.is_in_loop and not task.is_group:
                loop, index = task.loop
                inner.setdefault(loop, {}).setdefault(index, []).append(task)
        rows: list[TaskResult] = []
        for task in list(self.tasks.values()):
            if not task.is_in_loop and not task.is_group:
                within = list(_within(task, inner))
                if len(within) > _MANY:
                    within = [one for one in within if not one.is_dag and one.state in _NOTABLE]
                rows += [task, *within[:_MANY]]
        return rows

    @functools.cached_property
    def _called(self) -> Counter[str]:
        """The number of tasks outside loops with each name."""
        tasks = [task for task in self.tasks.values() if not task.is_dag and not task.is_in_loop]
        return Counter(task.display_name for task in tasks)

    def to_json(self) -> dict[str, Any]:
        """Returns the run as `--json` prints it."""
        return {
            "run_id": self.run_id,
            "pipeline": self.pipeline,
            "state": self.state.value,
            "seconds": round(self.seconds, 3),
            "error": self.error or None,
            "folder": str(self.folder),
            "target": self.target or None,
            "store": redact.text(self.store),
            "parameters": redact.parameters(self.parameters),
            "peak_memory_bytes": self.peak_memory,
            "outputs": redact.parameters(self.outputs) | _ports(self.artifacts),
            "tasks": [task.to_json() for task in self.tasks.values() if not task.is_dag],
        }
