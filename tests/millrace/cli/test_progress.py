"""The live table of a run, and the lines where nobody watches."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from millrace.cli import progress
from millrace.progress import Progress
from millrace.runner.result import RunResult, State, TaskResult

MILLRACE = Path(sys.executable).with_name("millrace")


def result_of(*tasks):
    return RunResult("r", "p", Path("/r"), "s", {}, {task.path: task for task in tasks})


def lines(result, width=80, height=40):
    """The live table, line by line."""
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as captured:
        console.print(progress.table(result, width=width, height=height))
    return [line.rstrip() for line in captured.get().splitlines()]


def nested():
    """A loop in a loop, each in a condition, as the engine adds their tasks."""
    dag = {"is_dag": True}
    return result_of(
        TaskResult("if", "if", State.RUNNING, **dag),
        TaskResult("if/rates", "rates", State.RUNNING, iterations=2, **dag),
        TaskResult("if/rates[0]", "rates", State.RUNNING, **dag),
        TaskResult("if/rates[0]/train", "Train", State.COMPLETE),
        TaskResult("if/rates[0]/if", "if", State.RUNNING, **dag),
        TaskResult("if/rates[1]", "rates", State.RUNNING, **dag),
        TaskResult("if/rates[1]/train", "Train", State.RUNNING, progress=Progress(1, 2, "epochs")),
        TaskResult("if/rates[0]/if/folds", "folds", State.RUNNING, iterations=1, **dag),
        TaskResult("if/rates[0]/if/folds[0]", "folds", State.RUNNING, **dag),
        TaskResult("if/rates[0]/if/folds[0]/score", "Score", State.FAILED, error="no labels"),
        TaskResult("publish", "Publish", State.SKIPPED, error="score failed"),
    )


def test_loops_within_conditions_are_a_tree():
    found = [line.split("  ")[0] or line.strip().split("  ")[0] for line in lines(nested())]
    assert found == [
        "task",
        "rates",
        "[0] Train",
        "[0] folds",
        "[0][0] Score",
        "[1] Train",
        "Publish",
    ]
    text = lines(nested())
    assert text[2].startswith("  [0] Train ")
    assert text[4].startswith("    [0][0] Score  failed")
    assert text[5].endswith("1 of 2 epochs")


def test_a_row_is_a_line_and_long_names_leave_room_for_what_came_out():
    long = TaskResult("a", "A task " * 20, State.FAILED, error="It is wrong, and " * 20)
    (_, line) = lines(result_of(long))
    assert len(line) <= 80
    assert "…  failed" in line
    assert "It is wrong, and" in line
    assert line.endswith("…")


def test_a_low_terminal_shows_what_runs_or_failed():
    states = [State.COMPLETE] * 20 + [State.RUNNING] + [State.WAITING] * 20 + [State.FAILED]
    tasks = [TaskResult(f"t{n}", f"t{n}", state) for n, state in enumerate(states)]
    found = lines(result_of(*tasks), height=10)
    assert len(found) == 11  # with the header
    assert any(line.startswith("t20 ") for line in found)
    assert any(line.startswith("t41 ") for line in found)
    assert found[-1] == "… 33 more"


def test_a_skipped_task_took_no_time(kit, run):
    def skipped():
        kit.play(data=kit.play(do="fail so").outputs["out"])

    result = run(kit.compile(skipped))
    assert result.tasks["play-2"].state is State.SKIPPED
    assert result.tasks["play-2"].seconds == 0


@pytest.mark.parametrize(("do", "state"), [("", "COMPLETE"), ("fail so", "FAILED")])
def test_a_reader_that_leaves_does_not_end_the_run(kit, millrace, tmp_path, do, state):
    command = f"set -o pipefail; {MILLRACE} run {kit.single(do=do)} | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"{command}; echo code ${{PIPESTATUS[0]}}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={key: one for key, one in os.environ.items() if not key.startswith("MILLRACE_")},
    )
    assert done.stderr == ""
    first, code = done.stdout.splitlines()
    assert "single: run single-" in first
    assert code == f"code {0 if state == 'COMPLETE' else 1}"
    runs = millrace("runs", "--json", cwd=tmp_path).stdout
    assert f'"state": "{state}"' in runs
