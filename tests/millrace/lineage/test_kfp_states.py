"""Runs that KFP recorded: their state, time and errors follow from their tasks."""

from __future__ import annotations

import pytest

from millrace.lineage import query
from millrace.lineage.nodes import ArtifactRecord, State

RUN = "0b5e02b8-c614"


@pytest.fixture
def kfp(kfp_run):
    return kfp_run


@pytest.fixture
def found(history):
    return lambda: query.find_run(history.store, RUN)


def test_a_run_and_its_tasks(history, kfp, found):
    made = kfp.start("trainer", cached_execution_id="77")
    artifact = kfp.artifact("minio://x", "system.Metrics")
    kfp.publish(made, "CACHED", {"metrics": artifact})
    run = found()
    assert (run.pipeline, run.display_name, run.state) == ("kfp", RUN, "COMPLETE")
    assert run.root == f"minio://mlpipeline/v2/kfp/{RUN}"
    assert run.parameters == {"rounds": 3}
    assert run.counts == {"CACHED": 1}
    (task,) = query.tasks(history.store, run)
    assert (task.name, task.display_name, task.cached_from) == ("trainer", "Trainer", 77)
    assert task.properties["pod_name"] == "pod_name of trainer"
    assert run.started <= task.started
    assert run.finished == task.finished
    (metrics,) = task.outputs["metrics"]
    assert metrics == ArtifactRecord(
        "", "minio://x", "system.Metrics", metadata={"store_session_info": "{}"}, id=metrics.id
    )


def test_a_failed_run_names_its_tasks(history, kfp, found):
    kfp.task("example-gen")
    log = kfp.artifact(f"minio://mlpipeline/v2/kfp/{RUN}/trainer/executor-logs")
    kfp.task("trainer", "FAILED", **{"executor-logs": log})
    run = found()
    assert (run.state, run.error) == ("FAILED", "failed: trainer")
    assert run.seconds is not None
    task = query.tasks(history.store, run)[1]
    assert task.error == "KFP does not record why: see the log of pod pod_name of trainer"
    assert task.properties["log"] == log.uri
    assert task.outputs == {}


def test_a_run_is_running_while_a_task_is(kfp, found):
    assert found().state == "RUNNING"
    kfp.task("one", "FAILED")
    two = kfp.start("two")
    assert (found().state, found().finished, found().error) == ("RUNNING", None, "")
    kfp.publish(two, "COMPLETE")
    assert found().state == "FAILED"


def test_a_retried_task_counts_once(kfp, found):
    kfp.task("one", "FAILED")
    kfp.task("one", "COMPLETE")
    assert (found().state, found().error) == ("COMPLETE", "")


def test_a_dag_goes_on_after_a_retry(kfp, found):
    kfp.task("one", "FAILED")
    kfp.task("one", "COMPLETE")
    kfp.task("first", parent=kfp.dag("inner", total_dag_tasks=2))
    assert found().state == "RUNNING"


def test_loops_and_nested_dags(history, kfp, found):
    loop = kfp.dag("for-loop-1", iteration_count=2)
    first = kfp.dag("for-loop-1", loop, iteration_index=0)
    kfp.task("train", parent=first)
    assert found().state == "RUNNING"
    second = kfp.dag("for-loop-1", loop, iteration_index=1)
    kfp.task("train", "FAILED", parent=second)
    run = found()
    assert (run.state, run.error) == ("FAILED", "failed: for-loop-1[1]/train")
    states = {task.name: task.state for task in query.tasks(history.store, run)}
    assert states == {
        "for-loop-1": "FAILED",
        "for-loop-1[0]": "COMPLETE",
        "for-loop-1[0]/train": "COMPLETE",
        "for-loop-1[1]": "FAILED",
        "for-loop-1[1]/train": "FAILED",
    }


def test_a_loop_over_nothing_and_a_condition_that_does_not_hold(kfp, found):
    kfp.dag("for-loop-1", iteration_count=0)
    kfp.publish(kfp.dag("condition-1"), "CANCELED")
    assert found().state == "COMPLETE"


def test_a_dag_that_knows_its_tasks_waits_for_them(kfp, found):
    dag = kfp.dag("inner", total_dag_tasks=2)
    kfp.task("one", parent=dag)
    assert found().state == "RUNNING"
    kfp.task("two", parent=dag)
    assert found().state == "COMPLETE"


def test_a_dag_that_a_failure_elsewhere_kept_from_ending(history, kfp, found):
    dag = kfp.dag("inner", total_dag_tasks=2)
    kfp.task("one", parent=dag)
    kfp.task("other", "FAILED")
    run = found()
    assert (run.state, run.error) == ("FAILED", "failed: other")
    states = {task.name: task.state for task in query.tasks(history.store, run)}
    assert states == {"inner": "CANCELED", "inner/one": "COMPLETE", "other": "FAILED"}


def test_many_failures_are_counted(kfp, found):
    for number in range(5):
        kfp.task(f"t{number}", "FAILED")
    assert found().error == "failed: t0, t1, t2 and 2 more"


def test_a_run_of_ours_is_what_it_says(history):
    record = history.start("flights-1")
    record.finish_task(record.start_task("one"), State.COMPLETE)
    assert query.find_run(history.store, "flights-1").state == "RUNNING"
