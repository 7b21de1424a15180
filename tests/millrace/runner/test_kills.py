"""Kills a run at random moments, resumes it, and compares it with an undisturbed run.

`MILLRACE_KILLS=200 pytest tests/millrace/runner/test_kills.py` does so 200 times.
"""

import collections
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from millrace.errors import PipelineError, StoreError
from millrace.lineage import query
from millrace.lineage.store import Store
from millrace.runner.result import State
from millrace.runner.run import resume, run

KILLS = int(os.environ.get("MILLRACE_KILLS", "8"))
_PROGRAM = """
import sys
from millrace.runner.run import run
run(sys.argv[1], root=sys.argv[2], run_id="killed", caching=False)
"""


@pytest.fixture(scope="module")
def pipeline(kit):
    dsl = kit.dsl

    def disturbed():
        first = kit.play(text="first")
        with dsl.ParallelFor(["a", "b", "c", "d"], parallelism=2) as item:
            second = kit.play(text=item, data=first.outputs["out"])
            kit.play(text="third", data=second.outputs["out"])
        kit.play(items=dsl.Collected(second.outputs["said"]))

    return str(kit.compile(disturbed))


@pytest.fixture(scope="module")
def undisturbed(pipeline, tmp_path_factory):
    """The duration of an undisturbed run in its own process, and its outputs."""
    root = tmp_path_factory.mktemp("undisturbed")
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", _PROGRAM, pipeline, root], check=True)
    return time.monotonic() - started, contents(root)


def contents(root: Path) -> dict[str, bytes]:
    """Everything that tasks have made, by its path in the run's folder."""
    folder = root / "disturbed" / "killed"
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("out/*"))
    }


@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_and_resumed(pipeline, undisturbed, tmp_path, seed):
    seconds, made = undisturbed
    chance = random.Random(seed)
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, pipeline, tmp_path], start_new_session=True
    )
    try:
        process.wait(chance.uniform(0.2, seconds))
    except subprocess.TimeoutExpired:
        if chance.random() < 0.5:
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    _wait_for_steps_to_end(tmp_path)
    _go_on(pipeline, tmp_path)
    assert contents(tmp_path) == made
    with Store.open(tmp_path / "metadata.sqlite") as store:
        found = query.tasks(store, query.find_run(store, "killed"))
        assert query.find_run(store, "killed").state == "COMPLETE"
    ended = collections.Counter(task.name for task in found if task.state == "COMPLETE")
    assert set(ended.values()) == {1}, "something complete was run again"
    assert {task.state for task in found} <= {"COMPLETE", "CANCELED"}


@pytest.fixture
def disk(tmp_path):
    """A disk that forgets in a power cut what it was not told to write."""
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()

    def mount() -> None:
        command = ["mount", "-o", "loop", str(image), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount: {done.stderr.strip()}")

    def lose_power(process: subprocess.Popen[bytes]) -> None:
        every = []
        if process.poll() is None:
            runner = psutil.Process(process.pid)
            every = [runner, *runner.children(recursive=True)]
        for one in every:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.suspend()
        shutil.copy(image, tmp_path / "as-it-was")
        for one in every:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(every, timeout=20)
        subprocess.run(["umount", folder], check=True)
        (tmp_path / "as-it-was").rename(image)
        mount()

    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    mount()
    yield folder, lose_power
    subprocess.run(["umount", "-l", folder], capture_output=True, check=False)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.parametrize("seed", range(max(3, KILLS // 20)))
def test_writes_that_a_power_cut_loses(pipeline, undisturbed, disk, seed):
    seconds, made = undisturbed
    folder, lose_power = disk
    process = subprocess.Popen([sys.executable, "-c", _PROGRAM, pipeline, folder])
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(random.Random(seed).uniform(0.5 * seconds, seconds))
    lose_power(process)
    process.wait()
    _go_on(pipeline, folder)
    assert contents(folder) == made


def _go_on(pipeline: str, root: Path) -> None:
    """Resume the run; start it if it was killed before it had begun, and leave a complete one."""
    try:
        result = resume("killed", root=root)
    except StoreError as error:
        if "has succeeded" not in str(error):
            raise
        return
    except PipelineError as error:
        if "There is no run" not in str(error):
            raise
        result = run(pipeline, root=root, run_id="killed", caching=False)
    assert result.state is State.COMPLETE, result.error


def _wait_for_steps_to_end(root: Path) -> None:
    """Waits until no process of the run is left, as the system ends them with the runner."""
    deadline = time.monotonic() + 20
    while left := [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(str(root) in part for part in process.info["cmdline"] or ())
    ]:
        assert time.monotonic() < deadline, f"left running: {left}"
        time.sleep(0.05)
