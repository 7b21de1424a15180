"""Other people's Python components, in processes and environments of their own."""
# ruff: noqa: PTH104, PTH109, PTH110, PTH115, PTH118, PTH123, PTH208, T201  the components are as people write them

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from millrace.backends.lightweight import Lightweight, recognise, why_not
from millrace.backends.log_reason import reason_in
from millrace.errors import PipelineError
from millrace.ir import spec as ir
from millrace.runner.result import State
from millrace.storage import store

from .conftest import IMAGE, PYTHON

PROGRAM = """\
program_path=$(mktemp -d)

printf "%s" "$0" > "$program_path/ephemeral_component.py"
_KFP_RUNTIME=true python3 -m kfp.dsl.executor_main --component_module_path \
"$program_path/ephemeral_component.py" "$@"
"""
SOURCE = "def f(): pass"
RUN = ("sh", "-ec", PROGRAM, SOURCE)
ENSURE_PIP = """
if ! [ -x "$(command -v pip)" ]; then
    python3 -m ensurepip || python3 -m ensurepip --user || apt-get install python3-pip
fi

"""
VENV = """
export PIP_DISABLE_PIP_VERSION_CHECK=1
tmp=$(mktemp -d)
python3 -m venv "$tmp/venv" --system-site-packages
. "$tmp/venv/bin/activate"
"""
PIP = "python3 -m pip install --quiet --no-warn-script-location"
KFP = """'kfp==2.17.0' '--no-deps' 'typing-extensions>=3.7.4,<5; python_version<"3.9"'"""
FLAGS = ("--quiet", "--no-warn-script-location")
KFP_ARGUMENTS = ("kfp==2.17.0", "--no-deps", 'typing-extensions>=3.7.4,<5; python_version<"3.9"')


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environments of all tests that do not need their own."""
    return tmp_path_factory.mktemp("envs")


@pytest.fixture
def root(tmp_path: Path, kept: Path) -> Path:
    """Where the runs of a test go, with the environments that earlier tests have made."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "envs").symlink_to(kept)
    return root


def container(install: str = "", image: str = IMAGE, command: tuple[str, ...] = RUN):
    install_command = ("sh", "-c", install) if install else ()
    return ir.Container(image, (*install_command, *command), ("--executor_input", "{{$}}"))


@pytest.mark.parametrize(
    ("install", "expected"),
    [
        ("", ()),
        (
            f'{ENSURE_PIP}PIP_DISABLE_PIP_VERSION_CHECK=1 {PIP} {KFP} && "$0" "$@"\n',
            ((*FLAGS, *KFP_ARGUMENTS),),
        ),
        (  # kfp 2.13
            f"{ENSURE_PIP}PIP_DISABLE_PIP_VERSION_CHECK=1 {PIP} {KFP}  &&  {PIP} 'six' "
            '\'a[b]>=1,<2; python_version>"3"\' && "$0" "$@"\n',
            ((*FLAGS, *KFP_ARGUMENTS), (*FLAGS, "six", 'a[b]>=1,<2; python_version>"3"')),
        ),
        (  # kfp 2.17, with an index and use_venv
            f"{ENSURE_PIP}PIP_DISABLE_PIP_VERSION_CHECK=1 {PIP} --index-url https://a/simple "
            f"--trusted-host a 'six'  &&  {VENV} {PIP} --index-url https://a/simple "
            f'--trusted-host a {KFP} && "$0" "$@"\n',
            (
                (*FLAGS, "--index-url", "https://a/simple", "--trusted-host", "a", "six"),
                (
                    *FLAGS,
                    "--index-url",
                    "https://a/simple",
                    "--trusted-host",
                    "a",
                    *KFP_ARGUMENTS,
                ),
            ),
        ),
        (  # kfp 2.13, with use_venv
            f"{ENSURE_PIP}PIP_DISABLE_PIP_VERSION_CHECK=1 {VENV} {PIP} {KFP}  &&  {PIP} "
            '\'git+https://a/b.git@main#egg=b&subdirectory=c\' && "$0" "$@"\n',
            (
                (*FLAGS, *KFP_ARGUMENTS),
                (*FLAGS, "git+https://a/b.git@main#egg=b&subdirectory=c"),
            ),
        ),
    ],
)
def test_what_it_installs(install, expected):
    start = 3 if install else 0
    assert recognise(container(install)) == Lightweight(expected, PYTHON, start)


@pytest.mark.parametrize(
    ("image", "python"),
    [
        ("python:3.11", "3.11"),
        ("python:3.11.4-slim-bookworm", "3.11"),
        ("docker.io/library/python:3.9-alpine3.18", "3.9"),
        ("mirror.example/library/python:3.12@sha256:0123456789abcdef", "3.12"),
        ("python:3", ""),
        ("python", ""),
        ("python:slim", ""),
        ("registry.example/ubi9/python-311:latest", "3.11"),
        ("registry.example/ubi8/python-39", "3.9"),
        ("python:3.11-with-torch", None),
        ("tensorflow/tensorflow:2.15.0", None),
        ("example/cpython:3.11", None),
        ("{{$.inputs.parameters['image']}}", None),
    ],
)
def test_the_python_of_an_image(image, python):
    found = recognise(container(image=image))
    assert (found.python if found else None) == python


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (container(image="tensorflow/tensorflow:2.15.0"), "may need what the image has installed"),
        (container(command=("python3", "-m", "kfp.dsl.executor_main")), "is in the image"),
        (container(command=("sh", "-ec", "echo", "x")), "a container component"),
        (container(command=("echo",)), "a container component"),
        (container(f'apt-get install -y git && {PIP} x && "$0" "$@"'), "more than install Python"),
        (container(f'{PIP} $(cat secrets) && "$0" "$@"'), "more than install Python packages"),
        (container(f'{PIP} \'x\' ; "$0" "$@"'), "more than install Python packages"),
        (container(f"{PIP} 'x'"), "more than install Python packages"),
    ],
)
def test_what_needs_docker_and_why(other, reason):
    assert recognise(other) is None
    assert reason in why_not(other)


def test_docker_is_asked_for_by_what_needs_it_only(kit, run, component, monkeypatch, tmp_path):
    def double(a: int) -> int:
        return a * 2

    def mixed():
        component()(double)(a=1)
        kit.dsl.component(base_image="tensorflow/tensorflow:2.15.0")(double)(a=1)

    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine")
    with pytest.raises(PipelineError) as caught:
        run(kit.compile(mixed))
    message = str(caught.value)
    assert "Running tensorflow/tensorflow:2.15.0 needs a Docker Engine" in message
    assert "tensorflow/tensorflow:2.15.0: its Python source may need what the image has" in message
    assert IMAGE not in message


def test_values_artifacts_and_metadata_go_from_one_to_the_next(kit, run, component):
    dsl = kit.dsl

    @component()
    def make(
        count: int, names: list, out: dsl.Output[dsl.Dataset], scores: dsl.Output[dsl.Metrics]
    ) -> NamedTuple("Made", [("total", float), ("table", dict), ("sure", bool)]):
        with open(out.path, "w") as file:
            file.write(" ".join(names) * count)
        out.metadata["rows"] = count
        scores.log_metric("accuracy", 0.75)
        return (count / 2, {"names": names}, True)

    @component()
    def read(
        given: dsl.Input[dsl.Dataset],
        total: float,
        table: dict,
        sure: bool,
        size: dsl.OutputPath(int),
    ) -> str:
        with open(size, "w") as file:
            file.write(str(len(given.path)))
        with open(given.path) as file:
            return f"{file.read()} {given.metadata['rows']} {total} {table['names']} {sure}"

    def chained(count: int = 2):
        made = make(count=count, names=["a", "ü"])
        values = {name: made.outputs[name] for name in ("total", "table", "sure")}
        read(given=made.outputs["out"], **values)

    pipeline = kit.compile(chained)
    result = run(pipeline)
    assert result.state is State.COMPLETE, result.error
    assert result.tasks["read"].parameters["Output"] == "a üa ü 2 1 ['a', 'ü'] True"
    assert result.tasks["make"].artifacts["scores"][0].metadata["accuracy"] == 0.75
    assert 1e6 < result.tasks["make"].peak_memory < 1e9
    again = run(pipeline)
    assert {task.state for task in again.tasks.values()} == {State.CACHED}


def test_its_process(single, component, monkeypatch, tmp_path, root):
    @component()
    def look() -> dict:
        import os
        import sys
        import tempfile

        return {
            "environment": dict(os.environ),
            "folder": os.getcwd(),
            "temporary": tempfile.mkdtemp(),
            "prefix": sys.prefix,
            "input": sys.stdin.read(),
            "session": os.getsid(0),
            "path": sys.path,
        }

    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("MILLRACE_ROOT", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("OF_THE_CALLER", "kept")
    task = single(look)
    assert task.state is State.COMPLETE, task.error
    seen = task.parameters["Output"]
    env = seen["environment"]
    assert env["OF_THE_CALLER"] == "kept"
    assert not {"PYTHONPATH", "MILLRACE_ROOT"} & env.keys()
    assert Path(env["VIRTUAL_ENV"]).parent == root / "envs"
    assert Path(seen["prefix"]).parent == root / "envs"
    assert env["PATH"].startswith(f"{env['VIRTUAL_ENV']}/bin:")
    assert seen["input"] == ""
    assert seen["session"] != os.getsid(0)
    assert seen["temporary"].startswith(env["TMPDIR"])
    assert not Path(env["TMPDIR"]).exists()
    assert not Path(seen["folder"]).exists()
    assert str(tmp_path) not in seen["path"]


def test_a_forked_process_is_as_one_that_was_started(kit, run, component):
    dsl = kit.dsl

    @component()
    def look(out: dsl.Output[dsl.Dataset]) -> dict:
        import atexit
        import logging
        import multiprocessing
        import os
        import signal
        import sys
        import threading
        import time

        def say(word):
            with open(out.path, "a") as file:
                file.write(word)

        atexit.register(say, "atexit")
        threading.Thread(target=lambda: (time.sleep(0.2), say("thread "))).start()
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            squares = pool.map(abs, [-3])
        with multiprocessing.Manager() as manager:
            shared = list(manager.list([1, 2]))
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE)
        return {
            "squares": squares,
            "shared": shared,
            "main": sys.modules["__main__"].__spec__.name,
            "path": [path.replace(os.getcwd(), "") for path in sys.path[1:]],
            "arguments": sys.argv[1::2],
            "flags": str(sys.flags),
            "signals": [str(signal.getsignal(number)) for number in numbers],
            "ours": [name for name in sys.modules if name.startswith("millrace")],
            "level": logging.getLogger().level,
            "encoding": sys.stdout.encoding,
            "threads": threading.active_count(),
            "input": os.readlink("/proc/self/fd/0"),
            "files": len(os.listdir("/proc/self/fd")),
        }

    def looking():
        look()
        look().set_env_variable("PYTHON_OF_NOBODY", "")  # so it is not forked

    result = run(kit.compile(looking))
    assert result.state is State.COMPLETE, result.error
    forked, started = result.tasks.values()
    for task in (forked, started):
        assert Path(task.artifacts["out"][0].uri).read_text() == "thread atexit"
    one, other = forked.parameters["Output"], started.parameters["Output"]
    assert [(key, one[key], other[key]) for key in one if one[key] != other[key]] == []
    assert forked.parameters["Output"]["ours"] == []


def test_two_forked_processes_draw_other_random_numbers(kit, run, component):
    @component()
    def draw() -> float:
        import random

        return random.random()

    def drawing():
        draw()
        draw().set_caching_options(False)

    first, second = run(kit.compile(drawing)).tasks.values()
    assert first.parameters != second.parameters


def test_packages_of_its_own_and_their_commands(single, component, wheel):
    @component(packages_to_install=[str(wheel)])
    def use() -> str:
        import subprocess

        import millpond

        said = subprocess.run(["millpond-say"], capture_output=True, text=True, check=True)
        return f"{millpond.LEVEL} {said.stdout.strip()}"

    assert single(use).parameters == {"Output": "3 deep"}
    with pytest.raises(ImportError):
        __import__("millpond")


@pytest.mark.parametrize("use_venv", [False, True])
def test_an_image_that_is_to_have_kfp_already(single, component, wheel, use_venv):
    @component(packages_to_install=[str(wheel)], install_kfp_package=False, use_venv=use_venv)
    def use() -> int:
        import millpond

        return millpond.LEVEL

    assert single(use).parameters == {"Output": 3}


def test_use_venv(single, component, wheel):
    @component(packages_to_install=[str(wheel)], use_venv=True)
    def use() -> int:
        import millpond

        return millpond.LEVEL

    assert single(use).parameters == {"Output": 3}


def test_dsl_get_uri_is_a_place_that_stays(single, component, kit):
    dsl = kit.dsl

    @component()
    def place(out: dsl.Output[dsl.Dataset]):
        from pathlib import Path

        out.uri = dsl.get_uri("mine")
        Path(out.path).write_text("stays")

    task = single(place)
    assert task.state is State.COMPLETE, task.error
    assert Path(task.artifacts["out"][0].uri).read_text() == "stays"
    assert len(task.artifacts["out"][0].metadata["digest"]) == 64


def test_pip_is_there_as_in_the_image(single, component):
    @component()
    def ask() -> str:
        import subprocess
        import sys

        command = [sys.executable, "-m", "pip", "--version"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert single(ask).parameters["Output"].startswith("pip ")


def test_a_package_that_changes_its_version_is_no_cache_hit(single, component, tmp_path):
    from .conftest import make_wheel

    def component_with(version: str):
        (tmp_path / version).mkdir()
        built = make_wheel(tmp_path / version, "millpond", "1.0", f"LEVEL = {version}\n")
        link = tmp_path / "millpond-1.0-py3-none-any.whl"
        link.unlink(missing_ok=True)
        link.write_bytes(built.read_bytes())

        @component(packages_to_install=[str(link)])
        def use() -> int:
            import millpond

            return millpond.LEVEL

        return use

    assert single(component_with("1")).parameters == {"Output": 1}
    second = single(component_with("2"))
    assert (second.state, second.parameters) == (State.COMPLETE, {"Output": 2})


def test_an_exception(single, component):
    @component()
    def fail(count: int = 3) -> int:
        raise ValueError(f"{count} is too few\nfor a mean")

    task = single(fail)
    assert task.state is State.FAILED
    assert reason_in(task.log) == "ValueError: 3 is too few for a mean"


@pytest.mark.parametrize("code", [0, 3])
def test_sys_exit(single, component, code):
    @component()
    def leave(code: int) -> int:
        import sys

        print("the last useful line")
        print("}")
        sys.exit(code)

    task = single(leave, {"code": code})
    assert task.state is State.FAILED
    assert task.error.startswith("it ended with exit code 3" if code else "it did not write its")
    assert reason_in(task.log) == "the last useful line"


def test_an_argument_that_is_too_long(single, component):
    @component()
    def count(text: str) -> int:
        return len(text)

    assert single(count, {"text": "x" * 100_000}).parameters == {"Output": 100_000}
    task = single(count, {"text": "x" * 131_072})
    assert "a container takes no more than 131,071" in task.error


def test_what_it_leaves_running_ends_with_it(single, component, fifo):
    @component()
    def leave(fifo: str) -> int:
        import json
        import subprocess
        import sys

        with open(fifo, "w") as file:
            kinds = [{}, {"start_new_session": True}]
            pids = [
                subprocess.Popen(["sleep", "600"], **kind, stdin=subprocess.DEVNULL).pid
                for kind in kinds
            ]
            # One whose parent has ended as well, as a daemon's has.
            daemon = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True)"
            made = subprocess.Popen(
                [sys.executable, "-c", daemon], stdout=subprocess.PIPE, start_new_session=True
            )
            pids.append(int(made.stdout.readline()))
            json.dump(pids, file)
        return 1

    task = single(leave, {"fifo": str(fifo.path)})
    assert task.state is State.COMPLETE, task.error
    for pid in json.loads(fifo.hear()):
        assert not Path(f"/proc/{pid}").exists()


def test_what_another_leaves_running_is_left_alone(kit, run, component, tmp_path):
    @component()
    def leave(mine: str, other: str, stays: bool) -> bool:
        """Leaves a daemon; who stays looks on until the other's daemon was killed."""
        import os
        import subprocess
        import sys
        import time

        daemon = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True)"
        made = subprocess.Popen(
            [sys.executable, "-c", daemon], stdout=subprocess.PIPE, start_new_session=True
        )
        pid = made.stdout.readline().decode().strip()
        made.wait()
        with open(mine + ".new", "w") as file:
            file.write(pid)
        os.rename(mine + ".new", mine)
        while not os.path.exists(other):
            time.sleep(0.02)
        with open(other) as file:
            others = file.read()
        while stays and os.path.exists("/proc/" + others):
            time.sleep(0.02)
        return os.path.exists("/proc/" + pid)

    def leaving(one: str, two: str):
        leave(mine=one, other=two, stays=True)
        leave(mine=two, other=one, stays=False)

    files = [tmp_path / "one", tmp_path / "two"]
    result = run(
        kit.compile(leaving), dict(zip(("one", "two"), map(str, files), strict=True)), cores=2
    )
    assert result.state is State.COMPLETE, result.error
    assert [task.parameters["Output"] for task in result.tasks.values()] == [True, True]
    for file in files:
        assert not Path(f"/proc/{file.read_text()}").exists()


def test_one_that_takes_too_long(single, component, kit, run, fifo):
    @component()
    def wait(fifo: str):
        import os
        import time

        with open(fifo, "w") as file:
            file.write(str(os.getpid()))
        time.sleep(600)

    def alone():
        wait(fifo=str(fifo.path))

    pipeline = kit.compile(alone)
    platform = (
        "---\nplatforms:\n  kubernetes:\n    deploymentSpec:\n      executors:\n"
        "        exec-wait:\n          activeDeadlineSeconds: 3\n"
    )
    pipeline.write_text(pipeline.read_text() + platform)
    started = time.monotonic()
    (task,) = run(pipeline).tasks.values()
    assert task.error == "took longer than 3 s"
    assert time.monotonic() - started < 30
    assert not Path(f"/proc/{fifo.hear()}").exists()


_PROGRAM = """
import sys
from millrace.cli import run
sys.exit(run.start(sys.argv[1], [], root=sys.argv[2]))
"""


def _start(pipeline: Path, root: Path, temporary: Path) -> subprocess.Popen[str]:
    temporary.mkdir()
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, pipeline, root],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"TMPDIR": str(temporary)},
        start_new_session=True,
    )


def _ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(20_000))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_it_ends_with_the_runner(component, kit, fifo, root, tmp_path, number):
    @component()
    def wait(fifo: str):
        import json
        import os
        import subprocess
        import time

        with open(fifo, "w") as file:
            other = subprocess.Popen(["sleep", "600"], start_new_session=True)
            json.dump([os.getpid(), os.getppid(), other.pid], file)
        time.sleep(600)

    def alone():
        wait(fifo=str(fifo.path))

    process = _start(kit.compile(alone), root, tmp_path / "temporary")
    pids = json.loads(fifo.hear())
    pids += [one.pid for one in psutil.Process(process.pid).children()]
    pidfds = [os.pidfd_open(pid) for pid in pids]
    started = time.monotonic()
    process.send_signal(number)
    assert all(map(_ended, pidfds))
    output, _ = process.communicate(timeout=30)
    assert process.returncode == (130 if number == signal.SIGINT else -number), output
    assert time.monotonic() - started < 15
    assert not list((tmp_path / "temporary").rglob("*"))


def test_ctrl_c_while_packages_are_installed(component, kit, fifo, root, tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (package / "backend.py").write_text(
        "import os, time\n"
        "def prepare_metadata_for_build_wheel(*_):\n"
        f"    with open({str(fifo.path)!r}, 'w') as file:\n"
        "        file.write(str(os.getpid()))\n"
        "    time.sleep(600)\n"
        "build_wheel = prepare_metadata_for_build_wheel\n"
    )

    @component(packages_to_install=[str(package)])
    def use() -> int:
        return 1

    def alone():
        use()

    process = _start(kit.compile(alone), root, tmp_path / "temporary")
    builder = os.pidfd_open(int(fifo.hear()))
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    assert time.monotonic() - started < 5
    assert _ended(builder)


def test_a_failed_installation_is_reported_in_one_line(single, component, monkeypatch):
    @component(packages_to_install=["six-of-nobody==1"])
    def use() -> int:
        return 1

    monkeypatch.setenv("PIP_NO_INDEX", "1")
    task = single(use)
    assert task.state is State.FAILED
    assert task.error.startswith(
        "Cannot install six-of-nobody==1: No matching distribution found for six-of-nobody==1 (see"
    )
    assert "\n" not in task.error


def test_running_as_the_caller_is_logged_once(kit, run, component, caplog):
    @component()
    def one() -> int:
        return 1

    @component(base_image="python:2.99")
    def other() -> int:
        return 1

    def several():
        one()
        one()
        other()

    assert run(kit.compile(several)).state is State.COMPLETE
    first, second = [
        record.getMessage() for record in caplog.records if "lightweight" in record.name
    ]
    assert "run as you on this machine" in first
    assert f"There is no Python 2.99 here: components for it run in Python {PYTHON}." in second


def test_embedded_files(kit, single, component, tmp_path):
    dsl = kit.dsl
    if not hasattr(dsl, "EmbeddedInput"):
        pytest.skip("this kfp has no embedded files")
    folder = tmp_path / "embedded"
    folder.mkdir()
    (folder / "levels.txt").write_text("deep")
    (folder / "millpond.py").write_text("LEVEL = 3")

    @component(embedded_artifact_path=str(folder))
    def use(files: dsl.EmbeddedInput[dsl.Dataset]) -> str:
        import os

        import millpond

        with open(os.path.join(files.path, "levels.txt")) as file:
            return f"{file.read()} {millpond.LEVEL}"

    task = single(use)
    assert task.parameters == {"Output": "deep 3"}, task.error


@pytest.mark.slow
def test_a_notebook(kit, run, tmp_path):
    dsl = kit.dsl
    if not hasattr(dsl, "notebook_component"):
        pytest.skip("this kfp has no notebooks")
    cells = [
        {"source": "count = 1", "metadata": {"tags": ["parameters"]}},
        {"source": "print('count is', count)\nassert count < 5, 'too many'", "metadata": {}},
    ]
    common = {"cell_type": "code", "execution_count": None, "outputs": []}
    notebook = {
        "cells": [{**common, **cell, "id": f"cell-{at}"} for at, cell in enumerate(cells)],
        "metadata": {"kernelspec": {"display_name": "Python 3", "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    (tmp_path / "notebook.ipynb").write_text(json.dumps(notebook))

    @dsl.notebook_component(notebook_path=str(tmp_path / "notebook.ipynb"), base_image=IMAGE)
    def note(count: int) -> str:
        dsl.run_notebook(count=count)
        return "done"

    def noting(count: int):
        note(count=count)

    pipeline = kit.compile(noting)
    (task,) = run(pipeline, {"count": 2}).tasks.values()
    assert task.parameters == {"Output": "done"}, task.error
    assert "count is 2" in task.log.read_text()
    (task,) = run(pipeline, {"count": 7}).tasks.values()
    assert reason_in(task.log).endswith("AssertionError: too many")


@pytest.mark.slow
def test_packages_from_an_index(single, component):
    @component(packages_to_install=["six==1.17.0", "toolz"])
    def use() -> str:
        import six
        import toolz

        return f"{six.__version__} {toolz.first([7])}"

    task = single(use)
    assert task.parameters == {"Output": "1.17.0 7"}, task.error


@pytest.fixture
def opened(kit, component):
    """A component that reads its input, or wants its address only."""

    dsl = kit.dsl

    @component()
    def opened(data: dsl.Input[dsl.Dataset], read: bool) -> str:
        if not read:
            return data.uri
        with open(data.path) as file:
            return file.read()

    return opened


def importing(kit, opened, uri, read):
    def remote():
        data = kit.dsl.importer(artifact_uri=uri, artifact_class=kit.dsl.Dataset)
        opened(data=data.output, read=read)

    return kit.compile(remote)


def test_what_is_imported_from_an_object_store_is_read(kit, run, opened, s3, monkeypatch):
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    store.write_bytes(f"s3://{s3.bucket}/of-others/data.csv", b"a,b")
    for scheme in ("s3", "minio"):
        uri = f"{scheme}://{s3.bucket}/of-others/data.csv"
        result = run(importing(kit, opened, uri, read=True))
        assert result.tasks["opened"].parameters == {"Output": "a,b"}


def test_an_import_that_cannot_be_read_is_an_address(kit, run, opened):
    uri = "ftp://bucket/data.csv"
    given = run(importing(kit, opened, uri, read=False)).tasks["opened"]
    assert given.parameters == {"Output": uri}
    failed = run(importing(kit, opened, uri, read=True)).tasks["opened"]
    assert f'Its input cannot be read here: "{uri}" begins with ftp://' in failed.error
