"""Deleting what nothing needs: real files, a real store, and processes that come in between."""

import itertools
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_metadata.proto import metadata_store_pb2 as pb

from millrace.errors import PipelineError
from millrace.lineage import deletion, query, verify
from millrace.lineage.cache import find
from millrace.lineage.nodes import ArtifactRecord, Run
from millrace.lineage.record import RunRecord
from millrace.lineage.retention import Filter
from millrace.lineage.store import Store
from millrace.runner import garbage, kept
from millrace.runner.result import State
from millrace.runner.run import resume
from millrace.runner.run import run as run_pipeline
from millrace.storage import digest
from millrace.storage import store as storage

EVERYTHING = Filter()
MADE = ["example-gen/examples", "statistics-gen/statistics", "schema-gen/schema", "trainer/model"]


def collector(store, home, wanted=EVERYTHING) -> garbage.Collector:
    return garbage.Collector(store, home, wanted, lambda run: run)


def delete(history, wanted=EVERYTHING) -> garbage.Result:
    return collector(history.store, history.root, wanted).delete("ada", "because")


def names(found) -> list[str]:
    return ["/".join(Path(one.artifact.uri).parts[-2:]) for one in found]


def states(store) -> dict[str, set[str]]:
    """The states of the artifacts with files, by what lies at their place."""
    found = {"there": set(), "gone": set()}
    for message in store.call("get_artifacts"):
        if "digest" in message.custom_properties and message.type != "system.Dataset":
            there = "there" if Path(message.uri).exists() else "gone"
            found[there].add(pb.Artifact.State.Name(message.state))
    return found


def test_files_go_and_records_stay(history):
    history.run("flights-1")
    folder = history.root / "flights/flights-1"
    (folder / "trainer/log.txt").write_text("a log")
    planned = collector(history.store, history.root).plan()
    assert names(planned.plan.deletable) == MADE
    assert states(history.store) == {"there": {"LIVE"}, "gone": set()}
    assert names(delete(history).plan.deletable) == MADE
    assert states(history.store) == {"there": set(), "gone": {"DELETED"}}
    left = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    assert sorted(left) == ["trainer", "trainer/log.txt"]
    run = query.find_run(history.store, "flights-1")
    for task in query.tasks(history.store, run):
        for port, (record,) in task.outputs.items():
            assert record.deleted is (port != "metrics")
    assert verify.verify(verify.live_artifacts(history.store))[0].verdict == "not checked"
    assert delete(history).plan.deletable == []
    history.run("flights-2")
    made = query.find_run(history.store, "flights-2")
    assert {task.state for task in query.tasks(history.store, made)} == {"COMPLETE"}


PROGRAM = """
import os, signal, sys
from pathlib import Path
from millrace.lineage.retention import Filter
from millrace.lineage.store import Store
from millrace.runner import garbage
from millrace.storage import store as storage

root, count, remove = Path(sys.argv[1]), int(sys.argv[2]), storage.remove

def killed(uri):
    global count
    if count == 0:
        next(Path(uri).rglob("*.txt")).unlink()  # half of it is gone
        os.kill(os.getpid(), signal.SIGKILL)
    count -= 1
    remove(uri)

storage.remove = killed
with Store.open(root / "metadata.sqlite") as store:
    garbage.Collector(store, root, Filter(), lambda run: run).delete("ada", "because")
"""


@pytest.mark.parametrize("count", [0, 2])
def test_a_kill_leaves_nothing_that_passes_for_whole(history, count):
    history.run("flights-1")
    command = [sys.executable, "-c", PROGRAM, str(history.root), str(count)]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    assert states(history.store)["there"] == {"MARKED_FOR_DELETION"}
    assert find(history.store, "flights", "trainer.rows") is None
    findings = verify.verify(verify.live_artifacts(history.store))
    assert {finding.verdict.value for finding in findings} == {"not checked"}
    planned = collector(history.store, history.root).plan()
    assert names(planned.plan.deletable) == MADE, "the next one goes on with it"
    delete(history)
    assert states(history.store) == {"there": set(), "gone": {"DELETED"}}


def test_a_link_out_of_the_run_is_not_followed(history):
    history.run("flights-1")
    folder = history.root / "flights/flights-1/trainer"
    folder.rename(history.root / "trainer")
    folder.symlink_to(history.root / "trainer")
    result = delete(history)
    assert names(result.plan.deletable) == MADE[:3]
    assert list(result.failed.values()) == [
        f"{folder}/model is left alone: a link leads out of the run's folder."
    ]
    assert (history.root / "trainer/model/a.txt").is_file()
    assert states(history.store) == {"there": {"MARKED_FOR_DELETION"}, "gone": {"DELETED"}}
    folder.unlink()
    (history.root / "trainer").rename(folder)
    assert names(delete(history).plan.deletable) == MADE[3:]
    assert not folder.exists()


def test_a_run_that_a_process_holds_is_left_alone(history):
    history.run("flights-1")
    with kept.lock(history.root / "flights/flights-1"):
        result = delete(history)
    assert result.plan.deletable == []
    assert result.choice.left == {"flights-1": "it is going on"}
    assert states(history.store) == {"there": {"LIVE"}, "gone": set()}


def test_one_deletes_at_a_time(history):
    history.run("flights-1")
    with (
        garbage.exclusive(history.root),
        pytest.raises(PipelineError, match="Another `millrace gc` is deleting in"),
    ):
        delete(history)


def meanwhile(monkeypatch, act):
    """Does something between the first plan and the marks."""
    mark = deletion.mark

    def late(*arguments):
        act()
        mark(*arguments)

    monkeypatch.setattr(deletion, "mark", late)


def test_a_result_that_was_taken_meanwhile_stays(history, monkeypatch):
    history.run("flights-1")
    running = history.start("flights-2")
    cached = find(history.store, "flights", "trainer.rows")
    meanwhile(monkeypatch, lambda: running.cached_task("trainer", cached=cached))
    result = delete(history)
    assert result.plan.deletable == [], "what the model was made from may be pushed with it"
    assert states(history.store) == {"there": {"LIVE"}, "gone": set()}


def test_a_run_that_was_pinned_or_resumed_meanwhile_stays(history, monkeypatch):
    history.run("flights-1")
    meanwhile(monkeypatch, lambda: deletion.pin(history.store, "flights-1"))
    assert delete(history).plan.deletable == []
    assert states(history.store) == {"there": {"LIVE"}, "gone": set()}


def test_a_run_that_was_resumed_after_the_second_look_stays(history, monkeypatch):
    history.run("flights-1")
    find_run = query.find_run

    def resumed(store, run_id):
        (root,) = store.call("get_executions_by_type", "system.DAGExecution")
        root.custom_properties["resumed_at"].string_value = "now"
        store.put_execution(root, [], [])
        return find_run(store, run_id)

    monkeypatch.setattr(query, "find_run", resumed)
    result = delete(history)
    assert result.choice.left == {"flights-1": "it is going on"}
    assert states(history.store) == {"there": {"LIVE"}, "gone": set()}


@pytest.fixture
def failed(kit, tmp_path):
    """A run whose second task failed for a reason that can be mended."""

    def mended(module_file: str):
        first = kit.play(text="kept")
        kit.play(do="load", module_file=module_file, data=first.outputs["out"])

    module = tmp_path / "value.py"
    module.write_text("VALUE = undefined\n")

    def start(root):
        result = run_pipeline(str(kit.compile(mended)), {"module_file": str(module)}, root=root)
        assert result.state is State.FAILED
        module.write_text("VALUE = 'right'\n")
        return result

    return start


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_resumed_run_makes_again_what_was_deleted(failed, root, monkeypatch, is_killed):
    before = failed(root)
    (was,) = before.tasks["play"].artifacts["out"]
    with Store.open(before.store) as store:
        if is_killed:  # before it could remove a file
            deletion.mark(store, [was.id], "ada", "because")
        else:
            found = collector(store, root).delete("ada", "because")
            assert names(found.plan.deletable) == ["play/out"]
            assert not Path(was.uri).exists()
    result = resume(before.run_id, root=root)
    assert result.state is State.COMPLETE, result.error
    (now,) = result.tasks["play"].artifacts["out"]
    assert (now.uri, now.id != was.id) == (was.uri, True)
    with Store.open(before.store) as store:
        deletion.pin(store, before.run_id)
        assert collector(store, root).delete("ada", "because").plan.deletable == []
    assert digest.of(Path(now.uri)).hexdigest == now.metadata["digest"]


def test_what_a_failed_task_has_left(kit, run, root):
    """No record names it; another run may have been given it as data."""

    def half():
        first = kit.play(text="first")
        kit.play(do="exit", text="half", data=first.outputs["out"])
        kit.play(do="exit", text="read").set_display_name("Read")

    def reading(data_uri: str):
        kit.play(data_uri=data_uri)

    before = run(kit.compile(half))
    left, read = (before.folder / name / "out/half" for name in ("play-2", "play-3"))
    assert (left.read_text(), read.read_text()) == ("half", "read")
    other = run(kit.compile(reading), {"data_uri": str(read)})
    with Store.open(before.store) as store:
        wanted = Filter(states=["FAILED"], root=str(root))
        planned = collector(store, root, wanted).plan()
        files = [path for path in before.folder.glob("play-[23]/**/*") if path.is_file()]
        sizes = [path.stat().st_size for path in files if path.name != "log.txt" and path != read]
        assert planned.leftovers == {before.run_id: sum(sizes)}
        found = collector(store, root, wanted).delete("ada", "because")
        assert found.leftovers == planned.leftovers
        again = collector(store, root, wanted).plan()
        assert (again.plan.deletable, again.leftovers) == ([], {})
    assert [path.name for path in (before.folder / "play-2").iterdir()] == ["log.txt"]
    assert read.read_text() == "read"
    assert other.state is State.COMPLETE
    assert run(kit.compile(reading), {"data_uri": str(read)}).tasks["play"].state is State.CACHED


def test_artifacts_in_an_object_store(failed, s3, tmp_path, monkeypatch):
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    root = f"s3://{s3.bucket}/{tmp_path.name}"
    before = failed(root)
    (was,) = before.tasks["play"].artifacts["out"]
    storage.write_bytes(f"{root}/other/file", b"of somebody else")
    with Store.open(before.store) as store:
        home, wanted = tmp_path / "home", Filter(root=root)
        elsewhere = collector(store, home, Filter(root=f"s3://{s3.bucket}/else")).plan()
        assert elsewhere.choice.left == {before.run_id: "it lies in another root"}
        found = collector(store, home, wanted).delete("ada", "because")
        assert [one.artifact.uri for one in found.plan.deletable] == [was.uri]
        assert not storage.exists(was.uri)
        assert storage.exists(f"{root}/other/file")
    assert resume(before.run_id, root=root).state is State.COMPLETE
    assert storage.read_bytes(f"{was.uri}/text") == b"kept"


NUMBERS = itertools.count()


def write(place: Path) -> ArtifactRecord:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"{place}")
    return ArtifactRecord("y", str(place), "system.Model", metadata=digest.of(place).metadata())


class Truth:
    """What is known of artifacts without asking the store.

    Attributes:
        read: What each artifact was made from, by its maker and, as `maybe`, by cached tasks too.
        maker: The run whose task made it.
        used: What each run has read and made.
        places: Where it lies.
        pushed: The pushed models of tasks that ended well.
    """

    def __init__(self) -> None:
        self.read: dict[int, set[int]] = {}
        self.maybe: dict[int, set[int]] = {}
        self.maker: dict[int, str] = {}
        self.used: dict[str, set[int]] = {}
        self.places: dict[int, Path] = {}
        self.pushed: set[int] = set()

    def add(self, run: str, inputs: list[ArtifactRecord], made: ArtifactRecord, own: bool) -> None:
        ids = {one.id for one in inputs if one.id is not None}
        if own:
            self.read[made.id], self.maker[made.id] = ids, run
            self.places[made.id] = Path(made.uri)
        self.maybe.setdefault(made.id, set()).update(ids)
        self.used.setdefault(run, set()).update(ids, [made.id])

    def upstream(self, ids: set[int], parents: dict[int, set[int]]) -> set[int]:
        found = set(ids)
        while more := {one for number in found for one in parents.get(number, ())} - found:
            found |= more
        return found

    def needed(self, runs: list[Run], chosen: set[str], parents: dict[int, set[int]]) -> set[int]:
        whole = set(self.pushed)
        for run in runs:
            if run.pinned or run.state == "RUNNING":
                whole |= self.used.get(run.run_id, set())
        kept = [self.used.get(run.run_id, set()) for run in runs if run.run_id not in chosen]
        return self.upstream(whole, parents).union(*kept)


@pytest.mark.parametrize("how", ["pushed", "pinned", "going on", "kept", "nothing"])
@settings(max_examples=4)
@given(data=st.data())
def test_what_must_stay_is_there_and_nothing_else(quick_path, how, data):
    """Whatever was run, cached, pushed, pinned, chosen, or is still going on.

    The last run reads an artifact, and is the reason why what that was made from must stay.
    """
    home = quick_path / f"home-{next(NUMBERS)}"
    home.mkdir()
    seldom = st.sampled_from([False, False, False, True])
    with Store.open(home / "metadata.sqlite") as store:
        outside = write(home.with_name(f"{home.name}-outside"))
        truth, made = Truth(), [outside]

        def task(run: RunRecord, name: str, inputs: list[ArtifactRecord]) -> None:
            key = data.draw(st.sampled_from(["", "", "a", "b"]), "key")
            if key and (cached := find(store, "p", key)):
                run.cached_task("t", inputs={"x": inputs}, fingerprint=key, cached=cached)
                truth.add(name, inputs, cached.outputs["y"][0], own=False)
                return
            number = run.start_task("t", inputs={"x": inputs}, fingerprint=key)
            record = write(home / "p" / name / str(len(made)) / "y")
            is_pushed = data.draw(seldom, "pushed")
            record.schema_title = "system.PushedModel" if is_pushed else "system.Model"
            state = State.FAILED if data.draw(seldom, "failed") else State.COMPLETE
            (record,) = run.finish_task(number, state, outputs={"y": [record]})["y"]
            made.append(record)
            truth.add(name, inputs, record, own=True)
            if is_pushed and state == State.COMPLETE:
                truth.pushed.add(record.id)

        count = data.draw(st.integers(2, 4), "runs")
        for number in range(count):
            name = f"run-{number}"
            run = RunRecord.start(store, "p", name, str(home / "p" / name))
            for _ in range(data.draw(st.integers(1, 3), "tasks")):
                some = st.lists(st.sampled_from(made[-4:]), max_size=1)
                task(run, name, [made[-1], *data.draw(some)])
            if number and data.draw(seldom, "going on"):
                continue
            run.finish(State.COMPLETE)
            if number and data.draw(seldom, "pinned"):
                deletion.pin(store, name)

        last = RunRecord.start(store, "p", "run-last", str(home / "p/run-last"))
        reading = last.start_task("t", inputs={"x": [made[-1]]})
        record = write(home / "p/run-last/y")
        record.schema_title = "system.PushedModel" if how == "pushed" else "system.Model"
        (record,) = last.finish_task(reading, State.COMPLETE, outputs={"y": [record]})["y"]
        truth.add("run-last", [made[-1]], record, own=True)
        if how == "pushed":
            truth.pushed.add(record.id)
        if how != "going on":
            last.finish(State.COMPLETE)
        deletion.pin(store, "run-last", how == "pinned")

        runs = query.runs(store)
        past = datetime.now(timezone.utc) + timedelta(hours=1)
        keep = int(how == "kept")
        gc = collector(store, home, Filter(before=past, keep_last=keep, root=str(home)))
        planned = gc.plan()
        assert gc.plan() == planned
        result = gc.delete("ada", "because")
        assert not result.failed
        assert sorted(names(result.plan.deletable)) == sorted(names(planned.plan.deletable))
        again = gc.plan()
        assert again.plan.deletable == []
        assert again.plan.needed == result.plan.needed

        chosen = {run.run_id for run in result.choice.runs}
        assert ("run-last" in chosen) is (how in ("pushed", "nothing"))
        gone = {number for number, place in truth.places.items() if not place.exists()}
        assert gone == {one.artifact.id for one in result.plan.deletable}
        assert not gone & truth.needed(runs, chosen, truth.read)
        unneeded = truth.places.keys() - truth.needed(runs, chosen, truth.maybe)
        assert {one for one in unneeded if truth.maker[one] in chosen} <= gone
        for number in truth.places.keys() - gone:
            assert truth.places[number].read_text() == f"{truth.places[number]}"
        assert Path(outside.uri).exists()
