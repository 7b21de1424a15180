"""A compiled pipeline as the runner sees it: KFP's PipelineSpec, with every reference looked up.

The message is described in
https://github.com/kubeflow/pipelines/blob/master/api/v2alpha1/pipeline_spec.proto.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from millrace.ir.condition import Condition
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
    """

    name: str
    type: str
    default: Any = MISSING
    optional: bool = False
    description: str = ""

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
    """A command in an image."""

    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    resources: Resources = dataclasses.field(default_factory=Resources)
    env_from_caller: tuple[str, ...] = ()
    timeout: float = 0


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
class Dag:
    """Tasks, each after what it needs, and where the outputs of the whole come from.

    An output with several sources takes the first whose task was run (`dsl.OneOf`).
    """

    tasks: Mapping[str, Task]
    artifact_outputs: Mapping[str, tuple[FromTask, ...]]
    parameter_outputs: Mapping[str, tuple[FromTask, ...]]


@dataclasses.dataclass(frozen=True)
class Component:
    """What a task runs, with its interface."""

    name: str
    parameters: Mapping[str, Parameter]
    artifacts: Mapping[str, ArtifactPort]
    output_parameters: Mapping[str, Parameter]
    output_artifacts: Mapping[str, ArtifactPort]
    body: Container | Importer | Dag


@dataclasses.dataclass(frozen=True)
class Retry:
    """How often a failed task is tried again, and how many seconds later."""

    count: int
    backoff: float
    factor: float
    longest: float

    def wait(self, attempt: int) -> float:
        """Returns the seconds to wait after the attempt of that number; the first is 0."""
        return float(min(self.backoff * self.factor**attempt, self.longest))


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
        loop: The iterator of a `dsl.ParallelFor`, as it stands in the file.
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
    loop: Mapping[str, Any] | None


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """A compiled pipeline.

    Attributes:
        name: Its name.
        description: What it does.
        root: The DAG that is run, as a component whose parameters are the pipeline's.
        path: The file it was read from.
        digest: The SHA-256 of that file.
    """

    name: str
    description: str
    root: Component
    path: Path
    digest: str

    @property
    def dag(self) -> Dag:
        """The tasks of the root."""
        assert isinstance(self.root.body, Dag)
        return self.root.body

    def walk(self) -> Iterator[tuple[str, Task]]:
        """Yields every task with its path, such as `loop-1/trainer`; a DAG before its tasks."""
        yield from _walk(self.dag, "")


def _walk(dag: Dag, prefix: str) -> Iterator[tuple[str, Task]]:
    for name, task in dag.tasks.items():
        yield prefix + name, task
        if isinstance(task.component.body, Dag):
            yield from _walk(task.component.body, f"{prefix}{name}/")
