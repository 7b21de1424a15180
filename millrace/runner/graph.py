"""The pipeline while it runs: open DAGs, and their tasks with how far they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from millrace.ir import spec as ir
from millrace.lineage.nodes import ArtifactRecord
from millrace.runner.external import Contents
from millrace.runner.inputs import Inputs
from millrace.runner.result import State, TaskResult


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a task ended."""

    state: State
    artifacts: Mapping[str, ArtifactRecord] = dataclasses.field(default_factory=dict)
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    error: str = ""


@dataclasses.dataclass(eq=False)
class Node:
    """A task of an open DAG.

    Attributes:
        task: The task.
        scope: The DAG.
        result: How far it is.
        begun: Whether something has been done about it.
        inputs: What it is given, once that is known.
        code: What the backend knows of the code it runs: digests of sources, or of the image.
        contents: What it reads from outside the pipeline, by parameter.
        read: What of that is recorded as an artifact.
        fingerprint: What the cache knows its result by, once that is known.
    """

    task: ir.Task
    scope: Scope
    result: TaskResult
    begun: bool = False
    inputs: Inputs | None = None
    code: Mapping[str, str] = dataclasses.field(default_factory=dict)
    contents: Contents = dataclasses.field(default_factory=dict)
    read: Mapping[str, ArtifactRecord] = dataclasses.field(default_factory=dict)
    fingerprint: str = ""

    @property
    def resources(self) -> ir.Resources:
        """What its container asks for."""
        body = self.task.component.body
        return body.resources if isinstance(body, ir.Container) else ir.Resources()

    @property
    def is_dag(self) -> bool:
        """Whether it is a DAG of tasks."""
        return isinstance(self.task.component.body, ir.Dag)


@dataclasses.dataclass(eq=False)
class Scope:
    """A DAG that is being run.

    Attributes:
        component: The DAG, with its interface.
        given: Its inputs.
        owner: The task whose DAG it is; None for the pipeline's root.
        execution: Its execution in the lineage store; None for the root.
        nodes: Its tasks.
    """

    component: ir.Component
    given: Inputs
    owner: Node | None = None
    execution: int | None = None
    nodes: dict[str, Node] = dataclasses.field(default_factory=dict)

    @property
    def dag(self) -> ir.Dag:
        """Its tasks and outputs, as the pipeline says."""
        assert isinstance(self.component.body, ir.Dag)
        return self.component.body

    @property
    def path(self) -> str:
        """What its tasks' paths begin with."""
        return f"{self.owner.result.path}/" if self.owner else ""

    @property
    def ended(self) -> bool:
        """Whether all of its tasks have."""
        return all(node.result.state.ended for node in self.nodes.values())

    @property
    def outcome(self) -> Outcome:
        """What it came to, once it has ended: its outputs, or why it failed."""
        for node in self.nodes.values():
            if node.result.state is State.FAILED:
                error = node.result.error
                if not node.is_dag:
                    error = f"{node.result.path}: {error}"
                return Outcome(State.FAILED, error=error)
        return Outcome(
            State.COMPLETE,
            {
                name: record
                for name, sources in self.dag.artifact_outputs.items()
                if (record := self._first(sources, "artifacts")) is not None
            },
            {
                name: value
                for name, sources in self.dag.parameter_outputs.items()
                if (value := self._first(sources, "parameters")) is not None
            },
        )

    def _first(self, sources: tuple[ir.FromTask, ...], kind: str) -> Any:
        """Returns what the first task that made something has made."""
        for source in sources:
            made = getattr(self.nodes[source.task].result, kind)
            if source.output in made:
                return made[source.output]
        return None
