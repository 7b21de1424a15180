"""The state of a running pipeline: instances of DAGs and tasks.

A task instance is made when its DAG opens. A loop is an instance whose iterations are instances of
the same task, each with its index.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from millrace.ir import spec as ir
from millrace.lineage.nodes import ArtifactRecord
from millrace.runner.external import Contents
from millrace.runner.inputs import Inputs
from millrace.runner.result import State, TaskResult


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Attributes:
        state: Its state.
        artifacts: Its output artifacts, by port.
        parameters: Its output parameters.
        error: Why it failed.
    """

    state: State
    artifacts: Mapping[str, Sequence[ArtifactRecord]] = dataclasses.field(default_factory=dict)
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    error: str = ""


@dataclasses.dataclass(eq=False)
class TaskInstance:
    """One instance of a task.

    Attributes:
        task: The task.
        dag: The DAG instance it is in.
        result: Its result so far.
        loop: The loop that this is an iteration of, if it is one.
        index: The index of that iteration.
        inputs: Its inputs, once they are known.
        container: Its container, with image and resources filled in.
        code: Digests of its code, as the backend computes them: of sources, or of the image.
        contents: The external data it reads, by parameter.
        external: The part of it that is recorded as artifacts.
        parts: The parts of its fingerprint, each a digest.
        fingerprint: The cache's key of its result: the digest of the parts, or the author's key.
        execution: Its execution in the lineage store, once there is one.
        iterations: The state of its iterations, if it is a loop.
        opened: Whether tasks or iterations in it were started; their errors are then its reason.
    """

    task: ir.Task
    dag: DagInstance
    result: TaskResult
    loop: TaskInstance | None = None
    index: int | None = None
    inputs: Inputs | None = None
    container: ir.Container | None = None
    code: Mapping[str, str] = dataclasses.field(default_factory=dict)
    contents: Contents = dataclasses.field(default_factory=dict)
    external: Mapping[str, ArtifactRecord] = dataclasses.field(default_factory=dict)
    parts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    fingerprint: str = ""
    execution: int | None = None
    iterations: Iterations | None = None
    opened: bool = False

    @property
    def resources(self) -> ir.Resources:
        """The resources that its container requests."""
        return self.container.resources if self.container else ir.Resources()

    @property
    def is_dag(self) -> bool:
        """Whether it runs a DAG of tasks."""
        return isinstance(self.task.component.body, ir.Dag)

    @property
    def is_loop(self) -> bool:
        """Whether it is a loop over the items of a list."""
        return self.task.loop is not None and self.index is None

    @property
    def parent(self) -> int | None:
        """The parent of its execution; None for the root."""
        return self.loop.execution if self.loop is not None else self.dag.execution


@dataclasses.dataclass(eq=False)
class Iterations:
    """The iterations of a loop.

    Attributes:
        items: The items that they run for.
        started: How many have been started.
        running: How many run now.
        outcomes: The outcome of each; None until it has ended.
    """

    items: Sequence[Any]
    started: int = 0
    running: int = 0
    outcomes: list[Outcome | None] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.outcomes = [None] * len(self.items)

    def outcome(self, component: ir.Component) -> Outcome:
        """Returns the loop's outcome: lists with an entry for each iteration that has one.

        Parameters nest, artifacts are one flat list.
        """
        ended = [outcome for outcome in self.outcomes if outcome is not None]
        failed = next((one for one in ended if one.state in (State.FAILED, State.CANCELED)), None)
        if failed is not None:
            return Outcome(State.FAILED, error=failed.error)
        is_planned = any(one.state is State.PLANNED for one in ended)
        return Outcome(
            State.PLANNED if is_planned else State.COMPLETE,
            {
                name: [record for one in ended for record in one.artifacts.get(name, ())]
                for name in component.output_artifacts
            },
            {
                name: [one.parameters[name] for one in ended if name in one.parameters]
                for name in component.output_parameters
            },
        )


@dataclasses.dataclass(eq=False)
class DagInstance:
    """A DAG that is open.

    Attributes:
        component: The DAG, with its interface.
        given: The inputs it was given.
        owner: The task that it belongs to; None for the pipeline's root.
        tasks: Its task instances.
        waiting: How many upstream tasks each of them still waits for.
        unfinished: How many of them have not ended.
        loop_items: The items of the enclosing loops, by the names that their tasks use.
    """

    component: ir.Component
    given: Inputs
    owner: TaskInstance | None = None
    tasks: dict[str, TaskInstance] = dataclasses.field(default_factory=dict)
    waiting: dict[str, int] = dataclasses.field(default_factory=dict)
    unfinished: int = 0
    loop_items: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def body(self) -> ir.Dag:
        """Its tasks and outputs, as the pipeline defines them."""
        assert isinstance(self.component.body, ir.Dag)
        return self.component.body

    @property
    def path(self) -> str:
        """The prefix of its tasks' paths."""
        return f"{self.owner.result.path}/" if self.owner else ""

    @property
    def execution(self) -> int | None:
        """Its execution in the lineage store; None for the root."""
        return self.owner.execution if self.owner else None

    @property
    def outcome(self) -> Outcome:
        """Its outcome, once it has ended: its outputs, or why it failed."""
        for one in self.tasks.values():
            if one.result.state is State.FAILED:
                error = one.result.error
                if not one.opened:
                    error = f"{one.result.path}: {error}"
                return Outcome(State.FAILED, error=error)
        body = self.body
        is_planned = any(one.result.state is State.PLANNED for one in self.tasks.values())
        return Outcome(
            State.PLANNED if is_planned else State.COMPLETE,
            _first(body.artifact_outputs, self.tasks, "artifacts"),
            _first(body.parameter_outputs, self.tasks, "parameters"),
        )


def _first(
    outputs: Mapping[str, tuple[ir.FromTask, ...]], tasks: Mapping[str, TaskInstance], kind: str
) -> dict[str, Any]:
    """Returns each output of a DAG from the first of its sources that made one."""
    found: dict[str, Any] = {}
    for name, sources in outputs.items():
        for source in sources:
            made = getattr(tasks[source.task].result, kind)
            if source.output in made:
                found[name] = made[source.output]
                break
    return found
