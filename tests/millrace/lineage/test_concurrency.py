"""Many processes write one SQLite store at once, and any may be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from millrace.lineage import query
from millrace.lineage.cache import find
from millrace.lineage.nodes import ArtifactRecord, State
from millrace.lineage.record import RunRecord
from millrace.lineage.store import Store

WRITER = """
import sys, time
from millrace.lineage.nodes import ArtifactRecord, State
from millrace.lineage.record import RunRecord
from millrace.lineage.store import Store

path, number, tasks = sys.argv[1], sys.argv[2], int(sys.argv[3])
while sys.stdin.read(1) != "g":
    pass
with Store.open(path) as store:
    run = RunRecord.start(store, "flights", f"flights-{number}", f"/root/{number}")
    print("started", flush=True)
    for index in range(tasks):
        task = run.start_task(f"task-{index}", fingerprint=f"{number}.{index}")
        record = ArtifactRecord("x", f"/root/{number}/{index}", metadata={"digest": "aa"})
        run.finish_task(task, State.COMPLETE, outputs={"x": [record]})
        print(index, flush=True)
    run.finish(State.COMPLETE)
"""


def writer(path: Path, number: int, tasks: int) -> subprocess.Popen:
    command = [sys.executable, "-c", WRITER, str(path), str(number), str(tasks)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_eight_processes_lose_nothing(tmp_path):
    """They also create the store at the same time."""
    path, tasks = tmp_path / "metadata.sqlite", 25
    writers = [writer(path, number, tasks) for number in range(8)]
    for one in writers:
        one.stdin.write("g")
        one.stdin.flush()
    for one in writers:
        _, errors = one.communicate(timeout=120)
        assert one.returncode == 0, errors
        assert not errors
    with Store.open(path) as store:
        runs = {run.run_id: run for run in query.runs(store)}
        assert set(runs) == {f"flights-{number}" for number in range(8)}
        assert len(store.call("get_contexts_by_type", "system.Pipeline")) == 1
        assert {run.pipeline for run in runs.values()} == {"flights"}
        for number in range(8):
            run = runs[f"flights-{number}"]
            assert (run.state, run.counts) == ("COMPLETE", {"COMPLETE": tasks})
            for index, task in enumerate(query.tasks(store, run)):
                assert task.name == f"task-{index}"
                (record,) = task.outputs["x"]
                assert record.uri == f"/root/{number}/{index}"
            assert find(store, "flights", f"{number}.{tasks - 1}")


@pytest.mark.parametrize("moment", [0.0, 0.003, 0.011])
def test_a_killed_process_leaves_a_good_store(tmp_path, moment):
    path = tmp_path / "metadata.sqlite"
    one = writer(path, 1, 10_000)
    one.stdin.write("g")
    one.stdin.flush()
    seen = [one.stdout.readline() for _ in range(4)]
    assert seen[0] == "started\n"
    time.sleep(moment)
    os.kill(one.pid, signal.SIGKILL)
    rest, _ = one.communicate()
    last = int([*seen, *rest.split()][-1])
    with Store.open(path) as store:
        (run,) = query.runs(store)
        assert run.state == "RUNNING"
        assert run.finished is None
        tasks = query.tasks(store, run)
        assert [task.state for task in tasks[: last + 1]] == ["COMPLETE"] * (last + 1)
        assert len(tasks) <= last + 3
        for task in tasks[: last + 1]:  # complete, or absent
            assert len(task.outputs["x"]) == 1
        later = RunRecord.start(store, "flights", "flights-2", "/root/2")
        task = later.start_task("more")
        later.finish_task(task, State.COMPLETE, outputs={"x": [ArtifactRecord("x", "/x")]})
        later.finish(State.COMPLETE)
        assert query.find_run(store, "flights-2").state == "COMPLETE"


def test_one_writes_while_another_reads(tmp_path):
    path = tmp_path / "metadata.sqlite"
    one = writer(path, 1, 60)
    one.stdin.write("g")
    one.stdin.flush()
    assert one.stdout.readline() == "started\n"
    seen = []
    with Store.open(path, create=False) as store:
        while one.poll() is None:
            (run,) = query.runs(store)
            seen.append(sum(run.counts.values()))
        (run,) = query.runs(store)
    one.communicate()
    assert seen == sorted(seen)
    assert run.counts == {"COMPLETE": 60}
    assert run.state == "COMPLETE"
