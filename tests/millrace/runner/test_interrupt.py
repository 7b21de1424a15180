"""Runs that are stopped by a signal, by kill -9, or by an error of a step or the runner."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from millrace.cli import progress
from millrace.errors import StoreError
from millrace.lineage import query
from millrace.lineage.record import RunRecord
from millrace.lineage.store import Store
from millrace.runner.listener import Silent
from millrace.runner.result import State

_PROGRAM = """
import signal, sys
from millrace.cli import run
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
sys.exit(run.start(sys.argv[1], sys.argv[3:], root=sys.argv[2]))
"""


@pytest.fixture
def blocked(kit, fifo, root):
    """A run whose step waits for ever, in a process of its own."""

    def blocking(fifo: str):
        done = kit.play(text="done")
        kit.play(do=f"block {fifo}").after(done).set_retry(2, backoff_duration="600s")

    pipeline = kit.compile(blocking)
    command = [sys.executable, "-c", _PROGRAM, pipeline, root, f"fifo={fifo.path}"]
    (root.parent / "temporary").mkdir()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"TMPDIR": str(root.parent / "temporary")},
        start_new_session=True,
    )
    pids = json.loads(fifo.hear())
    yield process, [os.pidfd_open(pid) for pid in pids.values()], pipeline
    process.kill()
    process.wait()
    process.stdout.close()


def ended(pidfd: int) -> bool:
    """Waits until a process has ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(20_000))


def recorded(root: Path) -> dict[str, str]:
    from ml_metadata import metadata_store
    from ml_metadata.proto import metadata_store_pb2 as pb

    config = pb.ConnectionConfig()
    config.sqlite.filename_uri = str(root / "metadata.sqlite")
    return {
        one.custom_properties["task_name"].string_value: pb.Execution.State.Name(
            one.last_known_state
        )
        for one in metadata_store.MetadataStore(config).get_executions()
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopping_a_run_stops_its_steps(blocked, root, number):
    process, pidfds, _ = blocked
    os.killpg(process.pid, number)  # as a terminal does
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    assert all(map(ended, pidfds))
    assert "canceled" in output
    assert "Traceback" not in output
    assert recorded(root) == {"": "CANCELED", "play": "COMPLETE", "play-2": "CANCELED"}


def test_an_impatient_second_ctrl_c_changes_nothing(blocked, root):
    process, pidfds, _ = blocked
    os.killpg(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    assert all(map(ended, pidfds))
    assert recorded(root)[""] == "CANCELED"


@pytest.mark.parametrize("which", ["the step", "the warm server"])
def test_a_process_that_is_suspended_is_ended_too(blocked, root, which):
    process, pidfds, _ = blocked
    step = psutil.Process(process.pid).children(recursive=True)[-1]
    (step if which == "the step" else step.parent()).suspend()
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert all(map(ended, pidfds))
    assert recorded(root)["play-2"] == "CANCELED"


def test_ctrl_c_while_the_start_is_recorded_leaves_no_run_that_seems_to_go_on(
    kit, run, root, monkeypatch
):
    start = RunRecord.start

    def interrupted(*arguments):
        record = start(*arguments)
        os.kill(os.getpid(), signal.SIGINT)
        return record

    monkeypatch.setattr(RunRecord, "start", interrupted)
    result = run(kit.single(text="x"))
    assert (result.state.value, result.exit_code) == ("CANCELED", 130)
    assert recorded(root)[""] == "CANCELED"


def test_a_thread_that_exits_ends_its_task_and_not_the_engines_patience(kit, run, monkeypatch):
    monkeypatch.setattr("millrace.runner.external.datasets", lambda *_: sys.exit("gone"))
    assert run(kit.single(text="x")).error == "play: SystemExit: gone"


def test_an_error_in_the_thread_that_decides_ends_the_run(kit, run, root, fifo):
    class Fragile(Silent):
        def changed(self, task):
            if task.state is State.COMPLETE:
                pids.update(json.loads(fifo.hear()))
                pidfds.extend(map(os.pidfd_open, pids.values()))
                raise RuntimeError("boom")

    def blocking():
        kit.play(text="done")
        kit.play(do=f"block {fifo.path}")

    pids, pidfds = {}, []
    with pytest.raises(RuntimeError, match="boom"):
        run(kit.compile(blocking), listener=Fragile())
    assert len(pidfds) == 2
    assert all(map(ended, pidfds))
    assert recorded(root) == {"": "FAILED", "play": "COMPLETE", "play-2": "CANCELED"}
    with Store.open(root / "metadata.sqlite") as store:
        (found,) = query.runs(store)
    assert found.error == "RuntimeError: boom"


def test_a_store_that_is_gone_when_a_dag_begins_ends_the_run(kit, run, root, monkeypatch):
    from millrace.runner.recorder import Recorder

    def refuse(*_):
        raise StoreError("The store is gone.")

    def conditional(count: int = 1):
        with kit.dsl.If(count == 1):
            kit.play()

    monkeypatch.setattr(Recorder, "start", refuse)
    with pytest.raises(StoreError, match="The store is gone"):
        run(kit.compile(conditional))
    assert recorded(root) == {"": "FAILED"}


@pytest.mark.parametrize("where", ["a closed pipe", "a full disk"])
def test_what_nobody_can_read_does_not_end_the_run(kit, run, root, where):
    if where == "a full disk":
        write = os.open("/dev/full", os.O_WRONLY)
    else:
        read, write = os.pipe()
        os.close(read)
    stream = os.fdopen(write, "w")
    assert run(kit.single(), listener=progress.listener(stream)).state is State.COMPLETE
    assert recorded(root) == {"": "COMPLETE", "play": "COMPLETE"}
    with pytest.raises(OSError, match=r"Broken pipe|No space left"):
        stream.close()  # what it could not write is still there


def test_what_cannot_be_recorded_ends_its_task(kit, run, monkeypatch):
    from millrace.runner.recorder import Recorder

    def refuse(*_):
        raise OverflowError("int too large")

    monkeypatch.setattr(Recorder, "start", refuse)
    assert run(kit.single(text="x")).error == "play: OverflowError: int too large"


def test_what_cannot_be_recorded_once_leaves_no_task_that_seems_to_go_on(
    kit, run, root, monkeypatch
):
    finish = RunRecord.finish_task

    def refuse_a_result(self, execution, state, **values):
        if state.value == "COMPLETE":
            raise StoreError("The store is busy.")
        return finish(self, execution, state, **values)

    monkeypatch.setattr(RunRecord, "finish_task", refuse_a_result)
    assert run(kit.single()).error == "play: The store is busy."
    with Store.open(root / "metadata.sqlite") as store:
        (found,) = query.runs(store)
    assert (found.state, found.counts) == ("FAILED", {"FAILED": 1})


def test_kill_9_ends_the_steps_and_leaves_a_store_that_can_be_read(blocked, root, run):
    import psutil

    process, pidfds, _ = blocked
    servers = [os.pidfd_open(one.pid) for one in psutil.Process(process.pid).children()]
    assert any((root.parent / "temporary").iterdir())
    process.kill()
    assert all(map(ended, pidfds + servers))
    assert not any((root.parent / "temporary").iterdir())
    assert recorded(root) == {"": "RUNNING", "play": "COMPLETE", "play-2": "RUNNING"}


def test_what_was_complete_before_kill_9_is_taken_by_the_next_run(kit, run, root, tmp_path):
    counter = tmp_path / "counter"

    def dying(counter: str):
        first = kit.play(text="kept")
        kit.play(do=f"flaky {counter}", data=first.outputs["out"])

    pipeline, value = kit.compile(dying), {"counter": str(counter)}
    counter.write_text("0")
    assert run(pipeline, value).state.value == "FAILED"
    counter.write_text("2")
    again = run(pipeline, value)
    assert [task.state.value for task in again.tasks.values()] == ["CACHED", "COMPLETE"]


def test_the_servers_death_ends_its_steps_and_their_tasks(blocked, root):
    import psutil

    process, pidfds, _ = blocked
    (server,) = [
        child
        for child in psutil.Process(process.pid).children()
        if "millrace.backends.warm" in child.cmdline()
    ]
    server.kill()
    assert ended(pidfds[0])  # its own children cannot be ended: nobody is left to do it
    failed = next(line for line in process.stdout if "again in" in line)
    assert "its server ended" in failed
    os.killpg(process.pid, signal.SIGINT)  # it is waiting to try again
    process.communicate(timeout=30)
    assert process.returncode == 130


def test_a_step_that_takes_too_long(kit, run, fifo):
    pipeline = kit.single(do=f"block {fifo.path}")
    platform = (
        "---\nplatforms:\n  kubernetes:\n    deploymentSpec:\n      executors:\n"
        "        exec-play:\n          activeDeadlineSeconds: 1\n"
    )
    pipeline.write_text(pipeline.read_text() + platform)
    started = time.monotonic()
    result = run(pipeline)
    assert result.error == "play: took longer than 1 s"
    assert time.monotonic() - started < 20
