"""Records have KFP v2's layout, as ML Metadata's own client reads them."""

from __future__ import annotations

import threading
import time
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as pb

from millrace.errors import StoreError
from millrace.lineage import query
from millrace.lineage.cache import find
from millrace.lineage.nodes import ArtifactRecord, CachedTask, Kind, State
from millrace.lineage.record import RunRecord
from millrace.lineage.store import Store

# From KFP's backend/src/v2/metadata/client.go: CreateExecution, PublishExecution, GetPipeline.
KFP_TASK = {
    "display_name": "string_value",
    "task_name": "string_value",
    "parent_dag_id": "int_value",
    "inputs": "struct_value",
    "outputs": "struct_value",
    "pod_name": "string_value",
    "pod_uid": "string_value",
    "namespace": "string_value",
    "image": "string_value",
    "cache_fingerprint": "string_value",
}
KFP_RUN = {
    "namespace": "string_value",
    "resource_name": "string_value",
    "pipeline_root": "string_value",
}
OURS = {
    "started_at": "string_value",
    "finished_at": "string_value",
    "code_digest": "string_value",
}


def peer(path: Path) -> metadata_store.MetadataStore:
    config = pb.ConnectionConfig()
    config.sqlite.filename_uri = str(path)
    config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READONLY
    return metadata_store.MetadataStore(config)


def kinds(node) -> dict[str, str]:
    return {name: value.WhichOneof("value") for name, value in node.custom_properties.items()}


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "metadata.sqlite") as opened:
        yield opened


@pytest.fixture
def run(store):
    return RunRecord.start(store, "flights", "flights-1", "/root/flights/flights-1")


def test_contexts(history, tmp_path):
    history.run("flights-1")
    history.run("flights-2")
    reader = peer(tmp_path / "metadata.sqlite")
    (pipeline,) = reader.get_contexts_by_type("system.Pipeline")
    assert pipeline.name == "flights"
    assert not pipeline.custom_properties
    runs = reader.get_contexts_by_type("system.PipelineRun")
    assert [run.name for run in runs] == ["flights-1", "flights-2"]
    for run in runs:
        assert kinds(run) == KFP_RUN | {"display_name": "string_value"}
        root = run.custom_properties["pipeline_root"].string_value
        assert root == f"{tmp_path}/flights/{run.name}"
        assert [one.id for one in reader.get_parent_contexts_by_context(run.id)] == [pipeline.id]
    children = reader.get_children_contexts_by_context(pipeline.id)
    assert [one.name for one in children] == ["flights-1", "flights-2"]


def test_root_execution(history, tmp_path):
    history.run("flights-1")
    reader = peer(tmp_path / "metadata.sqlite")
    root = reader.get_execution_by_type_and_name("system.DAGExecution", "run/flights-1")
    assert root.last_known_state == pb.Execution.COMPLETE
    assert "parent_dag_id" not in root.custom_properties
    assert root.custom_properties["task_name"].string_value == ""
    assert dict(root.custom_properties["inputs"].struct_value) == {
        "data_uri": "/data/flights.csv",
        "db_password": "***",
    }
    for name, value in (("code_version", "0.1.0"), ("user", "ada"), ("host", "analytical")):
        assert root.custom_properties[name].string_value == value


def test_task_execution(history, tmp_path):
    history.run("flights-1")
    reader = peer(tmp_path / "metadata.sqlite")
    root = reader.get_execution_by_type_and_name("system.DAGExecution", "run/flights-1")
    (run,) = reader.get_contexts_by_type("system.PipelineRun")
    tasks = sorted(
        (
            task
            for task in reader.get_executions_by_context(run.id)
            if task.custom_properties["parent_dag_id"].int_value == root.id
        ),
        key=lambda task: task.id,
    )
    assert len({task.name for task in tasks}) == 4
    names = [task.custom_properties["task_name"].string_value for task in tasks]
    assert names == ["example-gen", "statistics-gen", "schema-gen", "trainer"]
    for task in tasks:
        assert task.type == "system.ContainerExecution"
        assert task.last_known_state == pb.Execution.COMPLETE
        assert kinds(task) == KFP_TASK | OURS
        associated = {context.type for context in reader.get_contexts_by_execution(task.id)}
        assert associated == {"system.Pipeline", "system.PipelineRun", "millrace.Cache"}
    trainer = tasks[-1].custom_properties
    assert dict(trainer["inputs"].struct_value) == {"seed": 1, "module_file": ""}
    assert dict(trainer["outputs"].struct_value) == {"rows": 12}
    assert trainer["image"].string_value == "millrace-core:0.1.0"
    started, finished = (
        datetime.fromisoformat(trainer[name].string_value) for name in ("started_at", "finished_at")
    )
    assert started <= finished
    assert started.utcoffset().total_seconds() == 0


def test_artifacts_and_events(history, tmp_path):
    made = history.run("flights-1")
    reader = peer(tmp_path / "metadata.sqlite")
    (model,) = reader.get_artifacts_by_type("system.Model")
    assert model.state == pb.Artifact.LIVE
    assert model.uri == str(tmp_path / "flights/flights-1/trainer/model")
    assert not model.properties
    assert kinds(model) == {
        "display_name": "string_value",
        "digest": "string_value",
        "bytes": "double_value",
        "rows": "double_value",
        "file_digests": "struct_value",
    }
    listed = dict(model.custom_properties["file_digests"].struct_value["struct"])
    assert sorted(listed) == ["a.txt", "deep/b.txt"]
    attributed = {context.type for context in reader.get_contexts_by_artifact(model.id)}
    assert attributed == {"system.Pipeline", "system.PipelineRun", "millrace.Cache"}
    (event,) = reader.get_events_by_artifact_ids([model.id])
    events = reader.get_events_by_execution_ids([event.execution_id])
    paths = {
        (event.type, event.artifact_id): [step.key for step in event.path.steps] for event in events
    }
    assert paths == {
        (pb.Event.INPUT, made["example-gen"]["examples"][0].id): ["examples"],
        (pb.Event.INPUT, made["schema-gen"]["schema"][0].id): ["schema"],
        (pb.Event.OUTPUT, model.id): ["model"],
        (pb.Event.OUTPUT, made["trainer"]["metrics"][0].id): ["metrics"],
    }


def test_cached_task(history, tmp_path):
    first, second = history.run("flights-1"), history.run("flights-2")
    assert {port: records for task in second.values() for port, records in task.items()} == {
        port: records for task in first.values() for port, records in task.items()
    }
    reader = peer(tmp_path / "metadata.sqlite")
    run = reader.get_context_by_type_and_name("system.PipelineRun", "flights-2")
    tasks = [
        task
        for task in reader.get_executions_by_context(run.id)
        if task.type == "system.ContainerExecution"
    ]
    assert len(tasks) == 4
    for task in tasks:
        assert task.last_known_state == pb.Execution.CACHED
        assert kinds(task) == KFP_TASK | OURS | {"cached_execution_id": "string_value"}
        number = int(task.custom_properties["cached_execution_id"].string_value)
        (original,) = reader.get_executions_by_id([number])
        assert original.last_known_state == pb.Execution.COMPLETE
        same = [
            {(event.type, event.artifact_id, event.path.steps[0].key) for event in events}
            for events in (
                reader.get_events_by_execution_ids([task.id]),
                reader.get_events_by_execution_ids([original.id]),
            )
        ]
        assert same[0] == same[1]
    assert len(reader.get_artifacts()) == 5
    attributed = reader.get_contexts_by_artifact(first["trainer"]["model"][0].id)
    names = {context.name for context in attributed if context.type != "millrace.Cache"}
    assert names == {"flights", "flights-1", "flights-2"}


def test_every_state(store, run, tmp_path):
    ids = {state: run.start_task(state.value) for state in State if state is not State.CACHED}
    for state, number in ids.items():
        if state is not State.RUNNING:
            run.finish_task(number, state)
    reader = peer(tmp_path / "metadata.sqlite")
    for state, number in ids.items():
        (execution,) = reader.get_executions_by_id([number])
        assert pb.Execution.State.Name(execution.last_known_state) == state.value


def test_nested_dags_and_iterations(store, run, tmp_path):
    outer = run.start_task("for-loop-1", kind=Kind.DAG, properties={"iteration_count": 2})
    inner = run.start_task("each", kind=Kind.DAG, parent=outer, properties={"iteration_index": 0})
    task = run.start_task("train", parent=inner)
    reader = peer(tmp_path / "metadata.sqlite")
    messages = {one.id: one for one in reader.get_executions_by_id([outer, inner, task])}
    assert messages[outer].custom_properties["iteration_count"].int_value == 2
    assert messages[inner].custom_properties["iteration_index"].int_value == 0
    assert messages[inner].type == "system.DAGExecution"
    assert "image" not in messages[inner].custom_properties
    parents = [messages[one].custom_properties["parent_dag_id"].int_value for one in messages]
    assert parents == [run.root_id, outer, inner]


def test_one_artifact_at_two_ports(store, run):
    one = run.start_task("import", kind=Kind.IMPORTER)
    made = run.finish_task(
        one, State.COMPLETE, outputs={"artifact": [ArtifactRecord("model", "/m", "system.Model")]}
    )
    (model,) = made["artifact"]
    two = run.start_task("compare", inputs={"candidate": [model], "baseline": [model]})
    run.finish_task(two, State.COMPLETE, outputs={"better": [model], "best": [model]})
    events = store.call("get_events_by_execution_ids", [two])
    assert {event.type: [step.key for step in event.path.steps] for event in events} == {
        pb.Event.INPUT: ["candidate", "baseline"],
        pb.Event.OUTPUT: ["better", "best"],
    }


@given(data=st.data())
def test_lists_keep_their_order(store, data):
    """Also with one artifact at several places, and with new ones among them."""
    run = RunRecord.start(store, "lists", f"lists-{time.time_ns()}", "/r")
    first = run.start_task("make")
    records = [ArtifactRecord(f"x{number}", f"/x/{number}") for number in range(12)]
    known = run.finish_task(first, State.COMPLETE, outputs={"x": records})["x"]
    lists = st.lists(st.sampled_from([*known, ArtifactRecord("new", "/new")]), min_size=1)
    ports = st.dictionaries(st.sampled_from(["a", "b", "c"]), lists)
    inputs, outputs = data.draw(ports), data.draw(ports)
    task = run.start_task("use", inputs=inputs, fingerprint="f")
    made = run.finish_task(task, State.COMPLETE, outputs=outputs)
    read = query.tasks(store, query.find_run(store, "latest"))[1]
    uris = {port: [record.uri for record in records] for port, records in inputs.items()}
    assert {
        port: [record.uri for record in records] for port, records in read.inputs.items()
    } == uris
    assert read.outputs == made
    cached = find(store, "lists", "f")
    assert cached.outputs == made
    again = run.start_task("read", inputs=made)
    run.cached_task("cached", cached=cached)
    tasks = query.tasks(store, query.find_run(store, "latest"))
    assert tasks[2].id == again
    assert tasks[2].inputs == tasks[3].outputs == made


def test_kfp_finds_the_port_of_a_list_first(store, run):
    """KFP's backend reads the first step of an event's path, and takes it for the port's name."""
    task = run.start_task("t")
    records = [ArtifactRecord(f"x{number}", f"/x/{number}") for number in range(2)]
    made = run.finish_task(task, State.COMPLETE, outputs={"one": records[:1], "two": records})
    events = store.call("get_events_by_execution_ids", [task])
    steps = {event.artifact_id: list(event.path.steps) for event in events}
    one, *two = made["one"] + made["two"]
    assert [step.key for step in steps[one.id]] == ["one"]
    for index, record in enumerate(two):
        assert steps[record.id][0].key == "two"
        assert steps[record.id][1].index == index


def test_several_artifacts_at_one_port(store, run):
    one = run.start_task("split")
    records = [ArtifactRecord(f"part-{index}", f"/p/{index}") for index in range(3)]
    made = run.finish_task(one, State.COMPLETE, outputs={"parts": records, "none": []})
    assert [record.uri for record in made["parts"]] == ["/p/0", "/p/1", "/p/2"]
    assert len({record.id for record in made["parts"]}) == 3
    assert made["none"] == []


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("state", [State.FAILED, State.CANCELED])
def test_what_a_failed_task_made_is_not_taken_for_good(store, run, state, is_old):
    task = run.start_task("train", fingerprint="f")
    record = ArtifactRecord("model", "/m", "system.Model", metadata={"digest": "aa"})
    made = run.finish_task(task, state, outputs={"model": [record]})["model"][0]
    (message,) = store.call("get_artifacts_by_id", [made.id])
    assert message.state == pb.Artifact.ABANDONED
    if is_old:  # earlier versions left it LIVE
        message.state = pb.Artifact.LIVE
        store.call("put_artifacts", [message])
    for kind in (Kind.IMPORTER, Kind.CONTAINER):
        reader = run.start_task("read", kind=kind, inputs={"model": [record]})
        outputs = run.finish_task(reader, State.COMPLETE, outputs={"model": [record]})
        assert outputs["model"][0].id != made.id
    events = store.call("get_events_by_artifact_ids", [made.id])
    assert [event.execution_id for event in events] == [task]


class TestImporter:
    """An importer takes the record of an artifact that the store knows."""

    RECORD = ArtifactRecord("data", "/data", "system.Dataset", metadata={"digest": "aa"})

    def imported(self, run, record=RECORD, **options) -> int:
        task = run.start_task("importer", kind=Kind.IMPORTER)
        return run.finish_task(task, State.COMPLETE, outputs={"artifact": [record]}, **options)[
            "artifact"
        ][0].id

    def test_the_same_again(self, run):
        assert self.imported(run) == self.imported(run)

    def test_other_content_type_or_place(self, run):
        first = self.imported(run)
        changes = (
            ArtifactRecord("data", "/data", "system.Dataset", metadata={"digest": "bb"}),
            ArtifactRecord("data", "/data", "system.Model", metadata={"digest": "aa"}),
            ArtifactRecord("data", "/other", "system.Dataset", metadata={"digest": "aa"}),
            ArtifactRecord("data", "/data", "system.Dataset"),
        )
        assert len({first, *(self.imported(run, record) for record in changes)}) == 5

    def test_the_newest_of_that_content(self, run):
        self.imported(run)
        second = self.imported(run, reimport=True)
        assert self.imported(run) == second

    def test_reimport(self, run):
        assert self.imported(run) != self.imported(run, reimport=True)

    def test_what_another_run_made(self, history):
        made = history.run("flights-1")["trainer"]["model"][0]
        other = RunRecord.start(history.store, "serving", "serving-1", "/r")
        record = ArtifactRecord("model", made.uri, made.schema_title, metadata=made.metadata)
        assert self.imported(other, record) == made.id

    def test_other_metadata(self, run):
        """The importer's metadata must match; the store may have more."""
        stages = [{"stage": "a"}, {"stage": "b"}, {"stage": 1.5}, {"other": "a"}]
        records = [
            ArtifactRecord("data", "/data", "system.Dataset", metadata={"digest": "aa", **stage})
            for stage in stages
        ]
        ids = [self.imported(run, record) for record in records]
        assert len(set(ids)) == len(records)
        assert [self.imported(run, record) for record in records] == ids
        assert self.imported(run) == ids[-1]

    def test_it_reuses_the_record_in_the_store(self, history):
        made = history.run("flights-1")["trainer"]["model"][0]
        other = RunRecord.start(history.store, "serving", "serving-1", "/r")
        task = other.start_task("importer", kind=Kind.IMPORTER)
        content = {"digest": made.metadata["digest"]}
        record = ArtifactRecord("model", made.uri, made.schema_title, metadata=content)
        (found,) = other.finish_task(task, State.COMPLETE, outputs={"x": [record]})["x"]
        assert (found.id, found.metadata) == (made.id, made.metadata)

    def test_a_task_always_makes_its_own(self, run):
        task = run.start_task("a")
        first = run.finish_task(task, State.COMPLETE, outputs={"x": [self.RECORD]})
        task = run.start_task("b")
        second = run.finish_task(task, State.COMPLETE, outputs={"x": [self.RECORD]})
        assert first["x"][0].id != second["x"][0].id


def test_no_secret_is_written(store, tmp_path):
    secret = "hunter2-" + "x" * 40
    run = RunRecord.start(
        store,
        "flights",
        "flights-1",
        f"s3://key:{secret}@host/root",
        parameters={"db_password": secret, "sql": f"postgresql://me:{secret}@db/x"},
        properties={"api_key": secret},
    )
    task = run.start_task(
        "a", parameters={"custom_config": {"token": secret}}, properties={"auth_token": secret}
    )
    made = run.finish_task(
        task,
        State.FAILED,
        parameters={"access_token": secret},
        outputs={
            "x": [
                ArtifactRecord(
                    "x", f"https://me:{secret}@host/x", metadata={"from": f"ftp://a:{secret}@h"}
                )
            ]
        },
        error=f"cannot log in with password={secret}",
        properties={"secret_key": secret},
    )
    run.finish(State.FAILED, error=f"postgresql://me:{secret}@db refused")
    assert made["x"][0].uri == f"https://me:{secret}@host/x"  # the runner resumes it
    run.cached_task("b", cached=CachedTask(task, {"session_token": secret}, {}))
    assert secret.encode() not in (tmp_path / "metadata.sqlite").read_bytes()


def test_a_run_id_is_used_once(store, run):
    with pytest.raises(StoreError) as error:
        RunRecord.start(store, "flights", "flights-1", "/root")
    assert str(error.value) == (
        f"There is a run flights-1 in the lineage store {store.where} already: "
        "run ids must be unique."
    )


@pytest.mark.parametrize("name", ["", "x" * 252])
def test_names_have_a_length(store, name):
    with pytest.raises(StoreError, match=r"cannot name a pipeline or run: it has \d+ characters"):
        RunRecord.start(store, "flights", name, "/root")
    with pytest.raises(StoreError, match="names have 1 to 251"):
        RunRecord.start(store, name, "flights-1", "/root")


def test_odd_text_is_kept(store, run):
    task = run.start_task("größe 😀", parameters={"a": 'it\'s \\ "x"\n%s', "nul": "a\0b"})
    run.finish_task(task, State.FAILED, error="\udcff broken")
    (message,) = store.call("get_executions_by_id", [task])
    properties = message.custom_properties
    assert properties["task_name"].string_value == "größe 😀"
    assert properties["inputs"].struct_value["a"] == 'it\'s \\ "x"\n%s'
    assert properties["inputs"].struct_value["nul"] == "a\N{REPLACEMENT CHARACTER}b"
    assert properties["error"].string_value == "? broken"


def test_a_long_error_is_cut(store, run):
    task = run.start_task("a")
    run.finish_task(task, State.FAILED, error="x" * 100_000)
    (message,) = store.call("get_executions_by_id", [task])
    assert len(message.custom_properties["error"].string_value) == 10_000


def test_a_task_that_was_never_started(run):
    with pytest.raises(StoreError, match="No execution 999 of this run"):
        run.finish_task(999, State.COMPLETE)


def test_threads_share_a_record(store, run):
    def work(index: int) -> None:
        task = run.start_task(f"task-{index}")
        made = run.finish_task(
            task, State.COMPLETE, outputs={"x": [ArtifactRecord("x", f"/x/{index}")]}
        )
        results.append((index, task, made["x"][0].id))

    results: list[tuple[int, int, int]] = []
    threads = [threading.Thread(target=work, args=(index,)) for index in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({task for _, task, _ in results}) == 32
    for index, task, artifact in results:
        (message,) = store.call("get_executions_by_id", [task])
        assert message.custom_properties["task_name"].string_value == f"task-{index}"
        (event,) = store.call("get_events_by_execution_ids", [task])
        assert event.artifact_id == artifact
        (found,) = store.call("get_artifacts_by_id", [artifact])
        assert found.uri == f"/x/{index}"


def test_what_a_task_reads_from_outside_is_one_artifact_as_long_as_it_is_the_same(
    store: Store,
) -> None:
    def source(content: str) -> ArtifactRecord:
        metadata = {"digest": content}
        return ArtifactRecord("my.csv", "/data/my.csv", "system.Dataset", "0.0.1", metadata)

    for run_id, content in (("a", "1"), ("b", "1"), ("c", "2")):
        run = RunRecord.start(store, "p", run_id, "/root")
        run.start_task("example-gen", inputs={"data_uri": [source(content)]})
    found = store.call("get_artifacts_by_uri", "/data/my.csv")
    assert [each.custom_properties["digest"].string_value for each in found] == ["1", "2"]
    events = store.call("get_events_by_artifact_ids", [each.id for each in found])
    assert all(event.type == pb.Event.INPUT for event in events)
    assert len(events) == 3
