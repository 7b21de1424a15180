"""Every kind of store keeps the same lineage, and reports failures alike."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from millrace.errors import StoreError
from millrace.lineage import deletion, provenance, query, resume, values, verify
from millrace.lineage.cache import find as cached
from millrace.lineage.find import find
from millrace.lineage.nodes import ArtifactRecord, State
from millrace.lineage.record import RunRecord
from millrace.lineage.retention import Filter
from millrace.lineage.store import Store
from millrace.runner import garbage, kept

ODD = 'it\'s \\ "größe" 😀 %s\n{}'


def test_a_history(anywhere, history):
    """SQLite, MySQL, PostgreSQL and a gRPC server return the same for the same runs."""
    with Store.open(anywhere) as store:
        elsewhere = dataclasses.replace(history, store=store, made={})
        for one in (history, elsewhere):
            one.run("flights-1")
            one.run("flights-2")
            one.run("flights-3", data="other rows")
            one.fail("flights-4")
        assert content(store) == content(history.store)


def content(store: Store) -> str:
    runs = query.runs(store)
    model = find(store, "flights-3/trainer/model").artifact
    examples = find(store, "flights-1/example-gen/examples").artifact
    by_digest = find(store, str(model.metadata["digest"])[:20])
    document = {
        "runs": [run.to_json() for run in runs],
        "tasks": [task.to_json() for run in runs for task in query.tasks(store, run)],
        "up": provenance.upstream(store, [model.id]).to_json(),
        "down": provenance.downstream(store, [examples.id]).to_json(),
        "digest": by_digest.artifact.to_json(),
        "place": find(store, model.uri + "/deep/b.txt").artifact.to_json(),
        "outside": find(store, "/data/flights.csv").readers,
        "verdicts": [one.to_json() for one in verify.verify(verify.live_artifacts(store))],
        "cached": dataclasses.asdict(cached(store, "flights", "trainer.rows")),
    }
    return json.dumps(_timeless(document), indent=1)


def test_deleting_what_nothing_needs(anywhere, history, tmp_path):
    """`millrace gc` finds, marks and deletes the same, and a later run makes it again."""
    with Store.open(anywhere) as store:
        elsewhere = dataclasses.replace(history, store=store, root=tmp_path / "other", made={})
        assert deleted(elsewhere) == deleted(history)
        assert cached(store, "flights", "trainer.other rows") is None
        elsewhere.run("flights-5", data="other rows")
        run = query.find_run(store, "flights-5")
        assert {task.state for task in query.tasks(store, run)} == {"COMPLETE"}


def deleted(history) -> list[list[str]]:
    """Deletes what some runs have made, and tells what was planned and what is left."""
    for run_id, data in [("1", "rows"), ("2", "rows"), ("3", "other rows"), ("4", "pinned rows")]:
        history.run(f"flights-{run_id}", data=data)
    history.start("flights-going-on")
    deletion.pin(history.store, "flights-4")
    wanted = Filter(pipelines=["flights"], root=str(history.root))
    collector = garbage.Collector(history.store, history.root, wanted, lambda run: run)
    (history.root / "flights/flights-2").mkdir(exist_ok=True)
    with kept.lock(history.root / "flights/flights-2"):  # it has taken what flights-1 made
        planned = collector.plan()
        found = collector.delete("ada", "because it's \\ old")
    assert [one.run_id for one in found.plan.deletable] == ["flights-3"] * 4
    assert not list((history.root / "flights/flights-3").iterdir())
    return [
        [f"{one.run_id} {one.artifact.uri.rpartition('/')[2]} {one.why}" for one in part]
        for part in (planned.plan.deletable, found.plan.deletable, found.plan.needed)
    ] + [
        sorted(
            f"{Path(one.uri).name} {pb.Artifact.State.Name(one.state)}"
            f" {values.text(one, 'delete_reason')}"
            for one in history.store.call("get_artifacts")
        ),
        [f"{name}: {why}" for name, why in found.choice.left.items()],
    ]


def _timeless(value):
    if isinstance(value, dict):
        return {
            key: _timeless(item)
            for key, item in value.items()
            if key not in ("started", "finished", "seconds")
        }
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def test_odd_and_large_content(anywhere):
    metadata = {
        "text": ODD,
        "list": [ODD, 1, 0.66672341],
        "object": {ODD: [{"a": ODD}]},
        "large": "x" * 100_000,
        "roc": [{"fpr": index / 3_000, "tpr": 0.1} for index in range(3_000)],
        "small": 1e-12,
        "bytes": 5_000_000_000,
        "flag": True,
    }
    parameters = {"query": "SELECT * " + "y" * 20_000, "odd": ODD, "none": None}
    with Store.open(anywhere) as store:
        run = RunRecord.start(store, "p", "r", f"/root/{ODD}", ODD, parameters, {"note": ODD})
        task = run.start_task("t", display_name=ODD, parameters=parameters, fingerprint="f")
        made = run.finish_task(
            task,
            State.COMPLETE,
            parameters=parameters,
            outputs={"x": [ArtifactRecord("x", "/größe 😀/it's", metadata=metadata)]},
            properties={"peak_memory_bytes": 3_000_000_000, "attempts": 1, "log": ODD},
        )
        found = query.find_run(store, "r")
        (read,) = query.tasks(store, found)
        assert found.parameters == parameters
        assert found.display_name == ODD
        assert found.root == f"/root/{ODD}"
        assert found.properties["note"] == ODD
        assert read.parameters == read.results == parameters
        assert read.properties["peak_memory_bytes"] == 3_000_000_000
        assert read.properties["log"] == ODD
        assert read.outputs == made
        assert read.outputs["x"][0].metadata == metadata
        assert find(store, "/größe 😀/it's/deep").artifact.id == made["x"][0].id
        assert cached(store, "p", "f").outputs == made


def test_a_backslash_in_an_address(anywhere):
    with Store.open(anywhere) as store:
        run = RunRecord.start(store, "p", "r", "/root")
        task = run.start_task("t")
        record = ArtifactRecord("x", "/a\\b'); DROP TABLE Artifact; --")
        made = run.finish_task(task, State.COMPLETE, outputs={"x": [record]})
        assert find(store, "/a\\b'); DROP TABLE Artifact; --").artifact.id == made["x"][0].id
        with pytest.raises(StoreError, match="There is no artifact"):
            find(store, "\\'; DROP TABLE Artifact; --")
        with pytest.raises(StoreError, match="There is no run"):
            query.find_run(store, "\\'; DROP TABLE Artifact; --")


@pytest.mark.parametrize("name", ["a\\b", "it's \\"])
def test_the_cache_finds_results_of_a_pipeline_with_a_backslash(anywhere, name):
    made = {"x": [ArtifactRecord("x", "/x")]}
    with Store.open(anywhere) as store:
        run = RunRecord.start(store, name, "r", "/root")
        run.finish_task(run.start_task("t", fingerprint="1"), State.COMPLETE, outputs=made)
        assert cached(store, name, "1")
        run.finish(State.FAILED)
        again, _ = resume.reopen(store, name, "r", {})
        again.finish_task(again.start_task("t2", fingerprint="2"), State.COMPLETE, outputs=made)
        assert cached(store, name, "2")


BREAKS_OUT = "\\'); UPDATE artifact SET uri = 'hacked'; --"


def test_no_name_speaks_sql(anywhere):
    """Names of types, ports, metadata and properties come from pipelines and from steps."""
    for odd in (BREAKS_OUT, "it's \\", "\\", "größe 😀", "nul \0"):
        with Store.open(anywhere) as store:
            run = RunRecord.start(store, "p", f"r-{time.time_ns()}", "/root")
            record = ArtifactRecord("x", "/x", schema_title=f"own.{odd}", metadata={odd: odd})
            inputs = {f"in {odd}": [dataclasses.replace(record, uri="/in")]}
            task = run.start_task("t", parameters={odd: odd}, inputs=inputs, properties={odd: odd})
            made = run.finish_task(task, State.COMPLETE, outputs={odd: [record]})
            (read,) = query.tasks(store, query.find_run(store, "latest"))
            is_postgresql = anywhere.startswith("postgresql")
            shown = odd.replace("\0", "\N{REPLACEMENT CHARACTER}")
            held = shown.replace("\\", "%5C") if is_postgresql else shown
            assert read.parameters == {shown: shown}
            assert list(read.outputs) == [held]
            assert list(read.inputs) == [f"in {held}"]
            assert read.outputs[held][0].metadata == {shown: shown}
            assert read.outputs[held][0].schema_title == f"own.{held}"
            assert read.outputs[held][0].uri == "/x"
            assert read.outputs[held][0].id == made[odd][0].id
            assert store.call("get_context_by_type_and_name", "system.Pipeline", odd) is None
        with Store.open(anywhere) as store:
            assert store.artifact_type(f"own.{odd}") == store.artifact_type(f"own.{odd}")


def test_a_run_id_is_used_once(anywhere):
    with Store.open(anywhere) as store:
        RunRecord.start(store, "p", "r", "/root")
        with pytest.raises(StoreError, match="There is a run r in the lineage store"):
            RunRecord.start(store, "p", "r", "/root")


@pytest.mark.parametrize("scheme", ["mysql", "postgresql"])
def test_a_wrong_password(request, scheme):
    address = request.getfixturevalue(scheme).replace("p%40ss%2Fw%3Ard", "wrong")
    with pytest.raises(StoreError) as error:
        Store.open(f"{address}/mlmd")
    shown = address.replace("wrong", "***")
    assert str(error.value) == (
        f"The lineage store {shown}/mlmd refuses the connection: check user, password and "
        "database, and that the server lets this host in."
    )


def test_a_database_that_the_user_may_not_use(mysql):
    with pytest.raises(StoreError) as error:
        Store.open(f"{mysql}/other")
    assert str(error.value).endswith(
        "/other refuses the connection: Access denied for user 'millrace'@'localhost' to database "
        "'other'."
    )


@pytest.mark.parametrize("scheme", ["mysql", "postgresql"])
def test_a_connection_that_was_closed_is_made_anew(request, scheme):
    server = request.getfixturevalue(scheme)
    close = request.getfixturevalue(f"{scheme}_close")
    with Store.open(f"{server}/mlmd_closed") as store:
        run = RunRecord.start(store, "p", f"r-{time.time_ns()}", "/root")
        for _ in range(2):
            task = run.start_task("t")
            close()
            run.finish_task(task, State.COMPLETE, outputs={"x": [ArtifactRecord("x", "/x")]})
            (message,) = store.call("get_executions_by_id", [task])
            assert message.last_known_state == pb.Execution.COMPLETE
            assert len(store.call("get_events_by_execution_ids", [task])) == 1
        run.finish(State.COMPLETE)


def test_a_grpc_server_that_is_restarted(grpc_servers):
    first = grpc_servers()
    with Store.open(first.address) as store:
        run = RunRecord.start(store, "p", "r", "/root")
        first.stop()
        again = threading.Timer(1, lambda: grpc_servers(first.port))
        again.start()
        run.finish(State.COMPLETE)
        again.join()


def test_a_grpc_server_that_stays_away(grpc_servers, monkeypatch):
    from millrace.lineage import store as module

    monkeypatch.setattr(module, "_RECONNECTING", 0.5)
    server = grpc_servers()
    with Store.open(server.address) as store:
        run = RunRecord.start(store, "p", "r", "/root")
        server.stop()
        with pytest.raises(StoreError) as error:
            run.finish(State.COMPLETE)
    assert str(error.value) == (
        f"The lineage store {server.address} cannot be reached: connection refused. Check that the "
        "server runs, its host and its port."
    )


def test_a_server_that_speaks_no_mlmd():
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with pytest.raises(StoreError) as error:
        Store.open(f"grpc://127.0.0.1:{port}")
    server.stop(None)
    assert str(error.value) == (
        f"The lineage store grpc://127.0.0.1:{port} is not an ML Metadata server: "
        "Method not found!."
    )
