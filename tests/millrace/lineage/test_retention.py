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
from millrace.lineage import deletion, provenance, query, retention
from millrace.lineage.cache import find
from millrace.lineage.nodes import ArtifactRecord, Kind, State
from millrace.lineage.record import RunRecord
from millrace.lineage.store import Store


def plan(store, *run_ids):
    return retention.plan(store, [query.find_run(store, run_id) for run_id in run_ids])


def why(found) -> dict[int, str]:
    return {one.artifact.id: one.why for one in found.needed}


def written(uri, **metadata) -> ArtifactRecord:
    """An artifact with files."""
    return ArtifactRecord(Path(uri).name, str(uri), metadata={"digest": "d", **metadata})


def uris(found) -> list[str]:
    return [Path(one.artifact.uri).name for one in found.deletable]


def push(history, run_id, model, state=State.COMPLETE, **metadata) -> ArtifactRecord:
    """Another run pushes a model, and writes a report."""
    root = f"/pushes/{run_id}"
    run = RunRecord.start(history.store, "serving", run_id, root)
    task = run.start_task("pusher", inputs={"model": [model]})
    record = written(f"{root}/pusher/pushed", **metadata)
    record.schema_title = "system.PushedModel"
    outputs = {"pushed": [record], "report": [written(f"{root}/pusher/report")]}
    made = run.finish_task(task, state, outputs=outputs)
    run.finish(State.COMPLETE)
    return made["pushed"][0]


ALL = ["examples", "statistics", "schema", "model"]  # metrics have no files


def test_everything_of_a_run_that_nothing_needs(history):
    history.run("flights-1")
    found = plan(history.store, "flights-1")
    assert uris(found) == ALL
    assert found.needed == []
    assert plan(history.store).deletable == []


def test_what_a_pushed_model_was_made_of_stays(history):
    made = history.run("flights-1")
    push(history, "serving-1", made["trainer"]["model"][0])
    found = plan(history.store, "flights-1", "serving-1")
    assert uris(found) == ["report"]
    assert set(why(found).values()) == {"it is a pushed model", "a pushed model was made from it"}


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELED])
def test_a_push_that_failed_needs_nothing(history, state):
    made = history.run("flights-1")
    push(history, "serving-1", made["trainer"]["model"][0], state)
    assert uris(plan(history.store, "flights-1", "serving-1")) == [*ALL, "pushed", "report"]


def test_the_record_of_why_nothing_was_pushed_needs_nothing(history):
    made = history.run("flights-1")
    push(history, "serving-1", made["trainer"]["model"][0], pushed=False)
    assert uris(plan(history.store, "flights-1", "serving-1")) == [*ALL, "pushed", "report"]


def test_what_a_kept_run_reads_stays(history):
    made = history.run("flights-1")
    push(history, "serving-1", made["trainer"]["model"][0], State.FAILED)
    found = plan(history.store, "flights-1")
    assert uris(found) == ["examples", "statistics", "schema"]
    assert why(found) == {4: "run serving-1 uses it"}


def test_cached_results_of_kept_runs_stay(history):
    history.run("flights-1")
    history.run("flights-2")
    assert plan(history.store, "flights-1").deletable == []
    assert uris(plan(history.store, "flights-1", "flights-2")) == ALL


def test_a_pinned_run_keeps_everything_upstream(history):
    made = history.run("flights-1")
    push(history, "serving-1", made["trainer"]["model"][0], State.FAILED)
    deletion.pin(history.store, "serving-1")
    found = plan(history.store, "flights-1", "serving-1")
    assert uris(found) == []
    assert set(why(found).values()) == {"the pinned run serving-1 needs it"}
    deletion.pin(history.store, "serving-1", is_pinned=False)
    assert len(plan(history.store, "flights-1", "serving-1").deletable) == 6


def test_only_what_lies_in_the_folder_of_its_run(history):
    """Not what was imported or read from outside, nor what a step says lies elsewhere."""
    run = history.start("flights-1")
    root = history.root / "flights/flights-1"
    record = written(root / "imported")
    importer = run.start_task("import", Kind.IMPORTER)
    run.finish_task(importer, State.COMPLETE, outputs={"x": [record]})
    task = run.start_task("t", inputs={"data": [written(root / "read")]})
    places = ["/elsewhere", str(root), f"{root}-2/x", f"{root}/../flights-2/x", f"{root}/t/x"]
    outputs = {f"p{index}": [written(uri)] for index, uri in enumerate(places)}
    run.finish_task(task, State.COMPLETE, outputs=outputs)
    run.finish(State.COMPLETE)
    found = plan(history.store, "flights-1")
    assert [one.artifact.uri for one in found.deletable] == [places[-1]]


@pytest.mark.parametrize("place", ["", "/inner/file", "/.."])
def test_what_shares_its_place_with_a_needed_artifact_stays(history, place):
    model = history.run("flights-1")["trainer"]["model"][0]
    run = history.start("flights-2")
    uri = str(Path(f"{model.uri}{place}").resolve())
    imported = ArtifactRecord("m", uri, "system.Other", metadata={"own": 1})
    task = run.start_task("import", Kind.IMPORTER)
    run.finish_task(task, State.COMPLETE, outputs={"x": [imported]})
    found = plan(history.store, "flights-1")
    assert why(found)[model.id] == "run flights-2 uses it"


def test_runs_are_chosen_by_age_state_and_pipeline(history):
    history.run("flights-1")
    history.fail("flights-2")
    history.start("flights-3")
    history.run("flights-4", data="other")
    deletion.pin(history.store, "flights-4")
    push(history, "serving-1", ArtifactRecord("m", "/m"))
    runs = query.runs(history.store)
    now = datetime.now(timezone.utc)

    def chosen(**options) -> set[str]:
        wanted = retention.Filter(**options)
        return {run.run_id for run in retention.choose(runs, wanted).runs}

    assert chosen() == {"flights-1", "flights-2", "serving-1"}
    assert chosen(before=now + timedelta(seconds=1)) == chosen()
    assert chosen(before=now - timedelta(hours=1)) == set()
    assert chosen(states=["FAILED"]) == {"flights-2"}
    assert chosen(pipelines=["serving"]) == {"serving-1"}
    assert chosen(states=["FAILED"], pipelines=["serving"]) == set()
    assert chosen(keep_last=1) == {"flights-1", "flights-2"}
    assert chosen(keep_last=3) == {"flights-1"}
    assert chosen(root=str(history.root)) == {"flights-1", "flights-2"}
    held = retention.choose(runs, retention.Filter(keep_last=2), lambda run: "-2" in run.run_id)
    assert held.left == {
        "serving-1": "--keep-last keeps it",
        "flights-4": "it is pinned",
        "flights-3": "it is going on",
        "flights-2": "it is going on",
    }
    elsewhere = retention.choose(runs, retention.Filter(root="/other"))
    assert set(elsewhere.left.values()) == {"it lies in another root"}


def mark(store, found) -> list[int]:
    ids = [one.artifact.id for one in found.deletable]
    deletion.mark(store, ids, "ada", "older than 30 days")
    return ids


def test_deletions_are_recorded(history):
    history.run("flights-1")
    before = datetime.now(timezone.utc) - timedelta(seconds=1)
    ids = mark(history.store, plan(history.store, "flights-1"))
    assert find(history.store, "flights", "trainer.rows") is None
    again = plan(history.store, "flights-1")
    assert [one.artifact.id for one in again.deletable] == ids, "a killed process left them"
    deletion.record_deleted(history.store, ids)
    for message in history.store.call("get_artifacts_by_id", ids):
        assert message.state == pb.Artifact.DELETED
        texts = message.custom_properties
        assert texts["deleted_by"].string_value == "ada"
        assert texts["delete_reason"].string_value == "older than 30 days"
        assert datetime.fromisoformat(texts["deleted_at"].string_value) >= before
    assert plan(history.store, "flights-1").deletable == []
    with pytest.raises(StoreError, match="There is no artifact 999"):
        deletion.record_deleted(history.store, [999])


def test_a_mark_can_be_taken_back(history):
    history.run("flights-1")
    run = history.start("flights-2")
    lost = written(history.root / "flights/flights-2/t/x")
    run.finish_task(run.start_task("t"), State.FAILED, outputs={"x": [lost]})
    run.finish(State.FAILED)
    before = history.store.call("get_artifacts")
    ids = mark(history.store, plan(history.store, "flights-1", "flights-2"))
    assert len(ids) == 5
    deletion.unmark(history.store, ids)
    for was, now in zip(before, history.store.call("get_artifacts"), strict=True):
        now.last_update_time_since_epoch = was.last_update_time_since_epoch
        assert was == now


def test_a_result_that_is_being_deleted_is_not_taken(history):
    """The task has looked it up before it was marked, and records it after."""
    history.run("flights-1")
    cached = find(history.store, "flights", "trainer.rows")
    run = history.start("flights-2")
    ids = mark(history.store, plan(history.store, "flights-1"))
    assert run.cached_task("trainer", cached=cached) is None
    (task,) = query.tasks(history.store, query.find_run(history.store, "flights-2"))
    assert task.state == "CANCELED"
    assert plan(history.store, "flights-1").deletable == [], "flights-2 may still use them"
    deletion.unmark(history.store, ids)
    assert run.cached_task("trainer", cached=cached) is not None


def test_what_a_run_that_is_going_on_may_push(history):
    """It has imported a model of another run, whose examples no other run uses."""
    model = history.run("flights-1")["trainer"]["model"][0]
    run = history.start("flights-2")
    task = run.start_task("import", Kind.IMPORTER)
    run.finish_task(task, State.COMPLETE, outputs={"x": [model]})
    found = plan(history.store, "flights-1")
    assert uris(found) == []
    assert set(why(found).values()) == {"run flights-2 uses it", "a run that is going on needs it"}
    run.finish(State.COMPLETE)
    assert uris(plan(history.store, "flights-1")) == ["examples", "statistics", "schema"]


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
                record = ArtifactRecord(
                    "y", f"/r/{run_id}/{number}/y", kind, metadata={"digest": "d"}
                )
                execution = run.start_task("t", **task)
                (one,) = run.finish_task(execution, state, outputs={"y": [record]})["y"]
                parents[one.id] = {each.id for each in inputs}
                made.append(one)
                if kind == "system.PushedModel" and state is State.COMPLETE:
                    pushed.add(one.id)
            run.finish(State.COMPLETE)
        for run_id in data.draw(st.sets(st.sampled_from(run_ids))):
            deletion.pin(store, run_id)

        needed, waiting = set(), set(pushed)
        while waiting:
            needed |= waiting
            waiting = {up for number in waiting for up in parents[number]} - needed
        assert needed == set(provenance.upstream(store, pushed).artifacts)
        for _ in range(2):
            chosen = data.draw(st.sets(st.sampled_from(run_ids)))
            found = plan(store, *chosen)
            deletable = {one.artifact.id for one in found.deletable}
            assert not deletable & needed
            kept = (set(run_ids) - chosen) | {run.run_id for run in query.runs(store) if run.pinned}
            for run_id in kept:
                for task in query.tasks(store, query.find_run(store, run_id)):
                    for records in (*task.inputs.values(), *task.outputs.values()):
                        assert not deletable & {record.id for record in records}
            assert plan(store, *chosen) == found
            deletion.mark(store, deletable, "ada", "")
            again = {one.artifact.id for one in plan(store, *chosen).deletable}
            assert again == deletable
            deletion.record_deleted(store, deletable)
            assert not plan(store, *chosen).deletable
