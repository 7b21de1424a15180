"""`millrace gc`, `millrace run pin` and `unpin`: what they say, what they refuse, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from millrace.cli import gc, lineage, runs
from millrace.errors import MillraceError
from millrace.lineage.nodes import ArtifactRecord, State
from millrace.runner import garbage

NOTHING = gc.Wanted()
ALL = gc.Wanted(older_than="0h")


@pytest.fixture
def filled(history, monkeypatch):
    """Two runs of the same results, another, one that failed, and one that goes on."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(history.root))
    history.run("flights-1")
    history.run("flights-2")
    history.run("flights-3", data="others")
    history.fail("flights-4")
    history.start("flights-5")
    return history


def collect(history, wanted, delete=False, as_json=False) -> int:
    return gc.collect(wanted, delete, history.root, None, as_json)


def lines(capsys) -> list[str]:
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_a_dry_run_says_what_would_go_and_what_must_stay(filled, capsys):
    gc.pin("flights-2", filled.root, None, is_pinned=True, as_json=False)
    assert lines(capsys) == ["`millrace gc` keeps what flights-2 has read and made."]
    assert collect(filled, ALL) == 0
    said = lines(capsys)
    assert said[0] == "run state ended size artifacts"
    assert said[1].startswith("flights-3 complete")
    assert said[1].endswith(
        "182 B example-gen/examples, statistics-gen/statistics, schema-gen/schema, trainer/model"
    )
    assert said[2:] == [
        "",
        "to delete: 4 artifacts of 1 run, 182 B",
        "",
        "must stay: 4 artifacts, 166 B",
        "the pinned run flights-2 needs it 4 flights-1",
        "",
        "left alone:",
        "it is going on 1 flights-5",
        "it is pinned 1 flights-2",
        "",
        "Nothing was deleted: that takes --delete. Other roots that reuse these results with "
        "--cache-from are not known here: pin the runs that they need.",
    ]
    assert Path(filled.made["flights-3"]["trainer"]["model"][0].uri).is_dir()


def test_a_narrow_terminal_counts_artifacts(filled, capsys, monkeypatch):
    monkeypatch.setattr(gc, "_WIDE", 1_000)
    assert collect(filled, gc.Wanted(keep_last=2)) == 0
    said = lines(capsys)
    assert said[1].endswith("182 B 4")


def test_what_was_deleted_is_shown_as_such(filled, capsys):
    wanted = gc.Wanted("0h", ("complete",), ("flights",), 2)
    assert collect(filled, wanted, delete=True) == 0
    said = lines(capsys)
    assert "deleted: 8 artifacts of 2 runs, 348 B" in said
    assert not Path(filled.made["flights-3"]["trainer"]["model"][0].uri).exists()
    runs.show_run("flights-3", filled.root, None, as_json=False)
    said = lines(capsys)
    (model,) = [line for line in said if line.startswith("model")]
    assert " was deleted on 2" in model
    (metrics,) = [line for line in said if line.startswith("metrics")]
    assert "deleted" not in metrics
    runs.list_runs(filled.root, None, 20, as_json=False)
    assert sum(line.startswith("flights-") for line in lines(capsys)) == 5
    assert lineage.verify(None, filled.root, None, as_json=True) == 2
    assert json.loads(capsys.readouterr().out)["counts"] == {"not checked": 2}
    lineage.show("flights-3/trainer/model", filled.root, None, downstream=False, as_json=False)
    assert "was deleted on 2" in lines(capsys)[0]
    number = filled.made["flights-3"]["trainer"]["model"][0].id
    with pytest.raises(MillraceError, match=rf"Artifact #{number} was deleted on 2.* by "):
        lineage.verify(str(number), filled.root, None, as_json=False)
    assert collect(filled, wanted, delete=True) == 0
    assert lines(capsys)[0] == "There is nothing to delete in 3 runs."


def test_programs_read_json(filled, capsys):
    collect(filled, gc.Wanted(keep_last=4), as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["deleted"] is False
    assert (found["runs"], found["artifacts"], found["bytes"]) == ([], [], 0)
    assert {one["why"] for one in found["must_stay"]} == {"run flights-2 uses it"}
    collect(filled, gc.Wanted(keep_last=2, states=("COMPLETE",)), as_json=True, delete=True)
    found = json.loads(capsys.readouterr().out)
    assert found["deleted"] is True
    assert [run["run_id"] for run in found["runs"]] == ["flights-3", "flights-1"]
    assert len(found["artifacts"]) == 8
    assert found["bytes"] == sum(one["bytes"] for one in found["artifacts"])
    assert found["failed"] == {}


def test_a_pushed_model_says_why_all_of_it_stays(history, capsys):
    made = history.run("flights-1")
    run = history.start("flights-2")
    task = run.start_task("pusher", inputs={"model": made["trainer"]["model"]})
    place = str(history.root / "flights/flights-2/pusher/pushed")
    record = ArtifactRecord("pushed", place, "system.PushedModel", metadata={"digest": "d"})
    run.finish_task(task, State.COMPLETE, outputs={"pushed": [record]})
    run.finish(State.COMPLETE)
    collect(history, ALL)
    said = lines(capsys)
    assert said[0] == "There is nothing to delete in 2 runs."
    assert "a pushed model was made from it 4 flights-1" in said
    assert "it is a pushed model 1 flights-2" in said


def test_what_cannot_be_deleted_is_an_error(history, capsys):
    history.run("flights-1")
    folder = history.root / "flights/flights-1/trainer"
    folder.rename(history.root / "trainer")
    folder.symlink_to(history.root / "trainer")
    assert collect(history, ALL, delete=True) == 1
    said = lines(capsys)
    assert any(line.startswith("deleted: 3 artifacts of 1 run") for line in said)
    assert said[-1].startswith("not deleted: /")
    assert said[-1].endswith("is left alone: a link leads out of the run's folder.")


def test_pins_are_shown_and_taken_back(history, capsys):
    history.run("flights-1")
    gc.pin("latest", history.root, None, is_pinned=True, as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "run_id": "flights-1",
        "pinned": True,
        "deleted": [],
    }
    runs.list_runs(history.root, None, 20, as_json=False)
    assert lines(capsys)[1].endswith("4 done, pinned")
    runs.show_run("flights-1", history.root, None, as_json=False)
    assert "pinned `millrace gc` keeps what it has read and made" in lines(capsys)
    gc.pin("flights-1", history.root, None, is_pinned=False, as_json=False)
    assert lines(capsys) == ["`millrace gc` may delete what flights-1 has read and made."]
    runs.list_runs(history.root, None, 20, as_json=False)
    assert lines(capsys)[1].endswith("4 done")
    collect(history, ALL, delete=True)
    capsys.readouterr()
    gc.pin("flights-1", history.root, None, is_pinned=True, as_json=False)
    assert lines(capsys)[1] == "4 artifacts of it were deleted before."


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (NOTHING, "Say which runs: --older-than 30d, --state FAILED, --pipeline NAME or"),
        (gc.Wanted(older_than="30"), '--older-than "30" is no age: write 12h, 30d or 8w.'),
        (gc.Wanted(older_than="-1d"), '--older-than "-1d" is no age'),
        (gc.Wanted(older_than="1.5d"), '--older-than "1.5d" is no age'),
        (gc.Wanted(older_than="a month"), '--older-than "a month" is no age'),
        (gc.Wanted(older_than="999999w"), '--older-than "999999w" is no age'),
        (gc.Wanted(states=["FAILD"]), 'There is no state "FAILD": take COMPLETE, FAILED, CANCELED'),
        (gc.Wanted(states=["FAILED", ""]), 'There is no state ""'),
        (gc.Wanted(states=["running"]), "--state RUNNING: what a run that is going on makes stays"),
        (gc.Wanted(keep_last=0), "--keep-last 0: it must be 1 or more."),
        (gc.Wanted(keep_last=-3), "--keep-last -3: it must be 1 or more."),
        (gc.Wanted(pipelines=["flihgts"]), 'no pipeline "flihgts". Did you mean "flights"? It has'),
    ],
)
@pytest.mark.parametrize("delete", [False, True])
def test_what_makes_no_sense_is_refused(filled, wanted, message, delete):
    with pytest.raises(MillraceError) as error:
        collect(filled, wanted, delete=delete)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert Path(filled.made["flights-3"]["trainer"]["model"][0].uri).is_dir()


def test_no_store_and_another_that_deletes(filled, tmp_path):
    with pytest.raises(MillraceError, match="There is no lineage store at"):
        gc.collect(ALL, True, tmp_path / "none", None, as_json=False)
    with garbage.exclusive(filled.root):
        with pytest.raises(MillraceError, match="Another `millrace gc` is deleting in"):
            collect(filled, ALL, delete=True)
        with pytest.raises(MillraceError, match="Another `millrace gc` is deleting in"):
            gc.pin("flights-1", filled.root, None, is_pinned=True, as_json=False)
        assert collect(filled, ALL) == 0, "a dry run waits for nobody"
    with pytest.raises(MillraceError, match='There is no run "nobody"'):
        gc.pin("nobody", filled.root, None, is_pinned=True, as_json=False)


def test_the_command_line(filled, millrace, tmp_path):
    def run(*words, check=True):
        return millrace(*words, "--root", filled.root, cwd=tmp_path, check=check)

    done = run("gc", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: Say which runs: ")
    assert "to delete: 8 artifacts of 2 runs" in run("gc", "--keep-last", "2").stdout
    run("run", "pin", "flights-3")
    assert "it is pinned" in run("gc", "--older-than", "0d").stdout
    run("run", "unpin", "flights-3")
    done = run("gc", "--older-than", "0d", "--state", "complete", "--state", "failed", "--delete")
    assert "deleted: 8 artifacts of 2 runs" in done.stdout
