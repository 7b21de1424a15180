"""Histories of runs with real files, and pipelines of a step that follows its parameters."""
# ruff: noqa: B006  KFP reads defaults and types from the signature

import os
import select
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from ml_metadata.proto import metadata_store_pb2 as pb

from millrace.lineage.cache import find
from millrace.lineage.nodes import ArtifactRecord, State
from millrace.lineage.record import RunRecord
from millrace.lineage.store import Store
from millrace.storage import digest

CODE = "c0de" * 16
Made = dict[str, dict[str, list[ArtifactRecord]]]


@dataclass
class History:
    """Records runs of one pipeline: a table becomes examples, statistics, a schema and a model.

    Attributes:
        root: The folder of the runs.
        store: Where they are recorded.
    """

    root: Path
    store: Store
    made: dict[str, Made] = field(default_factory=dict)

    def run(
        self, run_id: str, data: str = "rows", data_uri: str = "/data/flights.csv", **options: Any
    ) -> Made:
        """Records a whole run whose artifacts follow from `data`; the same again is cached."""
        record = self.start(run_id, data_uri, **options)
        made: Made = {}
        for name, output, title, reads in (
            ("example-gen", "examples", "system.Examples", {}),
            ("statistics-gen", "statistics", "system.Statistics", {"examples": "example-gen"}),
            ("schema-gen", "schema", "system.Schema", {"statistics": "statistics-gen"}),
            (
                "trainer",
                "model",
                "system.Model",
                {"examples": "example-gen", "schema": "schema-gen"},
            ),
        ):
            inputs = {port: made[task][port] for port, task in reads.items()}
            parameters = {"data_uri": data_uri} if not reads else {"seed": 1, "module_file": ""}
            fingerprint = f"{name}.{data}"
            task = {
                "parameters": parameters,
                "inputs": inputs,
                "image": "millrace-core:0.1.0",
                "fingerprint": fingerprint,
                "properties": {"code_digest": CODE},
            }
            cached = find(self.store, "flights", fingerprint)
            if cached:
                made[name] = record.cached_task(name, cached=cached, **task)
                continue
            execution = record.start_task(name, **task)
            outputs = {output: [self.artifact(run_id, name, output, title, data)]}
            if name == "trainer":
                place = str(self.root / "flights" / run_id / name / "metrics")
                outputs["metrics"] = [
                    ArtifactRecord("metrics", place, "system.Metrics", metadata={"auc": 0.66672341})
                ]
            made[name] = record.finish_task(
                execution, State.COMPLETE, outputs=outputs, parameters={"rows": 12}
            )
        record.finish(State.COMPLETE)
        self.made[run_id] = made
        return made

    def start(self, run_id: str, data_uri: str = "/data/flights.csv", **options: Any) -> RunRecord:
        """Records the start of a run."""
        return RunRecord.start(
            self.store,
            "flights",
            run_id,
            str(self.root / "flights" / run_id),
            parameters={"data_uri": data_uri, "db_password": "hunter2"},
            properties={"code_version": "0.1.0", "user": "ada", "host": "analytical", **options},
        )

    def fail(self, run_id: str, error: str = "the label is constant") -> None:
        """Records a run whose second task failed."""
        record = self.start(run_id)
        one = record.start_task("example-gen", parameters={"data_uri": "/data/flights.csv"})
        record.finish_task(one, State.COMPLETE, outputs={})
        two = record.start_task("statistics-gen")
        record.finish_task(two, State.FAILED, error=error, properties={"log": "/logs/log.txt"})
        record.finish(State.FAILED, error="statistics-gen failed")

    def artifact(
        self, run_id: str, task: str, output: str, title: str, content: str
    ) -> ArtifactRecord:
        """Writes a folder of files, and returns its record."""
        folder = self.root / "flights" / run_id / task / output
        for name in ("a.txt", "deep/b.txt"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"{content} {output} {name}")
        metadata = {"rows": 1234, **digest.of(folder).metadata()}
        return ArtifactRecord(output, str(folder), title, metadata=metadata)


class KfpRun:
    """A run recorded as KFP's backend does, by backend/src/v2/metadata/client.go.

    Its root DAG is RUNNING for ever, and neither times nor errors of tasks are recorded.
    """

    def __init__(self, store: Store, run_id: str, pipeline: str = "kfp") -> None:
        self._store = store
        contexts = [
            pb.Context(type_id=store.context_type("system.Pipeline"), name=pipeline),
            pb.Context(type_id=store.context_type("system.PipelineRun"), name=run_id),
        ]
        for name, value in {
            "namespace": "kubeflow",
            "resource_name": f"{pipeline}-x",
            "pipeline_root": f"minio://mlpipeline/v2/{pipeline}/{run_id}",
            "store_session_info": "{}",
        }.items():
            contexts[1].custom_properties[name].string_value = value
        root = self._execution("system.DAGExecution", "", None)
        root.name = f"run/{run_id}"
        root.custom_properties["inputs"].struct_value.update({"rounds": 3})
        root.id, _, ids = store.put_execution(root, [], contexts)
        self._contexts = [pb.Context(id=number) for number in ids]
        parents = [pb.ParentContext(child_id=ids[1], parent_id=ids[0])]
        store.call("put_parent_contexts", parents)
        self.root = int(root.id)

    def dag(self, name: str, parent: int | None = None, **numbers: int) -> int:
        """The driver starts a DAG: a loop, an iteration, a condition or a pipeline."""
        execution = self._execution("system.DAGExecution", name, parent or self.root)
        for key, value in numbers.items():
            execution.custom_properties[key].int_value = value
        return self._put(execution)

    def start(self, name: str, parent: int | None = None, **texts: str) -> int:
        """The driver starts a task."""
        execution = self._execution("system.ContainerExecution", name, parent or self.root)
        for key in ("pod_name", "pod_uid", "namespace", "image"):
            execution.custom_properties[key].string_value = f"{key} of {name}"
        for key, value in texts.items():
            execution.custom_properties[key].string_value = value
        return self._put(execution)

    def publish(
        self, number: int, state: str, outputs: Mapping[str, pb.Artifact] | None = None
    ) -> None:
        """The launcher, or the driver of a cached task, records how a task ended."""
        (execution,) = self._store.call("get_executions_by_id", [number])
        execution.last_known_state = pb.Execution.State.Value(state)
        pairs = []
        for port, artifact in (outputs or {}).items():
            event = pb.Event(type=pb.Event.OUTPUT)
            event.path.steps.add().key = port
            pairs.append((artifact, event))
        self._store.put_execution(execution, pairs, self._contexts, force_reuse_context=True)

    def task(
        self, name: str, state: str = "COMPLETE", parent: int | None = None, **made: Any
    ) -> int:
        """A task that has ended, with its artifacts by port."""
        number = self.start(name, parent)
        self.publish(number, state, made)
        return number

    def artifact(self, uri: str, title: str = "system.Artifact") -> pb.Artifact:
        """An artifact as the launcher makes it."""
        made = pb.Artifact(
            type_id=self._store.artifact_type(title), uri=uri, state=pb.Artifact.LIVE
        )
        made.custom_properties["store_session_info"].string_value = "{}"
        return made

    def _execution(self, kind: str, name: str, parent: int | None) -> pb.Execution:
        execution = pb.Execution(
            type_id=self._store.execution_type(kind), last_known_state=pb.Execution.RUNNING
        )
        execution.custom_properties["display_name"].string_value = name.title()
        execution.custom_properties["task_name"].string_value = name
        if parent is not None:
            execution.custom_properties["parent_dag_id"].int_value = parent
        return execution

    def _put(self, execution: pb.Execution) -> int:
        contexts = self._contexts
        number, _, _ = self._store.put_execution(execution, [], contexts, force_reuse_context=True)
        return int(number)


@pytest.fixture
def kfp_run(history: History) -> KfpRun:
    """A run that KFP has recorded in the store of the history."""
    return KfpRun(history.store, "0b5e02b8-c614")


@pytest.fixture
def quick_path() -> Iterator[Path]:
    """A folder in memory if there is one: SQLite waits for the disk at every record."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture
def history(quick_path: Path) -> Iterator[History]:
    """An empty history in a root of its own."""
    with Store.open(quick_path / "metadata.sqlite") as store:
        yield History(quick_path, store)


@pytest.fixture
def unprivileged(tmp_path: Path) -> Callable[[], AbstractContextManager[None]]:
    """Runs code as nobody if the tests run as root, who ignores permissions."""
    for folder in [tmp_path, *tmp_path.parents]:
        if not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o055)

    @contextmanager
    def switch() -> Iterator[None]:
        if os.geteuid():
            yield
            return
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    return switch


PLAY = Path(__file__).parent / "runner" / "play.py"


DECLARED = ("--reads", "data_uri", "--modules", "module_file", "--writes", "push_destination")


class Kit:
    """Tools to compile pipelines in tests.

    Attributes:
        dsl: kfp's DSL.
        play: The component of `play.py`.
    """

    def __init__(self, folder: Path) -> None:
        from kfp import compiler, dsl

        self.dsl = dsl
        self.folder = folder
        self._compiler = compiler.Compiler()
        self.play = self.step(PLAY)

    def step(self, file: Path, image: str = "millrace-core:0.1.0") -> Any:
        """A component of the interface of `play.py`."""
        dsl = self.dsl

        def play(
            out: dsl.Output[dsl.Dataset],
            said: dsl.OutputPath(str),
            number: dsl.OutputPath(int),
            given: dsl.OutputPath(dict),
            sure: dsl.OutputPath(bool),
            share: dsl.OutputPath(float),
            text: str = "",
            do: str = "",
            count: int = 0,
            ratio: float = 0.5,
            flag: bool = False,
            items: list = [],
            options: dict = {},
            data_uri: str = "",
            module_file: str = "",
            push_destination: str = "",
            data: dsl.Input[dsl.Dataset] = None,
        ):
            return dsl.ContainerSpec(
                image=image,
                command=["python", "-m", "millrace.entrypoint", str(file)],
                args=["--executor_input", "{{$}}", *DECLARED],
            )

        return dsl.container_component(play)

    def compile(self, function: Callable[..., Any], name: str = "") -> Path:
        """Compiles a function as a pipeline of its name."""
        name = name or function.__name__.replace("_", "-")
        pipeline = self.dsl.pipeline(name=name)(function)
        path = self.folder / f"{name}-{len(list(self.folder.iterdir()))}.yaml"
        self._compiler.compile(pipeline, str(path))
        return path

    def single(self, **inputs: Any) -> Path:
        """Compiles a pipeline of one task."""

        def single() -> None:
            self.play(**inputs)

        return self.compile(single)

    def edited(self, path: Path, edit: Callable[[dict[str, Any]], Any]) -> Path:
        """A compiled pipeline with something changed by hand."""
        spec = yaml.safe_load(path.read_text())
        edit(spec)
        other = path.with_name(f"edited-{len(list(self.folder.iterdir()))}.yaml")
        other.write_text(yaml.safe_dump(spec))
        return other


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """What a test compiles pipelines with."""
    return Kit(tmp_path_factory.mktemp("pipelines"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the runs of a test go."""
    return tmp_path / "root"


@pytest.fixture
def run(root: Path) -> Callable[..., Any]:
    """Runs a pipeline in the test's root."""
    from millrace.runner.run import run as run_pipeline

    def start(pipeline: Path, values: dict[str, Any] | None = None, **options: Any) -> Any:
        options.setdefault("root", root)
        return run_pipeline(str(pipeline), values, **options)

    return start


class Fifo:
    """A named pipe on which a test waits for a message of a step, with a timeout."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def hear(self) -> str:
        """Waits for a message."""
        poll = select.poll()
        poll.register(self._number, select.POLLIN)
        assert poll.poll(60_000), f"nobody has written to {self.path}"
        return os.read(self._number, 1 << 16).decode()


@pytest.fixture
def fifo(tmp_path: Path) -> Fifo:
    """A named pipe."""
    (tmp_path / "pipes").mkdir()
    return Fifo(tmp_path / "pipes" / "fifo")
