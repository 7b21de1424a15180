"""If a connection is cut between a commit and its answer, every record exists once."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from millrace.errors import StoreError
from millrace.lineage import query
from millrace.lineage.nodes import ArtifactRecord, CachedTask, Kind, State
from millrace.lineage.record import RunRecord
from millrace.lineage.store import Store

PROXY = Path(__file__).with_name("cutting_proxy.py")


@pytest.fixture(params=["mysql", "postgresql"])
def cut_store(request) -> Iterator[tuple[Store, Callable[[], int]]]:
    """A store, and a function that has its connection cut at the next commit."""
    server, _, port = request.getfixturevalue(request.param).rpartition(":")
    with subprocess.Popen(
        [sys.executable, PROXY, port], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as proxy:
        assert proxy.stdin
        assert proxy.stdout
        port = proxy.stdout.readline().strip()

        def cut() -> int:
            proxy.stdin.write("cut\n")
            proxy.stdin.flush()
            return int(proxy.stdout.readline())

        with Store.open(f"{server}:{port}/mlmd_cut_{time.time_ns()}") as store:
            yield store, cut
        proxy.stdin.close()


def test_every_record_is_there_once(cut_store):
    store, cut = cut_store
    _make_types(store)
    cut()
    run = RunRecord.start(store, "p", "r", "/root")
    cut()
    read = [ArtifactRecord("data", "/data", "system.Dataset")]
    task = run.start_task("t", inputs={"data": read}, fingerprint="f")
    cut()
    made = run.finish_task(
        task,
        State.COMPLETE,
        outputs={"x": [ArtifactRecord("x", f"/x{number}", "system.Dataset") for number in (1, 2)]},
    )
    cut()
    run.cached_task("again", inputs=made, cached=CachedTask(task, {}, made))
    cut()
    imported = run.start_task("import", Kind.IMPORTER)
    cut()
    run.finish_task(imported, State.COMPLETE, outputs={"y": made["x"]})
    cut()
    run.finish(State.COMPLETE)
    assert cut() == 7

    found = query.find_run(store, "r")
    assert found.state == "COMPLETE"
    tasks = query.tasks(store, found)
    assert [task.name for task in tasks] == ["t", "again", "import"]
    assert [record.uri for record in tasks[0].inputs["data"]] == ["/data"]
    assert tasks[0].outputs == made
    assert tasks[1].outputs == made
    assert tasks[2].outputs == {"y": made["x"]}
    assert len(store.call("get_artifacts_by_type", "system.Dataset")) == 1 + 3
    assert len(store.call("get_executions_by_type", Kind.DAG)) == 2


def _make_types(store: Store) -> None:
    """Creates the types of a run, so that the next commit is a record."""
    run = RunRecord.start(store, "p", "earlier", "/root")
    record = ArtifactRecord("x", "/earlier", "system.Dataset")
    for kind in (Kind.CONTAINER, Kind.IMPORTER):
        task = run.start_task("t", kind, fingerprint="earlier")
        run.finish_task(task, State.COMPLETE, outputs={"x": [record]})


def test_a_second_run_of_an_id_is_still_refused(cut_store):
    store, cut = cut_store
    _make_types(store)
    RunRecord.start(store, "p", "r", "/root")
    cut()
    with pytest.raises(StoreError, match="There is a run r in the lineage store"):
        RunRecord.start(store, "p", "r", "/root")
