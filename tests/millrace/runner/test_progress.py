"""Progress of running steps, as a run's listener sees it."""

import io
import json
import os
import re
import threading
from pathlib import Path

import pytest

from millrace.cli import progress as shown
from millrace.progress import Progress
from millrace.runner.listener import Silent
from millrace.runner.result import State


class Listener(Silent):
    """Lets the step go on once it has reported."""

    def __init__(self, fifo) -> None:
        self._fifo = fifo
        self.run = None
        self.reported = None
        self.table = ""

    def started(self, run):
        self.run = run

    def progressed(self, task):
        self.reported = task.progress
        stream = io.StringIO()
        from rich.console import Console

        Console(file=stream, width=80).print(shown.table(self.run))
        self.table = stream.getvalue()
        self._fifo.write_text("go on")


@pytest.mark.parametrize("way", ["a step", "a component of others"])
def test_a_step_reports(kit, run, fifo_file, way):
    if way == "a step":
        pipeline = kit.single(do=f"report {fifo_file}")
    else:
        pipeline = kit.compile(_lightweight(kit.dsl, str(fifo_file)), "lightweight")
    listener = Listener(fifo_file)
    result = run(pipeline, listener=listener)
    assert result.state is State.COMPLETE, result.error
    assert listener.reported == Progress(3, 10, "epochs", {"loss": 0.25})
    assert "3 of 10 epochs · loss 0.25" in listener.table
    (task,) = result.tasks.values()
    assert task.progress is None
    if way == "a step":
        assert "3 of 10 epochs · loss 0.25" in task.log.read_text()
    assert not any(path.name.startswith("progress") for path in task.log.parent.rglob("*"))
    assert not any(thread.name == "progress" for thread in threading.enumerate())


def test_lines_tell_progress_now_and_then(kit, run, fifo_file, monkeypatch):
    class Lines(shown.Lines):
        def progressed(self, task):
            super().progressed(task)
            fifo_file.write_text("go on")

    for pause, count in ((0.0, 1), (1000.0, 0)):
        monkeypatch.setattr(shown, "_PAUSE", pause)
        stream = io.StringIO()
        run(kit.single(do=f"report {fifo_file}"), listener=Lines(stream), caching=False)
        assert stream.getvalue().count("play: 3 of 10 epochs · loss 0.25\n") == count


@pytest.fixture
def fifo_file(tmp_path):
    """A named pipe that the step reads from until the test writes."""
    path = tmp_path / "go"
    os.mkfifo(path)
    return path


def _lightweight(dsl, fifo):
    @dsl.component
    def report(fifo: str):
        import json
        import os
        import pathlib

        message = {"done": 3, "total": 10, "unit": "epochs", "values": {"loss": 0.25}}
        pathlib.Path(os.environ["MILLRACE_PROGRESS"]).write_text(json.dumps(message))
        pathlib.Path(fifo).read_text()

    def lightweight():
        report(fifo=fifo)

    return lightweight


@pytest.mark.slow
def test_every_long_step_says_how_far_it_is(millrace, flights_sample, tmp_path):
    words = ["run", "flights", "-p", f"data_uri={flights_sample}", "-p", "train_steps=20", "--json"]
    tasks = json.loads(millrace(*words, cwd=tmp_path).stdout)["tasks"]
    said = {
        task["name"]: re.findall("INFO millrace.progress: .*( rows| steps)", log)
        for task in tasks
        if "millrace.progress" in (log := Path(task["log"]).read_text())
    }
    steps = {"ExampleGen", "StatisticsGen", "Transform", "Trainer", "Evaluator"}
    assert steps <= said.keys()
    assert set(said["Trainer"]) == {" steps"}
    assert set(said["Evaluator"]) == {" rows"}
