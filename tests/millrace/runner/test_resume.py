"""Resumed runs: after a failure, a kill, or an interrupt."""

import json
import os
import signal
import subprocess
import sys

import pytest

from millrace.errors import ParameterError, PipelineError, StoreError
from millrace.lineage import query
from millrace.lineage.store import Store
from millrace.runner.result import State
from millrace.runner.run import resume

_PROGRAM = """
import sys
from millrace.runner.run import run
pipeline, root, *pairs = sys.argv[1:]
run(pipeline, dict(pair.split("=", 1) for pair in pairs), root=root)
"""


@pytest.fixture
def killed(kit, fifo, root):
    """A run that was killed with all its processes while its third task ran."""

    def chain(fifo: str):
        first = kit.play(text="first").set_caching_options(False)
        second = kit.play(text="second", data=first.outputs["out"])
        kit.play(do=f"block {fifo}", data=second.outputs["out"])

    command = [sys.executable, "-c", _PROGRAM, kit.compile(chain), root, f"fifo={fifo.path}"]
    process = subprocess.Popen(command, start_new_session=True)
    pids = json.loads(fifo.hear())
    process.send_signal(signal.SIGKILL)
    process.wait()
    return pids


def executions(result):
    with Store.open(result.store) as store:
        return query.tasks(store, query.find_run(store, result.run_id))


def test_what_has_ended_is_not_run_again_after_a_kill(killed, root, fifo):
    fifo.path.unlink()
    fifo.path.mkdir()  # what cannot be written to ends the task
    result = resume("latest", root=root)
    assert result.state is State.FAILED
    found = executions(result)
    assert [task.state for task in found if task.name == "play"] == ["COMPLETE"]
    assert [task.state for task in found if task.name == "play-2"] == ["COMPLETE"]
    assert [task.state for task in found if task.name == "play-3"] == ["CANCELED", "FAILED"]
    assert not any(task.state == "RUNNING" for task in found)


def test_a_failed_run_goes_on_with_what_was_mended(kit, run, root, tmp_path):
    def mended(module_file: str):
        first = kit.play(text="kept")
        kit.play(do="load", module_file=module_file, data=first.outputs["out"])

    module = tmp_path / "value.py"
    module.write_text("VALUE = undefined\n")
    failed = run(kit.compile(mended), {"module_file": str(module)})
    assert failed.state is State.FAILED
    module.write_text("VALUE = 'right'\n")
    result = resume(failed.run_id, root=root)
    assert result.state is State.COMPLETE, result.error
    assert result.run_id == failed.run_id
    assert result.tasks["play-2"].parameters["said"] == "right"
    names = [(task.name, task.state) for task in executions(result)]
    assert names.count(("play", "COMPLETE")) == 1
    with pytest.raises(StoreError, match="has succeeded: there is nothing to resume"):
        resume(failed.run_id, root=root)


def test_loops_go_on_with_the_iterations_that_are_missing(kit, run, root, tmp_path):
    dsl = kit.dsl

    def looping(module_file: str):
        with dsl.ParallelFor(["", "load", "c"]) as item:
            made = kit.play(do=item, text="x", module_file=module_file)
        kit.play(items=dsl.Collected(made.outputs["said"]))

    (tmp_path / "value.py").write_text("VALUE = undefined\n")
    failed = run(kit.compile(looping), {"module_file": str(tmp_path / "value.py")})
    assert failed.state is State.FAILED
    (tmp_path / "value.py").write_text("VALUE = 'b'\n")
    result = resume("latest", root=root)
    assert result.state is State.COMPLETE, result.error
    assert result.tasks["play-2"].parameters["given"]["items"] == ["x", "b", "x"]
    dags = [task for task in executions(result) if "DAG" in task.kind]
    assert len(dags) == 4  # the loop and its iterations, each once
    assert all(task.state == "COMPLETE" for task in dags)


def test_an_output_that_was_deleted_is_made_anew(kit, run, root):
    def broken(do: str = "fail for now"):
        first = kit.play(text="made")
        kit.play(do=do, data=first.outputs["out"])

    failed = run(kit.compile(broken))
    (failed.folder / "play" / "out" / "text").unlink()
    result = resume(failed.run_id, root=root)
    names = [(task.name, task.state) for task in executions(result)]
    assert names.count(("play", "COMPLETE")) == 2


def test_secrets_are_not_kept_and_asked_for_again(kit, run, root):
    def secretive(api_key: str, do: str = "fail for now"):
        kit.play(text=api_key, do=do)

    failed = run(kit.compile(secretive), {"api_key": "hunter2-hunter2"})
    kept = (failed.folder / ".run" / "request.json").read_text()
    assert "hunter2" not in kept
    with pytest.raises(ParameterError, match="give them again with --param api_key=…"):
        resume(failed.run_id, root=root)
    with pytest.raises(ParameterError, match='leave "do" out'):
        resume(failed.run_id, {"api_key": "hunter2-hunter2", "do": ""}, root=root)
    assert resume(failed.run_id, {"api_key": "hunter2-hunter2"}, root=root).state is State.FAILED


def test_a_run_that_goes_on_is_not_resumed(kit, fifo, root):
    def blocking(fifo: str):
        kit.play(do=f"block {fifo}")

    command = [sys.executable, "-c", _PROGRAM, kit.compile(blocking), root, f"fifo={fifo.path}"]
    process = subprocess.Popen(command, start_new_session=True)
    fifo.hear()
    with pytest.raises(PipelineError, match="is still going on"):
        resume("latest", root=root)
    os.killpg(process.pid, signal.SIGINT)
    process.wait()


def test_there_is_no_such_run(root):
    root.mkdir()
    with pytest.raises(PipelineError, match='There is no run "gone" in'):
        resume("gone", root=root)


class TestSelection:
    @pytest.fixture
    def pipeline(self, kit):
        def chain():
            first = kit.play(text="1")
            second = kit.play(text="2", data=first.outputs["out"]).set_display_name("Second")
            kit.play(text="3", data=second.outputs["out"])

        return kit.compile(chain)

    def states(self, result):
        return [task.state.value for task in result.tasks.values()]

    def test_to(self, run, pipeline):
        result = run(pipeline, end="Second")
        assert result.state is State.COMPLETE
        assert self.states(result) == ["COMPLETE", "COMPLETE", "SKIPPED"]
        assert result.tasks["play-3"].error == "not asked for: --to Second"

    def test_from_runs_anew_and_what_is_before_is_cached(self, run, pipeline):
        run(pipeline)
        assert self.states(run(pipeline, start="Second")) == ["CACHED", "COMPLETE", "COMPLETE"]

    def test_only(self, run, pipeline):
        run(pipeline)
        assert self.states(run(pipeline, only="play-2")) == ["CACHED", "COMPLETE", "SKIPPED"]

    def test_a_task_that_is_not_there(self, run, pipeline):
        with pytest.raises(ParameterError, match=r'has no task "Secnd"\. Did you mean "Second"\?'):
            run(pipeline, only="Secnd")
        with pytest.raises(ParameterError, match="leave those out"):
            run(pipeline, only="play", end="play")


def test_a_run_that_was_killed_before_it_was_linked_to_its_pipeline(kit, run, root, monkeypatch):
    def chain():
        kit.play(text="x")

    call = Store.call

    def dies(self, method, *arguments, **options):
        if method == "put_parent_contexts":
            raise StoreError("killed here")
        return call(self, method, *arguments, **options)

    pipeline = kit.compile(chain)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "call", dies)
        patch.setattr("millrace.runner.kept.forget", lambda folder: None)
        with pytest.raises(StoreError):
            run(pipeline, run_id="early")
    result = resume("early", root=root)
    assert result.state is State.COMPLETE, result.error
    with Store.open(result.store) as store:
        assert query.find_run(store, "early").pipeline == "chain"


def test_a_run_that_was_killed_before_it_began_is_started_under_its_name(kit, run, root):
    def short():
        kit.play(text="x")

    own = root / "short" / "the-one" / ".run"
    own.mkdir(parents=True)
    (own / "pipeline.yaml").write_text("half")
    assert run(kit.compile(short), run_id="the-one").state is State.COMPLETE
