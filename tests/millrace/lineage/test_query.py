"""Runs and tasks are found by id, prefix and name."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from millrace.errors import StoreError
from millrace.lineage import query
from millrace.lineage.nodes import Kind, State
from millrace.lineage.record import RunRecord


def test_runs_are_listed_newest_first(history):
    before = datetime.now(timezone.utc)
    for number in range(4):
        history.run(f"flights-{number}", data=f"{number // 2}")
    history.fail("flights-4")
    history.start("flights-5")
    runs = query.runs(history.store)
    assert [run.run_id for run in runs] == [f"flights-{number}" for number in range(5, -1, -1)]
    assert [run.state for run in runs] == ["RUNNING", "FAILED", *["COMPLETE"] * 4]
    assert [run.counts for run in runs] == [
        {},
        {"COMPLETE": 1, "FAILED": 1},
        {"CACHED": 4},
        {"COMPLETE": 4},
        {"CACHED": 4},
        {"COMPLETE": 4},
    ]
    assert query.runs(history.store, 2) == runs[:2]
    first = runs[-1]
    assert first.pipeline == "flights"
    assert first.display_name == "flights-0"
    assert first.root == str(history.root / "flights/flights-0")
    assert first.parameters == {"data_uri": "/data/flights.csv", "db_password": "***"}
    assert first.properties == {"code_version": "0.1.0", "host": "analytical", "user": "ada"}
    assert before.replace(microsecond=0) <= first.started <= first.finished
    assert 0 <= first.seconds < 60
    assert (runs[0].finished, runs[0].seconds) == (None, None)
    assert runs[1].error == "statistics-gen failed"


def test_no_runs(history):
    assert query.runs(history.store) == []
    with pytest.raises(StoreError) as error:
        query.find_run(history.store, "x")
    assert str(error.value) == (
        f'There is no run "x": the lineage store {history.store.where} has none.'
    )
    with pytest.raises(StoreError, match='There is no run "latest"'):
        query.find_run(history.store, "latest")


class TestFindRun:
    """A run by its id, the beginning of one, or `latest`."""

    @pytest.fixture
    def store(self, history):
        for run_id in ("flights-10-aa", "flights-10-ab", "flights-1", "other_2", "otherX2b"):
            history.start(run_id)
        return history.store

    @pytest.mark.parametrize(
        ("text", "run_id"),
        [
            ("flights-10-aa", "flights-10-aa"),
            ("flights-1", "flights-1"),  # which also begins others
            ("flights-10-ab", "flights-10-ab"),
            ("other_", "other_2"),  # _ means itself
            ("otherX", "otherX2b"),
            ("latest", "otherX2b"),
        ],
    )
    def test_found(self, store, text, run_id):
        assert query.find_run(store, text).run_id == run_id

    def test_ambiguous(self, store):
        with pytest.raises(StoreError) as error:
            query.find_run(store, "flights-10-")
        assert str(error.value) == (
            '"flights-10-" matches 2 runs: flights-10-ab, flights-10-aa. Give more of the id.'
        )

    def test_very_ambiguous(self, history):
        for number in range(8):
            history.start(f"r{number}")
        with pytest.raises(StoreError, match=r"8 runs: r7, r6, r5, r4, r3 and 3 more\. Give"):
            query.find_run(history.store, "r")

    def test_nearest(self, store):
        with pytest.raises(StoreError) as error:
            query.find_run(store, "flihgts-10-aa")
        assert str(error.value) == (
            f'There is no run "flihgts-10-aa" in the lineage store {store.where}. `millrace runs` '
            'lists them. Did you mean "flights-10-aa"?'
        )

    @pytest.mark.parametrize("text", ["", "%", "flights%", "' OR 1=1", "\\", "größe", "a\0b"])
    def test_odd_text(self, store, text):
        with pytest.raises(StoreError, match="There is no run"):
            query.find_run(store, text)


def test_tasks(history):
    made = history.run("flights-1")
    history.run("flights-2")
    first, second = (
        query.tasks(history.store, query.find_run(history.store, f"flights-{number}"))
        for number in (1, 2)
    )
    names = ["example-gen", "statistics-gen", "schema-gen", "trainer"]
    assert [task.name for task in first] == [task.name for task in second] == names
    assert {task.name: task.outputs for task in first} == made
    assert {task.name: task.outputs for task in second} == made
    trainer = first[-1]
    assert trainer.kind == Kind.CONTAINER
    assert trainer.run_id == "flights-1"
    assert trainer.image == "millrace-core:0.1.0"
    assert trainer.fingerprint == "trainer.rows"
    assert trainer.parameters == {"seed": 1, "module_file": ""}
    assert trainer.results == {"rows": 12}
    assert trainer.inputs == {
        "examples": made["example-gen"]["examples"],
        "schema": made["schema-gen"]["schema"],
    }
    assert trainer.cached_from is None
    assert second[-1].cached_from == trainer.id
    assert second[-1].state == "CACHED"


def test_a_failed_task(history):
    history.fail("flights-1", error="no column x")
    tasks = query.tasks(history.store, query.find_run(history.store, "flights-1"))
    assert [(task.state, task.error) for task in tasks] == [
        ("COMPLETE", ""),
        ("FAILED", "no column x"),
    ]
    assert tasks[1].properties == {"log": "/logs/log.txt"}


def test_nested_tasks_have_paths(history):
    run = history.start("flights-1")
    loop = run.start_task("for-loop-1", kind=Kind.DAG)
    for index in range(2):
        each = run.start_task(
            "body", kind=Kind.DAG, parent=loop, properties={"iteration_index": index}
        )
        run.finish_task(run.start_task("train", parent=each), State.COMPLETE)
    found = query.find_run(history.store, "flights-1")
    assert found.counts == {"COMPLETE": 2}
    assert [task.name for task in query.tasks(history.store, found)] == [
        "for-loop-1",
        "for-loop-1/body[0]",
        "for-loop-1/body[0]/train",
        "for-loop-1/body[1]",
        "for-loop-1/body[1]/train",
    ]


def test_json(history):
    history.run("flights-1")
    run = query.find_run(history.store, "flights-1")
    document = run.to_json() | {
        "tasks": [task.to_json() for task in query.tasks(history.store, run)]
    }
    assert document["run_id"] == "flights-1"
    assert document["tasks_by_state"] == {"COMPLETE": 4}
    assert datetime.fromisoformat(document["started"]).tzinfo is not None
    (model,) = document["tasks"][-1]["outputs"]["model"]
    assert model["type"] == "system.Model"
    assert model["metadata"]["rows"] == 1234


def test_a_task_of_a_run_that_another_pipeline_reads(history):
    """Tasks are those of the run's context, and not of artifacts that it shares."""
    made = history.run("flights-1")["trainer"]["model"][0]
    other = RunRecord.start(history.store, "serving", "serving-1", "/r")
    other.start_task("push", inputs={"model": [made]})
    for run_id, number in (("flights-1", 4), ("serving-1", 1)):
        run = query.find_run(history.store, run_id)
        assert len(query.tasks(history.store, run)) == number
