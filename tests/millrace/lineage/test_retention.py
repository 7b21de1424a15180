"""What may be deleted, and above all what may not."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_metadata.proto import metadata_store_pb2 as pb

from millrace.errors import StoreError
from millrace.lineage import provenance, query, retention
from millrace.lineage.cache import find
from millrace.lineage.nodes import ArtifactRecord, Kind, State
from millrace.lineage.record import RunRecord
from millrace.lineage.store import Store


def plan(store, *run_ids):
    return retention.plan(store, [query.find_run(store, run_id) for run_id in run_ids])


def uris(found) -> list[str]:
    return [Path(record.uri).name for record in found.deletable]


def push(history, run_id, model, state=State.COMPLETE) -> ArtifactRecord:
    """Another run pushes a model."""
    root = f"/pushes/{run_id}"
    run = RunRecord.start(history.store, "serving", run_id, root)
    task = run.start_task("pusher", inputs={"model": [model]})
    record = ArtifactRecord("pushed", f"{root}/pusher/pushed", "system.PushedModel")
    made = run.finish_task(task, state, outputs={"pushed": [record]})
    run.finish(State.COMPLETE)
    return made["pushed"][0]


ALL = ["examples", "statistics", "schema", "model", "metrics"]


def test_everything_of_a_run_that_nothing_needs(history):
    history.run("flights-1")
    found = plan(history.store, "flights-1")
    assert uris(found) == ALL
    assert found.needed == {}
    assert plan(history.store).deletable == []


def test_what_a_pushed_model_was_made_of_stays(history):
    made = history.run("flights-1")
    push(history, "serving-1", made["trainer"]["model"][0])
    found = plan(history.store, "flights-1", "serving-1")
    assert uris(found) == ["metrics"]
    assert set(found.needed.values()) == {"a pushed model was made from it"}


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELED])
def test_a_push_that_failed_needs_nothing(history, state):
    made = history.run("flights-1")
    push(history, "serving-1", made["trainer"]["model"][0], state)
    assert uris(plan(history.store, "flights-1", "serving-1")) == [*ALL, "pushed"]


def test_what_a_kept_run_reads_stays(history):
    made = history.run("flights-1")
    push(history, "serving-1", made["trainer"]["model"][0], State.FAILED)
    found = plan(history.store, "flights-1")
    assert uris(found) == ["examples", "statistics", "schema", "metrics"]
    assert found.needed == {4: "run serving-1 uses it"}


def test_cached_results_of_kept_runs_stay(history):
    history.run("flights-1")
    history.run("flights-2")
    assert plan(history.store, "flights-1").deletable == []
    assert uris(plan(history.store, "flights-1", "flights-2")) == ALL


def test_a_pinned_run_keeps_everything_upstream(history):
    made = history.run("flights-1")
    push(history, "serving-1", made["trainer"]["model"][0], State.FAILED)
    retention.pin(history.store, "serving-1")
    found = plan(history.store, "flights-1", "serving-1")
    assert uris(found) == ["metrics"]
    assert set(found.needed.values()) == {"the pinned run serving-1 needs it"}
    retention.pin(history.store, "serving-1", is_pinned=False)
    assert len(plan(history.store, "flights-1", "serving-1").deletable) == 6


def test_only_what_lies_in_the_folder_of_its_run(history):
    """Not what was imported or read from outside, nor what a step says lies elsewhere."""
    run = history.start("flights-1")
    root = history.root / "flights/flights-1"
    record = ArtifactRecord("x", str(root / "imported"))
    importer = run.start_task("import", Kind.IMPORTER)
    run.finish_task(importer, State.COMPLETE, outputs={"x": [record]})
    task = run.start_task("t", inputs={"data": [ArtifactRecord("data", str(root / "read"))]})
    places = ["/elsewhere", str(root), f"{root}-2/x", f"{root}/../flights-2/x", f"{root}/t/x"]
    outputs = {f"p{index}": [ArtifactRecord("x", uri)] for index, uri in enumerate(places)}
    run.finish_task(task, State.COMPLETE, outputs=outputs)
    run.finish(State.COMPLETE)
    found = plan(history.store, "flights-1")
    assert [record.uri for record in found.deletable] == [places[-1]]


@pytest.mark.parametrize("place", ["", "/inner/file", "/.."])
def test_what_shares_its_place_with_a_needed_artifact_stays(history, place):
    model = history.run("flights-1")["trainer"]["model"][0]
    run = history.start("flights-2")
    uri = str(Path(f"{model.uri}{place}").resolve())
    imported = ArtifactRecord("m", uri, "system.Other", metadata={"own": 1})
    task = run.start_task("import", Kind.IMPORTER)
    run.finish_task(task, State.COMPLETE, outputs={"x": [imported]})
    found = plan(history.store, "flights-1")
    assert found.needed[model.id] == "run flights-2 uses it"


def test_runs_are_chosen_by_age_state_and_pipeline(history):
    history.run("flights-1")
    history.fail("flights-2")
    history.start("flights-3")
    history.run("flights-4", data="other")
    retention.pin(history.store, "flights-4")
    push(history, "serving-1", ArtifactRecord("m", "/m"))
    runs = query.runs(history.store)
    now = datetime.now(timezone.utc)

    def chosen(**options) -> set[str]:
        return {run.run_id for run in retention.choose(runs, **options)}

    assert chosen() == {"flights-1", "flights-2", "serving-1"}
    assert chosen(before=now + timedelta(seconds=1)) == chosen()
    assert chosen(before=now - timedelta(hours=1)) == set()
    assert chosen(states=["FAILED"]) == {"flights-2"}
    assert chosen(pipelines=["serving"]) == {"serving-1"}
    assert chosen(states=["FAILED"], pipelines=["serving"]) == set()


def test_deletions_are_recorded(history):
    history.run("flights-1")
    before = datetime.now(timezone.utc) - timedelta(seconds=1)
    ids = [record.id for record in plan(history.store, "flights-1").deletable]
    retention.mark_deleted(history.store, ids, "ada", "older than 30 days")
    for message in history.store.call("get_artifacts_by_id", ids):
        assert message.state == pb.Artifact.DELETED
        texts = message.custom_properties
        assert texts["deleted_by"].string_value == "ada"
        assert texts["delete_reason"].string_value == "older than 30 days"
        assert datetime.fromisoformat(texts["deleted_at"].string_value) >= before
    assert plan(history.store, "flights-1").deletable == []
    assert find(history.store, "flights", "trainer.rows") is None
    with pytest.raises(StoreError, match="There is no artifact 999"):
        retention.mark_deleted(history.store, [999], "ada", "")


NAMES = (f"run-{number}" for number in itertools.count())


@settings(max_examples=40)
@given(data=st.data())
def test_nothing_upstream_of_a_pushed_model_is_ever_deletable(tmp_path, data):
    """Whatever was run, cached, pinned, failed, chosen and deleted before."""
    with Store.open(tmp_path / f"{next(NAMES)}.sqlite") as store:
        made: list[ArtifactRecord] = []
        parents: dict[int, set[int]] = {}
        pushed: set[int] = set()
        run_ids = []
        for _ in range(data.draw(st.integers(1, 5))):
            run_id = next(NAMES)
            run_ids.append(run_id)
            run = RunRecord.start(store, "p", run_id, f"/r/{run_id}")
            for number in range(data.draw(st.integers(0, 4))):
                inputs = data.draw(st.lists(st.sampled_from(made), max_size=3)) if made else []
                key = data.draw(st.sampled_from(["", "a", "b"]))
                task = {"inputs": {"x": inputs}, "fingerprint": key}
                if key and (cached := find(store, "p", key)) and data.draw(st.booleans()):
                    run.cached_task("t", cached=cached, **task)
                    continue
                kind = data.draw(st.sampled_from(["system.Model", "system.PushedModel"]))
                state = data.draw(st.sampled_from([State.COMPLETE, State.FAILED]))
                record = ArtifactRecord("y", f"/r/{run_id}/{number}/y", kind)
                execution = run.start_task("t", **task)
                (one,) = run.finish_task(execution, state, outputs={"y": [record]})["y"]
                parents[one.id] = {each.id for each in inputs}
                made.append(one)
                if kind == "system.PushedModel" and state is State.COMPLETE:
                    pushed.add(one.id)
            run.finish(State.COMPLETE)
        for run_id in data.draw(st.sets(st.sampled_from(run_ids))):
            retention.pin(store, run_id)

        needed, waiting = set(), set(pushed)
        while waiting:
            needed |= waiting
            waiting = {up for number in waiting for up in parents[number]} - needed
        assert needed == set(provenance.upstream(store, pushed).artifacts)
        for _ in range(2):
            chosen = data.draw(st.sets(st.sampled_from(run_ids)))
            found = plan(store, *chosen)
            deletable = {record.id for record in found.deletable}
            assert not deletable & needed
            kept = (set(run_ids) - chosen) | {run.run_id for run in query.runs(store) if run.pinned}
            for run_id in kept:
                for task in query.tasks(store, query.find_run(store, run_id)):
                    for records in (*task.inputs.values(), *task.outputs.values()):
                        assert not deletable & {record.id for record in records}
            retention.mark_deleted(store, deletable, "ada", "")
