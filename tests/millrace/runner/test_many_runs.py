"""Runs that share a root, and clocks that are wrong."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from millrace.lineage import query
from millrace.lineage.store import Store

pytestmark = pytest.mark.slow

_PROGRAM = """
import sys
from millrace.runner.run import run
result = run(sys.argv[1], {"text": sys.argv[3]}, root=sys.argv[2])
print(*(task.state.value for task in result.tasks.values()))
sys.exit(result.exit_code)
"""
_FAKETIME = next(Path("/usr/lib").rglob("libfaketime.so.1"), None)


@pytest.fixture
def start(kit, root):
    """Starts a run in a process of its own."""

    def echo(text: str):
        kit.play(text=text)

    pipeline = kit.compile(echo)

    def start(text: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, pipeline, root, text],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            text=True,
        )

    return start


def ended(process: subprocess.Popen[str]) -> str:
    """Return which states the tasks of a run came to."""
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    return output.strip()


def test_twenty_short_runs_at_once(start, root):
    runs = [start(str(number % 10)) for number in range(20)]
    states = Counter(map(ended, runs))
    assert states.keys() <= {"COMPLETE", "CACHED"}
    assert states["COMPLETE"] >= 10
    with Store.open(root / "metadata.sqlite") as store:
        found = query.runs(store)
        assert [run.state for run in found] == ["COMPLETE"] * 20
        assert all(len(query.tasks(store, run)) == 1 for run in found)
    assert not list(root.glob("metadata.sqlite-*"))


@pytest.mark.skipif(_FAKETIME is None, reason="needs libfaketime")
def test_a_clock_that_goes_back_between_runs(start, root):
    back = {"LD_PRELOAD": str(_FAKETIME), "FAKETIME": "-400d", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    assert ended(start("x")) == "COMPLETE"
    assert ended(start("x", **back)) == "CACHED"
    assert ended(start("y", **back)) == "COMPLETE"
    assert ended(start("y")) == "CACHED"
    with Store.open(root / "metadata.sqlite") as store:
        assert [run.state for run in query.runs(store)] == ["COMPLETE"] * 4


@pytest.mark.skipif(_FAKETIME is None, reason="needs libfaketime")
def test_a_clock_that_runs_backwards_during_a_run(start):
    backwards = {
        "LD_PRELOAD": str(_FAKETIME),
        "FAKETIME": "+0 x-1000",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    assert ended(start("x", **backwards)) == "COMPLETE"
