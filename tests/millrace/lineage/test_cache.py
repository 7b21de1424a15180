"""The cache finds the newest good result of a pipeline, and nothing else."""

from __future__ import annotations

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from millrace.lineage.cache import find
from millrace.lineage.nodes import ArtifactRecord, State
from millrace.lineage.record import RunRecord
from millrace.lineage.store import Store


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "metadata.sqlite") as opened:
        yield opened


def done(store, run_id, fingerprint="f1", state=State.COMPLETE, pipeline="flights", **outputs):
    run = RunRecord.start(store, pipeline, run_id, "/root")
    task = run.start_task("trainer", fingerprint=fingerprint)
    made = run.finish_task(task, state, parameters={"epochs": 3, "list": [1]}, outputs=outputs)
    return task, made


def model(uri="/root/model", **metadata):
    return ArtifactRecord("model", uri, "system.Model", metadata={"digest": "aa", **metadata})


def test_a_result_comes_back_whole(store):
    record = model(auc=0.66672341, blessed=True, splits={"train": 3}, columns=["a", "b"], rows=12)
    task, made = done(store, "r1", model=[record], parts=[model("/1"), model("/2")])
    found = find(store, "flights", "f1")
    assert found.execution_id == task
    assert found.parameters == {"epochs": 3, "list": [1]}
    assert found.outputs == made


def test_nothing_yet(store):
    assert find(store, "flights", "f1") is None
    done(store, "r1")
    assert find(store, "flights", "f2") is None
    assert find(store, "other", "f1") is None


def test_the_newest(store):
    done(store, "r1")
    newest, _ = done(store, "r2")
    assert find(store, "flights", "f1").execution_id == newest


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELED])
def test_only_what_ended_well(store, state):
    good, _ = done(store, "r1")
    done(store, "r2", state=state)
    assert find(store, "flights", "f1").execution_id == good


def test_not_what_was_set_failed_afterwards(store):
    task, _ = done(store, "r1")
    (execution,) = store.call("get_executions_by_id", [task])
    execution.last_known_state = pb.Execution.FAILED
    store.call("put_executions", [execution])
    assert find(store, "flights", "f1") is None


def test_not_what_still_runs(store):
    run = RunRecord.start(store, "flights", "r1", "/root")
    run.start_task("trainer", fingerprint="f1")
    assert find(store, "flights", "f1") is None


def test_a_cache_hit_leads_to_the_task_that_did_the_work(store):
    task, _ = done(store, "r1", model=[model()])
    run = RunRecord.start(store, "flights", "r2", "/root")
    run.cached_task("trainer", fingerprint="f1", cached=find(store, "flights", "f1"))
    assert find(store, "flights", "f1").execution_id == task


def test_a_task_without_a_fingerprint(store):
    done(store, "r1", fingerprint="")
    assert find(store, "flights", "") is None
    assert not store.call("get_contexts_by_type", "millrace.Cache")


@pytest.mark.parametrize(
    "fingerprint", ["sha256:0a1b", "a", "0" * 64, "x' OR 1 --", "é\\", "x" * 999]
)
def test_fingerprints(store, fingerprint):
    task, _ = done(store, "r1", fingerprint=fingerprint)
    assert find(store, "flights", fingerprint).execution_id == task


@pytest.mark.parametrize("state", ["MARKED_FOR_DELETION", "DELETED", "ABANDONED"])
def test_not_what_was_deleted(store, state):
    _, made = done(store, "r1", model=[model()])
    (message,) = store.call("get_artifacts_by_id", [made["model"][0].id])
    message.state = pb.Artifact.State.Value(state)
    store.call("put_artifacts", [message])
    assert find(store, "flights", "f1") is None


def test_not_what_lineage_does_not_know_whole(store):
    done(store, "r1", model=[model("https://me:pw@host/x")])
    assert find(store, "flights", "f1") is None
    run = RunRecord.start(store, "flights", "r2", "/root")
    task = run.start_task("login", fingerprint="f2")
    run.finish_task(task, State.COMPLETE, parameters={"session_token": "abc"})
    assert find(store, "flights", "f2") is None


def test_one_artifact_at_two_ports_comes_back_at_both(store):
    run = RunRecord.start(store, "flights", "r1", "/root")
    first = run.start_task("a")
    (record,) = run.finish_task(first, State.COMPLETE, outputs={"x": [model()]})["x"]
    second = run.start_task("b", fingerprint="f1")
    run.finish_task(second, State.COMPLETE, outputs={"best": [record], "last": [record]})
    assert find(store, "flights", "f1").outputs == {"best": [record], "last": [record]}
