"""A compiled pipeline for the runner: KFP's PipelineSpec with all references resolved.

The message is described in
https://github.com/kubeflow/pipelines/blob/master/api/v2alpha1/pipeline_spec.proto.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from millrace.ir.condition import Condition
from millrace.ir.platform import PlatformSettings, Reference
from millrace.ir.selector import Selector


class _Missing:
    """The default of a parameter without one; null is a value."""

    def __repr__(self) -> str:
        return "no default"


MISSING = _Missing()


@dataclasses.dataclass(frozen=True)
class Parameter:
    """An input or output parameter of a component.

    Attributes:
        name: Its name.
        type: STRING, NUMBER_INTEGER, NUMBER_DOUBLE, BOOLEAN, LIST, STRUCT or TASK_FINAL_STATUS.
        default: Its default, or MISSING.
        optional: Whether it may be omitted.
        description: Its description.
        literals: The only values that it takes; empty if it takes any of its type.
    """

    name: str
    type: str
    default: Any = MISSING
    optional: bool = False
    description: str = ""
    literals: tuple[Any, ...] = ()

    @property
    def required(self) -> bool:
        """Whether a value must be given."""
        return self.default is MISSING and not self.optional


@dataclasses.dataclass(frozen=True)
class ArtifactPort:
    """An input or output artifact of a component."""

    name: str
    schema_title: str
    schema_version: str
    optional: bool = False
    is_list: bool = False


@dataclasses.dataclass(frozen=True)
class Constant:
    """A constant in the pipeline; it may hold placeholders."""

    value: Any


@dataclasses.dataclass(frozen=True)
class FromInput:
    """An input of the enclosing DAG."""

    name: str
    selector: Selector | None = None


@dataclasses.dataclass(frozen=True)
class FromTask:
    """An output of another task of the same DAG."""

    task: str
    output: str
    selector: Selector | None = None


@dataclasses.dataclass(frozen=True)
class FinalStatus:
    """The final status of another task of the same DAG."""

    task: str


ParameterSource = Constant | FromInput | FromTask | FinalStatus
ArtifactSource = FromInput | FromTask


@dataclasses.dataclass(frozen=True)
class Resources:
    """The requests and limits of a container; 0 means unset. Memory is in bytes."""

    cpu_request: float = 0
    cpu_limit: float = 0
    memory_request: int = 0
    memory_limit: int = 0
    accelerators: int = 0


@dataclasses.dataclass(frozen=True)
class Container:
    """A command in an image.

    Attributes:
        image: The image.
        command: The command, with placeholders.
        args: Its arguments, with placeholders.
        env: Environment variables with constant values.
        resources: Its requests and limits.
        settings: The settings of the platform, such as mounts and secrets.
        template: The message that image and resources are read from once the task's inputs are
            known; None if neither holds a placeholder.
    """

    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    resources: Resources = dataclasses.field(default_factory=Resources)
    settings: PlatformSettings = dataclasses.field(default_factory=PlatformSettings)
    template: Mapping[str, Any] | None = None

    @property
    def timeout(self) -> float:
        """Seconds after which it is stopped; 0 sets no limit."""
        return self.settings.timeout


@dataclasses.dataclass(frozen=True)
class Importer:
    """An import of an existing artifact.

    Attributes:
        uri: Its URI, or the name of the parameter that holds it.
        schema_title: Its type.
        schema_version: The version of that type.
        metadata: Metadata to record with it; may hold placeholders.
        reimport: Whether to record it anew even if the store has it.
    """

    uri: Constant | FromInput
    schema_title: str
    schema_version: str
    metadata: Mapping[str, Any]
    reimport: bool


@dataclasses.dataclass(frozen=True)
class VolumeTask:
    """Makes or deletes the volume of a PersistentVolumeClaim (`CreatePVC`, `DeletePVC`)."""

    deletes: bool = False


@dataclasses.dataclass(frozen=True)
class Dag:
    """Tasks in order of their dependencies, and the sources of the DAG's outputs.

    An output with several sources takes the first whose task ran (`dsl.OneOf`).
    """

    tasks: Mapping[str, Task]
    artifact_outputs: Mapping[str, tuple[FromTask, ...]]
    parameter_outputs: Mapping[str, tuple[FromTask, ...]]

    @functools.cached_property
    def dependents(self) -> Mapping[str, tuple[str, ...]]:
        """The tasks that wait for each task."""
        found: dict[str, list[str]] = {name: [] for name in self.tasks}
        for name, task in self.tasks.items():
            for other in task.depends:
                found[other].append(name)
        return {name: tuple(waiting) for name, waiting in found.items()}

    @functools.cached_property
    def inputs_used(self) -> frozenset[str]:
        """The inputs of the DAG that its tasks use; KFP's compiler also writes others."""
        used = {
            source.name
            for task in self.tasks.values()
            for name, source in (*task.parameters.items(), *task.artifacts.items())
            if isinstance(source, FromInput) and task.needs(name)
        }
        named = {one.parent_input for task in self.tasks.values() for one in task.references}
        return frozenset(used | named)


@dataclasses.dataclass(frozen=True)
class Component:
    """The implementation of a task, with its interface."""

    name: str
    parameters: Mapping[str, Parameter]
    artifacts: Mapping[str, ArtifactPort]
    output_parameters: Mapping[str, Parameter]
    output_artifacts: Mapping[str, ArtifactPort]
    body: Container | Importer | VolumeTask | Dag


@dataclasses.dataclass(frozen=True)
class Retry:
    """How a failed task is retried.

    Attributes:
        count: The maximum number of retries.
        backoff: Seconds before the first retry.
        factor: The multiplier of the wait after each retry.
        longest: Seconds after the first failure within which to retry, as in Argo.
    """

    count: int
    backoff: float
    factor: float
    longest: float

    def wait(self, attempt: int) -> float:
        """Returns the seconds to wait after an attempt; the first is number 0."""
        return float(min(self.backoff * self.factor**attempt, self.longest))


@dataclasses.dataclass(frozen=True)
class Loop:
    """A loop of a task over the items of a list (`dsl.ParallelFor`).

    Attributes:
        items: The list itself, or the input that holds it.
        item: The input that takes the item.
        over_artifacts: Whether the items are artifacts.
        parallelism: How many iterations may run at once; 0 sets no limit.
    """

    items: Constant | FromInput
    item: str
    over_artifacts: bool = False
    parallelism: int = 0


@dataclasses.dataclass(frozen=True)
class Task:
    """One task of a DAG.

    Attributes:
        name: Its key in the DAG.
        display_name: Its name for people.
        component: Its component.
        parameters: Where its parameters come from.
        artifacts: Where its artifacts come from.
        depends: The tasks that must have ended before it starts.
        condition: The condition under which it runs, if any.
        after_failure: Whether it runs even if a task it depends on has failed.
        cache: Whether an earlier result may be reused.
        cache_key: The pipeline author's own key of that result, in place of the fingerprint.
        retry: How a failure is retried.
        loop: The loop over it, if there is one.
    """

    name: str
    display_name: str
    component: Component
    parameters: Mapping[str, ParameterSource]
    artifacts: Mapping[str, ArtifactSource]
    depends: tuple[str, ...]
    condition: Condition | None
    after_failure: bool
    cache: bool
    cache_key: str
    retry: Retry
    loop: Loop | None

    @property
    def references(self) -> tuple[Reference, ...]:
        """Where the names of the Secrets, ConfigMaps and volumes of its container come from."""
        body = self.component.body
        return body.settings.references if isinstance(body, Container) else ()

    def needs(self, name: str) -> bool:
        """Returns whether anything uses an input of that name."""
        if not isinstance(self.component.body, Dag):
            return True
        looked_at = self.condition.inputs if self.condition is not None else frozenset()
        is_listed = self.loop is not None and self.loop.items == FromInput(name)
        return is_listed or name in looked_at or name in self.component.body.inputs_used


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """A compiled pipeline.

    Attributes:
        name: Its name.
        description: What it does.
        root: The DAG that is run, as a component whose parameters are the pipeline's.
        path: The file it was read from.
        digest: The SHA-256 of that file.
        uses_workspace: Whether its tasks share a workspace folder.
    """

    name: str
    description: str
    root: Component
    path: Path
    digest: str
    uses_workspace: bool = False

    @property
    def dag(self) -> Dag:
        """The tasks of the root."""
        assert isinstance(self.root.body, Dag)
        return self.root.body

    def walk(self) -> Iterator[tuple[str, Task]]:
        """Yields each task with its path, such as `condition-1/trainer`; a DAG before its tasks."""
        yield from walk(self.dag)


def walk(dag: Dag, prefix: str = "", loops: bool = True) -> Iterator[tuple[str, Task]]:
    """Yields every task of a DAG with its path.

    Args:
        dag: The DAG.
        prefix: The prefix of the paths.
        loops: Whether to include tasks in loops, whose number is not known before they run.
    """
    for name, task in dag.tasks.items():
        yield prefix + name, task
        if isinstance(task.component.body, Dag) and (loops or task.loop is None):
            yield from walk(task.component.body, f"{prefix}{name}/", loops)
