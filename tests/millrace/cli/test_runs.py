"""`millrace runs` and `millrace run show RUN`, on terminals, in pipes and as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
from datetime import datetime, timezone

import pytest

from millrace.cli import liveness, runs
from millrace.errors import StoreError
from millrace.lineage import query
from millrace.lineage.nodes import ArtifactRecord, Kind, State

WIDTHS = [80, 120]


@pytest.fixture
def filled(history, monkeypatch):
    """A cached run, a failed one, and one that goes on, in an hour that is always the same."""
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(history.root))  # no warm servers of the developer's
    history.run("flights-20260101-101520-aa11")
    history.run("flights-20260102-101520-bb22")
    history.fail("flights-20260103-101520-cc33")
    history.start("flights-20260104-101520-dd44")
    return history


@pytest.fixture
def terminal(monkeypatch):
    """Makes what is printed go to a terminal of some width."""
    from rich.console import Console

    from millrace.cli import output

    def use(width: int) -> None:
        monkeypatch.setattr(
            output, "console", lambda: Console(width=width, force_terminal=True, highlight=False)
        )

    return use


class TestRuns:
    """The table of runs."""

    def test_piped(self, filled, capsys):
        runs.list_runs(filled.root, None, 20, as_json=False)
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split() == ["run", "pipeline", "state", "started", "time", "tasks"]
        assert [line.split()[:3] for line in lines[1:]] == [
            ["flights-20260104-101520-dd44", "flights", "running"],
            ["flights-20260103-101520-cc33", "flights", "failed"],
            ["flights-20260102-101520-bb22", "flights", "complete"],
            ["flights-20260101-101520-aa11", "flights", "complete"],
        ]
        assert lines[2].endswith("1 done, 1 failed")
        assert lines[3].endswith("4 cached")
        assert lines[4].endswith("4 done")
        assert all(line == line.rstrip() for line in lines)
        assert "\x1b" not in "".join(lines)

    @pytest.mark.parametrize("width", WIDTHS)
    def test_terminal(self, filled, capsys, terminal, width):
        from rich.text import Text

        terminal(width)
        runs.list_runs(filled.root, None, 20, as_json=False)
        out = capsys.readouterr().out
        assert "\x1b[" in out
        lines = [Text.from_ansi(line).plain.rstrip() for line in out.splitlines()]
        assert len(lines) == 5
        assert max(map(len, lines)) <= width
        assert lines[4].startswith("flights-20260101-101520-aa11")

    def test_a_tiny_terminal_folds_nothing(self, filled, capsys, terminal):
        terminal(60)
        runs.list_runs(filled.root, None, 20, as_json=False)
        assert len(capsys.readouterr().out.splitlines()) == 5

    def test_limit(self, filled, capsys):
        runs.list_runs(filled.root, None, 1, as_json=False)
        assert len(capsys.readouterr().out.splitlines()) == 2

    def test_json(self, filled, capsys):
        runs.list_runs(filled.root, None, 20, as_json=True)
        document = json.loads(capsys.readouterr().out)
        assert [run["state"] for run in document] == ["RUNNING", "FAILED", "COMPLETE", "COMPLETE"]
        assert document[0]["finished"] is None
        assert document[3]["tasks_by_state"] == {"COMPLETE": 4}

    def test_no_runs(self, history, capsys):
        runs.list_runs(history.root, None, 20, as_json=False)
        assert capsys.readouterr().out == (
            "There are no runs yet. `millrace run PIPELINE` starts one.\n"
        )
        runs.list_runs(history.root, None, 20, as_json=True)
        assert json.loads(capsys.readouterr().out) == []

    def test_no_store(self, tmp_path):
        with pytest.raises(StoreError, match="There is no lineage store at"):
            runs.list_runs(tmp_path / "none", None, 20, as_json=False)
        assert not (tmp_path / "none").exists()

    def test_another_store(self, filled, tmp_path, capsys):
        runs.list_runs(tmp_path / "none", str(filled.root / "metadata.sqlite"), 20, as_json=False)
        assert len(capsys.readouterr().out.splitlines()) == 5

    def test_a_run_whose_process_was_killed(self, history, capsys):
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        here = {"host": socket.gethostname()}
        history.start("r1", process=gone.pid, **here)
        history.start("r2", process=os.getpid(), **here)
        history.start("r3", process=gone.pid, host="elsewhere")
        runs.list_runs(history.root, None, 20, as_json=False)
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[2] for line in lines[1:]] == ["running", "running", "interrupted"]
        runs.show_run("r1", history.root, None, as_json=False)
        said = capsys.readouterr().out
        assert said.startswith("r1  interrupted")
        assert f"Its process {gone.pid} is gone: it was killed before" in said

    def test_json_has_the_same_state(self, history, capsys):
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        run = history.start("r1", process=gone.pid, host=socket.gethostname())
        run.start_task("trainer")
        runs.list_runs(history.root, None, 20, as_json=True)
        (listed,) = json.loads(capsys.readouterr().out)
        runs.show_run("r1", history.root, None, as_json=True)
        shown = json.loads(capsys.readouterr().out)
        assert (listed["state"], listed["tasks_by_state"]) == ("INTERRUPTED", {"INTERRUPTED": 1})
        assert (shown["state"], shown["tasks"][0]["state"]) == ("INTERRUPTED", "INTERRUPTED")

    def test_a_run_whose_process_has_its_number_taken(self, history, capsys):
        history.start("r1", process=os.getpid(), host=socket.gethostname())
        (run,) = query.runs(history.store)
        before = datetime(2020, 1, 1, tzinfo=timezone.utc)
        assert liveness.run(run).state == "RUNNING"
        gone = dataclasses.replace(run, started=before)
        assert liveness.run(gone).state == "INTERRUPTED"
        gone.properties["resumed_at"] = datetime.now(timezone.utc).isoformat()
        assert liveness.run(gone).state == "RUNNING", "another process went on with it"


class TestShowRun:
    """One run with its tasks and what they made."""

    def test_piped(self, filled, capsys):
        runs.show_run("flights-20260101", filled.root, None, as_json=False)
        out = capsys.readouterr().out
        lines = out.splitlines()
        assert lines[0].startswith("flights-20260101-101520-aa11  complete  ")
        assert lines[1] == "pipeline  flights"
        assert lines[2].endswith(" by ada on analytical")
        assert lines[3] == "code      millrace 0.1.0"
        assert lines[4] == f"folder    {filled.root}/flights/flights-20260101-101520-aa11"
        assert lines[6:9] == ["parameters", "  data_uri=/data/flights.csv", "  db_password=***"]
        tasks = [line.split() for line in lines[10:]]
        assert [words[:2] for words in tasks[::2]] == [
            ["example-gen", "complete"],
            ["statistics-gen", "complete"],
            ["schema-gen", "complete"],
            ["trainer", "complete"],
            ["metrics"],
        ]
        made = filled.made["flights-20260101-101520-aa11"]
        digest = made["trainer"]["model"][0].metadata["digest"][:12]
        assert tasks[7] == ["model", "37", "B", "sha256", digest, "1,234", "rows"]
        assert "auc 0.6667" in out
        assert "\x1b" not in out

    def test_artifacts_of_earlier_runs_say_where_they_lie(self, filled, capsys):
        runs.show_run("flights-20260102", filled.root, None, as_json=False)
        assert (
            f"    in {filled.root}/flights/flights-20260101-101520-aa11/schema-gen\n"
            in capsys.readouterr().out
        )

    def test_failed(self, filled, capsys):
        runs.show_run("flights-20260103", filled.root, None, as_json=False)
        lines = capsys.readouterr().out.splitlines()
        assert "statistics-gen failed: the label is constant" in lines
        assert "Its log: /logs/log.txt" in lines

    def test_failed_before_any_task(self, history, capsys):
        history.start("r1").finish(State.FAILED, error="no such file")
        runs.show_run("r1", history.root, None, as_json=False)
        assert capsys.readouterr().out.splitlines()[-1] == "no such file"

    @pytest.mark.parametrize("width", WIDTHS)
    @pytest.mark.parametrize("run", ["flights-20260101", "flights-20260102", "flights-20260103"])
    def test_terminal(self, filled, capsys, terminal, width, run):
        from rich.text import Text

        terminal(width)
        runs.show_run(run, filled.root, None, as_json=False)
        out = capsys.readouterr().out
        assert max(len(Text.from_ansi(line).plain) for line in out.splitlines()) <= width

    def test_json(self, filled, capsys):
        runs.show_run("latest", filled.root, None, as_json=True)
        assert json.loads(capsys.readouterr().out)["tasks"] == []
        runs.show_run("flights-20260101", filled.root, None, as_json=True)
        document = json.loads(capsys.readouterr().out)
        assert [task["task"] for task in document["tasks"]] == [
            *("example-gen", "statistics-gen", "schema-gen", "trainer")
        ]
        (model,) = document["tasks"][3]["outputs"]["model"]
        assert model["metadata"]["rows"] == 1234
        (metrics,) = document["tasks"][3]["outputs"]["metrics"]
        assert metrics["metadata"] == {"auc": 0.66672341}

    def test_markup_in_names_is_no_markup(self, history, capsys, terminal):
        run = history.start("r1")
        task = run.start_task("[bold]x[/]", parameters={"a": "[red]y"})
        record = ArtifactRecord("[link]", "/[blue]/x", metadata={"rows": 3})
        run.finish_task(task, State.COMPLETE, outputs={"[b]": [record]})
        run.finish(State.FAILED, error="[bold]no[/bold] :smile:")
        runs.show_run("r1", history.root, None, as_json=False)
        out = capsys.readouterr().out
        for text in ("[bold]x[/]", "[b]", "in /[blue]", "[bold]no[/bold] :smile:"):
            assert text in out

    def test_dags_are_not_shown_and_their_tasks_are(self, history, capsys):
        run = history.start("r1")
        dag = run.start_task("condition-1", kind=Kind.DAG)
        run.finish_task(run.start_task("push", parent=dag), State.COMPLETE)
        run.finish_task(dag, State.COMPLETE)
        runs.show_run("r1", history.root, None, as_json=False)
        lines = [line.split() for line in capsys.readouterr().out.splitlines() if line]
        assert lines[-1][:2] == ["condition-1/push", "complete"]
        assert not any(line[0] == "condition-1" for line in lines)

    def test_a_list_numbers_its_artifacts(self, history, capsys):
        run = history.start("flights-1")
        records = [ArtifactRecord("x", f"/x/parts/{number}") for number in range(13)]
        run.finish_task(run.start_task("split"), State.COMPLETE, outputs={"parts": records})
        runs.show_run("latest", history.root, None, as_json=False)
        out = capsys.readouterr().out
        assert [f"parts[{number}]" in out for number in range(13)] == [True] * 10 + [False] * 3
        assert "\n  parts: 3 more" in out

    def test_a_run_that_kfp_recorded(self, history, kfp_run, capsys):
        log = kfp_run.artifact("minio://bucket/trainer/executor-logs")
        model = kfp_run.artifact("minio://bucket/trainer/model", "system.Model")
        kfp_run.task("trainer", "FAILED", **{"executor-logs": log, "model": model})
        runs.show_run("latest", history.root, None, as_json=False)
        out = capsys.readouterr().out
        assert out.startswith("0b5e02b8-c614  failed")
        assert "\n  model\n" in out
        assert out.endswith(
            "trainer failed: KFP does not record why: see the log of pod pod_name of trainer\n"
            "Its log: minio://bucket/trainer/executor-logs\n"
        )

    def test_errors(self, filled):
        with pytest.raises(StoreError, match='"flights-" matches 4 runs'):
            runs.show_run("flights-", filled.root, None, as_json=False)
        with pytest.raises(StoreError, match='Did you mean "flights-20260104-101520-dd44"'):
            runs.show_run("flights-20260104-101520-dd45", filled.root, None, as_json=False)


def test_the_command(filled, millrace):
    listed = millrace("runs", "--root", filled.root, cwd=filled.root)
    assert listed.stdout.count("flights-2026") == 4
    shown = millrace("run", "show", "latest", "--root", filled.root, "--json", cwd=filled.root)
    assert json.loads(shown.stdout)["run_id"] == "flights-20260104-101520-dd44"
    failed = millrace("run", "show", "x", "--root", filled.root, cwd=filled.root, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith('error: There is no run "x" in the lineage store')


def test_no_runs_cannot_be_asked_for(millrace, tmp_path):
    done = millrace("runs", "--limit", "0", cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert "--limit" in done.stderr
