"""Everything that an artifact was made from, and that was made from it."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace.lineage import provenance
from millrace.lineage.cache import find
from millrace.lineage.nodes import ArtifactRecord, Kind, State
from millrace.lineage.record import RunRecord
from millrace.lineage.store import Store


def names(graph) -> set[str]:
    return {f"{task.run_id}/{task.name}" for task in graph.tasks.values()}


def test_upstream(history):
    made = history.run("flights-1")
    (model,) = made["trainer"]["model"]
    graph = provenance.upstream(history.store, [model.id])
    assert names(graph) == {
        f"flights-1/{name}" for name in ("example-gen", "statistics-gen", "schema-gen", "trainer")
    }
    outputs = [made[task][port][0] for task, port in PORTS] + [model]
    assert graph.artifacts == {record.id: record for record in outputs}
    assert graph.maker(model.id).name == "trainer"
    assert [task.name for task in graph.readers(outputs[0].id)] == ["statistics-gen", "trainer"]
    assert graph.runs == {
        "flights-1": {"code_version": "0.1.0", "host": "analytical", "user": "ada"}
    }


PORTS = [("example-gen", "examples"), ("statistics-gen", "statistics"), ("schema-gen", "schema")]


def test_downstream(history):
    made = history.run("flights-1")
    graph = provenance.downstream(history.store, [made["statistics-gen"]["statistics"][0].id])
    assert names(graph) == {"flights-1/schema-gen", "flights-1/trainer"}
    titles = {record.schema_title for record in graph.artifacts.values()}
    assert titles == {"system.Statistics", "system.Schema", "system.Model", "system.Metrics"}


def test_downstream_of_a_task(history):
    made = history.run("flights-1")
    examples = made["example-gen"]["examples"][0]
    maker = provenance.upstream(history.store, [examples.id]).maker(examples.id)
    graph = provenance.downstream(history.store, [], [maker.id])
    assert len(graph.tasks) == 4
    assert len(graph.artifacts) == 5


def test_what_came_from_the_cache_was_made_once(history):
    history.run("flights-1")
    made = history.run("flights-2")
    graph = provenance.upstream(history.store, [made["trainer"]["model"][0].id])
    assert {task.run_id for task in graph.tasks.values()} == {"flights-1"}
    down = provenance.downstream(history.store, [made["example-gen"]["examples"][0].id])
    assert {task.run_id for task in down.tasks.values()} == {"flights-1", "flights-2"}
    readers = down.readers(made["example-gen"]["examples"][0].id)
    assert {task.run_id for task in readers} == {"flights-1"}


def test_the_same_content_made_anew_leads_to_what_was_cached(history):
    """A reader that took its result from the cache read this artifact, whoever made its result."""
    first = history.run("flights-1")
    run = history.start("flights-2")
    source = history.artifact("flights-2", "example-gen", "examples", "system.Examples", "rows")
    task = run.start_task("example-gen")
    made = run.finish_task(task, State.COMPLETE, outputs={"examples": [source]})
    cached = find(history.store, "flights", "statistics-gen.rows")
    run.cached_task("statistics-gen", inputs=made, cached=cached)
    graph = provenance.downstream(history.store, [made["examples"][0].id])
    (reader,) = graph.readers(made["examples"][0].id)
    assert (reader.run_id, reader.state) == ("flights-2", "CACHED")
    assert first["trainer"]["model"][0].id in graph.artifacts


def test_across_pipelines(history):
    """An importer takes the record of what another pipeline made, and so its provenance."""
    model = history.run("flights-1")["trainer"]["model"][0]
    run = RunRecord.start(history.store, "serving", "serving-1", "/r", properties={"user": "bob"})
    task = run.start_task("importer", kind=Kind.IMPORTER)
    record = ArtifactRecord("model", model.uri, model.schema_title, metadata=model.metadata)
    made = run.finish_task(task, State.COMPLETE, outputs={"artifact": [record]})
    push = run.start_task("push", inputs={"model": made["artifact"]})
    pushed = run.finish_task(
        push, State.COMPLETE, outputs={"pushed": [ArtifactRecord("p", "/p", "system.PushedModel")]}
    )
    graph = provenance.upstream(history.store, [pushed["pushed"][0].id])
    assert "flights-1/trainer" in names(graph)
    assert graph.maker(model.id).name == "trainer"
    assert set(graph.runs) == {"flights-1", "serving-1"}


def test_dags_are_not_makers(history):
    """KFP's DAGs have their tasks' inputs; the runner gives them their tasks' outputs as well."""
    run = history.start("flights-1")
    dag = run.start_task("inner", kind=Kind.DAG)
    task = run.start_task("train", parent=dag)
    made = run.finish_task(
        task, State.COMPLETE, outputs={"model": [ArtifactRecord("m", "/m", "system.Model")]}
    )
    run.finish_task(dag, State.COMPLETE, outputs={"out": made["model"]})
    outer = run.start_task("next", kind=Kind.DAG, inputs={"in": made["model"]})
    run.start_task("push", parent=outer, inputs={"model": made["model"]})
    up = provenance.upstream(history.store, [made["model"][0].id])
    assert names(up) == {"flights-1/inner/train"}
    down = provenance.downstream(history.store, [made["model"][0].id])
    assert names(down) == {"flights-1/next/push"}


def test_an_artifact_that_no_task_made(history):
    from ml_metadata.proto import metadata_store_pb2 as pb

    kind = history.store.artifact_type("system.Dataset")
    (number,) = history.store.call("put_artifacts", [pb.Artifact(type_id=kind, uri="/x")])
    graph = provenance.upstream(history.store, [number])
    assert graph.maker(number) is None
    assert list(graph.artifacts) == [number]
    assert provenance.upstream(history.store, [999]).artifacts == {}


def test_json_names_every_node_once(history):
    made = history.run("flights-1")
    graph = provenance.upstream(history.store, [made["trainer"]["model"][0].id])
    document = json.loads(json.dumps(graph.to_json()))
    artifacts = {record["id"] for record in document["artifacts"]}
    tasks = {task["id"] for task in document["tasks"]}
    assert len(artifacts) == len(document["artifacts"]) == 4
    assert len(tasks) == len(document["tasks"]) == 4
    assert len(document["events"]) == 4 + 4
    for event in document["events"]:
        assert event["task"] in tasks
        assert event["artifact"] in artifacts
        assert event["ports"]
    assert document["tasks"][-1]["inputs"] == {
        "examples": [made["example-gen"]["examples"][0].id],
        "schema": [made["schema-gen"]["schema"][0].id],
    }


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with Store.open(tmp_path_factory.mktemp("graphs") / "metadata.sqlite") as store:
        yield store, RunRecord.start(store, "p", "r", "/root")


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_any_graph(shared, data):
    """Upstream and downstream are the two directions of reachability."""
    store, run = shared
    reads: dict[int, set[int]] = {}
    ids: list[int] = []
    for number in range(data.draw(st.integers(1, 8))):
        chosen = data.draw(st.sets(st.sampled_from(ids), max_size=3)) if ids else set()
        inputs = {f"in-{one}": [ArtifactRecord("", "", id=one)] for one in chosen}
        task = run.start_task(f"t{number}", inputs=inputs)
        outputs = {"x": [ArtifactRecord("x", f"/{number}")]}
        made = run.finish_task(task, State.COMPLETE, outputs=outputs)["x"][0].id
        reads[made] = chosen
        ids.append(made)

    def reached(start: int, steps: dict[int, set[int]]) -> set[int]:
        found, waiting = {start}, [start]
        while waiting:
            for one in steps[waiting.pop()] - found:
                found.add(one)
                waiting.append(one)
        return found

    read_by = {one: {other for other in ids if one in reads[other]} for one in ids}
    start = data.draw(st.sampled_from(ids))
    assert set(provenance.upstream(store, [start]).artifacts) == reached(start, reads)
    assert set(provenance.downstream(store, [start]).artifacts) == reached(start, read_by)
