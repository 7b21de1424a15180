"""Warm servers that outlive runs: real runs in processes of their own."""

import contextlib
import json
import logging
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from millrace.backends import shared
from millrace.errors import ParameterError

pytestmark = pytest.mark.slow
REPORT = Path(__file__).parent / "report_process.py"
MILLRACE = str(Path(sys.executable).with_name("millrace"))


@pytest.fixture
def private(monkeypatch) -> Iterator[Path]:
    """The folder of the servers; a socket's path may not be as long as those of tests are."""
    with tempfile.TemporaryDirectory(prefix="mr-", dir="/tmp") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        monkeypatch.setenv("MILLRACE_WARM", "5")
        yield Path(folder, "millrace")
        shared.stop()


class Runs:
    """Starts runs as a user does, and reads what their step has reported."""

    def __init__(self, kit, folder: Path) -> None:
        self.folder = folder
        self._kit = kit
        dsl = kit.dsl

        def report(out: dsl.Output[dsl.Dataset], text: str):
            return dsl.ContainerSpec(
                image="millrace-core:0.1.0",
                command=["python", "-m", "millrace.entrypoint", str(REPORT)],
                args=["--executor_input", "{{$}}"],
            )

        self._report = dsl.container_component(report)

    def report(self, name: str, **options) -> subprocess.Popen[str]:
        def reporting(text: str):
            self._report(text=text)

        pipeline = self._kit.compile(reporting)
        return self.start(pipeline, f"text={self.folder / name}", name, **options)

    def block(self, fifo, name: str, **options) -> subprocess.Popen[str]:
        def blocking(fifo: str):
            self._kit.play(do=f"block {fifo}")

        return self.start(self._kit.compile(blocking), f"fifo={fifo.path}", name, **options)

    def start(self, pipeline: Path, parameter: str, name: str, **options) -> subprocess.Popen[str]:
        env = os.environ | options.pop("env", {})
        command = [MILLRACE, "run", pipeline, "-p", parameter, "--root", self.folder / "r" / name]
        return subprocess.Popen(
            list(map(str, command)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=env,
            **{"cwd": self.folder, **options},
        )

    def seen(self, process: subprocess.Popen[str], name: str) -> dict:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        return json.loads((self.folder / name).read_text())


@pytest.fixture
def runs(kit, private, tmp_path) -> Runs:
    return Runs(kit, tmp_path)


def ended(pidfd: int) -> bool:
    """Waits until a process has ended."""
    return bool(select.select([pidfd], [], [], 30)[0])


def test_the_next_run_takes_the_server_and_nothing_else_of_the_first(runs, private):
    first = runs.seen(runs.report("one", env={"SECRET": "1", "FIRST": "1"}), "one")
    elsewhere = runs.folder / "elsewhere"
    (elsewhere / "temporary").mkdir(parents=True)
    env = {"SECOND": "2", "TMPDIR": str(elsewhere / "temporary")}
    second = runs.seen(runs.report("two", env=env, cwd=elsewhere, umask=0o027), "two")
    assert first["server"] == second["server"]
    assert second["folder"] == second["path"][-1] == str(elsewhere)
    assert first["folder"] not in second["path"]
    assert second["umask"] == 0o027
    assert second["env"]["SECOND"] == "2"
    assert not {"SECRET", "FIRST", "LEFT_BEHIND", "PYTHONSAFEPATH"} & second["env"].keys()
    assert not second["left"]
    assert second["temporary"].startswith(f"{elsewhere}/temporary/")
    assert not list((elsewhere / "temporary").iterdir())
    assert b"SECRET" not in Path(f"/proc/{first['server']}/environ").read_bytes()
    assert private.stat().st_mode & 0o077 == 0


def test_steps_of_one_name_beside_two_pipelines_are_each_their_own(runs, kit):
    def own(text: str):
        return kit.dsl.ContainerSpec(
            image="millrace-core:0.1.0",
            command=["python", "-m", "millrace.entrypoint", "here.own"],
            args=["--executor_input", "{{$}}"],
        )

    step = kit.dsl.container_component(own)

    def beside(text: str):
        step(text=text)

    for name in ("first", "second"):
        package = runs.folder / name / "here"
        package.mkdir(parents=True)
        (package / "own.py").write_text(
            f"from pathlib import Path\n\ndef run(text):\n    Path(text).write_text({name!r})\n"
        )
        pipeline = kit.compile(beside).rename(package.parent / "pipeline.yaml")
        said = runs.folder / "said"
        output, _ = (process := runs.start(pipeline, f"text={said}", name)).communicate(timeout=120)
        assert process.returncode == 0, output
        assert said.read_text() == name


def test_two_runs_at_once_start_one_server(runs):
    processes = [runs.report(name) for name in ("one", "two")]
    servers = {
        runs.seen(process, name)["server"]
        for process, name in zip(processes, ("one", "two"), strict=True)
    }
    assert servers == {one.pid for one in shared.running()}
    assert len(servers) == 1


def test_kill_9_of_a_run_ends_its_steps_and_no_others(runs, fifo, tmp_path):
    (tmp_path / "other").mkdir()
    other_fifo = type(fifo)(tmp_path / "other" / "fifo")
    killed, other = runs.block(fifo, "one"), runs.block(other_fifo, "two")
    gone, stays = (json.loads(one.hear()) for one in (fifo, other_fifo))
    pidfds = [os.pidfd_open(pid) for pid in gone.values()]
    others = [os.pidfd_open(pid) for pid in stays.values()]
    killed.kill()
    killed.communicate()
    assert all(map(ended, pidfds))
    assert not select.select(others, [], [], 0)[0]
    (server,) = shared.running()
    assert server.busy
    other.send_signal(signal.SIGINT)
    other.communicate(timeout=60)
    assert other.returncode == 130
    assert all(map(ended, others))
    assert runs.seen(runs.report("three"), "three")["server"] == server.pid


def test_the_server_of_other_code_ends_with_the_runs_that_use_it(runs, fifo, private):
    def server(version: str) -> contextlib.closing:
        return contextlib.closing(shared.connect("core", ["json"], version, ()))

    with server("old") as old:
        pidfd = os.pidfd_open(old.pid)
        with server("new") as new, server("new") as again:
            assert new.pid == again.pid != old.pid
            assert not select.select([pidfd], [], [], 0)[0]
    assert ended(pidfd)
    assert {one.pid for one in shared.running()} == {new.pid}


def test_an_idle_server_ends_and_leaves_no_socket(private, monkeypatch):
    monkeypatch.setenv("MILLRACE_WARM", "0.005")
    connection = shared.connect("core", [], "1", ())
    pidfd = os.pidfd_open(connection.pid)
    assert not select.select([pidfd], [], [], 0.6)[0], "it is in use"
    connection.close()
    assert ended(pidfd)
    assert not list(private.glob("*.sock"))


def test_a_server_that_was_killed_is_replaced(private):
    killed, second = (shared.connect("core", [], "1", ()) for _ in range(2))  # it listens by now
    with contextlib.closing(killed), contextlib.closing(second):
        pidfd = os.pidfd_open(killed.pid)
        os.kill(killed.pid, signal.SIGKILL)
        assert ended(pidfd)
    assert list(private.glob("*.sock"))
    assert not shared.running()
    with contextlib.closing(shared.connect("core", [], "1", ())) as next_one:
        assert next_one.pid != killed.pid
        with contextlib.closing(shared.connect("core", [], "1", ())) as again:
            assert again.pid == next_one.pid


@pytest.mark.parametrize("name", ["TF_NUM_INTRAOP_THREADS", "PYTHONPATH", "TZ"])
def test_what_is_read_early_takes_another_server(private, monkeypatch, name):
    early = ("TF_", "PYTHON")
    with contextlib.closing(shared.connect("core", [], "1", early)) as one:
        monkeypatch.setenv(name, "1")
        with contextlib.closing(shared.connect("core", [], "1", early)) as other:
            assert other.pid != one.pid


def test_a_folder_that_others_may_use_is_not_taken(private, caplog):
    private.mkdir(mode=0o755)
    private.chmod(0o755)
    with caplog.at_level(logging.WARNING):
        assert shared.connect("core", [], "1", ()) is None
    assert "not a folder that only you can use" in caplog.text
    private.chmod(0o700)


def test_runs_lists_servers_and_stop_ends_them(runs, private, millrace):
    pid = runs.seen(runs.report("one"), "one")["server"]
    pidfd = os.pidfd_open(pid)
    env = {"XDG_RUNTIME_DIR": str(private.parent)}
    printed = millrace("runs", "--root", runs.folder / "r" / "one", cwd=runs.folder, **env).stdout
    assert f"warm servers: core {pid}, " in printed.splitlines()[-1]
    assert "idle since" in printed
    assert str(pid) in millrace("warm", "stop", cwd=runs.folder, **env).stdout
    assert ended(pidfd)
    assert {path.suffix for path in private.iterdir()} == {".lock"}
    assert "no warm servers" in millrace("warm", "stop", cwd=runs.folder, **env).stdout


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf"])
def test_minutes_that_are_none(monkeypatch, text):
    monkeypatch.setenv("MILLRACE_WARM", text)
    with pytest.raises(ParameterError, match="must be a number of minutes"):
        shared.minutes()
