"""A compiled pipeline as the runner sees it: KFP's PipelineSpec, with every reference looked up.

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
    """The default of a parameter that has none: null is a value."""

    def __repr__(self) -> str:
        return "no default"


MISSING = _Missing()


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter that a component takes or gives.

    Attributes:
        name: Its name.
        type: STRING, NUMBER_INTEGER, NUMBER_DOUBLE, BOOLEAN, LIST, STRUCT or TASK_FINAL_STATUS.
        default: Its default, or MISSING.
        optional: Whether it may be left out.
        description: What it is for.
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
    """An artifact that a component takes or gives."""

    name: str
    schema_title: str
    schema_version: str
    optional: bool = False
    is_list: bool = False


@dataclasses.dataclass(frozen=True)
class Constant:
    """A value that stands in the pipeline itself; it may hold placeholders."""

    value: Any


@dataclasses.dataclass(frozen=True)
class FromInput:
    """An input of the DAG around the task."""

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
    """How another task of the same DAG ended."""

    task: str


ParameterSource = Constant | FromInput | FromTask | FinalStatus
ArtifactSource = FromInput | FromTask


@dataclasses.dataclass(frozen=True)
class Resources:
    """What a container asks for and may use; 0 says nothing. Memory is in bytes."""

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
        resources: What it asks for.
        settings: What the platform configuration adds, such as mounts and secrets.
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
    """An artifact that exists already.

    Attributes:
        uri: Where it lies, or the name of the parameter that says so.
        schema_title: Its type.
        schema_version: The version of that type.
        metadata: What to record with it; may hold placeholders.
        reimport: Whether to record it anew although it is known.
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
    """Tasks, each after what it needs, and where the outputs of the whole come from.

    An output with several sources takes the first whose task was run (`dsl.OneOf`).
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
        """The inputs of the DAG that its tasks take; KFP's compiler writes others as well."""
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
    """What a task runs, with its interface."""

    name: str
    parameters: Mapping[str, Parameter]
    artifacts: Mapping[str, ArtifactPort]
    output_parameters: Mapping[str, Parameter]
    output_artifacts: Mapping[str, ArtifactPort]
    body: Container | Importer | VolumeTask | Dag


@dataclasses.dataclass(frozen=True)
class Retry:
    """When a failed task is tried again.

    Attributes:
        count: How often at most.
        backoff: Seconds before the first retry.
        factor: What the wait is multiplied by each time.
        longest: Seconds from the first failure after which there are no more retries, as in Argo.
    """

    count: int
    backoff: float
    factor: float
    longest: float

    def wait(self, attempt: int) -> float:
        """Return the seconds to wait after the attempt of that number; the first is 0."""
        return float(min(self.backoff * self.factor**attempt, self.longest))


@dataclasses.dataclass(frozen=True)
class Loop:
    """How a task is run once for each item of a list (`dsl.ParallelFor`).

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
        display_name: What people call it.
        component: What it runs.
        parameters: Where its parameters come from.
        artifacts: Where its artifacts come from.
        depends: The tasks that must have ended before it starts.
        condition: Whether it runs at all.
        after_failure: Whether it runs although a task it depends on has failed.
        cache: Whether an earlier result may be taken.
        cache_key: The pipeline author's own key of that result, in place of the fingerprint.
        retry: When a failure is tried again.
        loop: The list that it is run for the items of, if it is a loop.
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
        """Tell whether anything looks at an input of that name."""
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
        """Yield every task with its path, such as `condition-1/trainer`; a DAG before its tasks."""
        yield from walk(self.dag)


def walk(dag: Dag, prefix: str = "", loops: bool = True) -> Iterator[tuple[str, Task]]:
    """Yield every task of a DAG with its path.

    Args:
        dag: The DAG.
        prefix: What the paths begin with.
        loops: Whether to go into loops, whose tasks are not known before they run.
    """
    for name, task in dag.tasks.items():
        yield prefix + name, task
        if isinstance(task.component.body, Dag) and (loops or task.loop is None):
            yield from walk(task.component.body, f"{prefix}{name}/", loops)
