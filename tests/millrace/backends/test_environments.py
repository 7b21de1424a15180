"""Virtual environments that are made once and kept, whatever happens while they are made."""

import os
import select
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import psutil
import pytest

from millrace.backends import pip
from millrace.backends.environments import Environments, Requirements
from millrace.backends.interpreters import interpreter
from millrace.backends.servers import WarmServer
from millrace.errors import PipelineError

from .conftest import PYTHON, make_wheel

OWN = interpreter("")


@pytest.fixture
def environments(tmp_path):
    """Environments in a folder of their own."""
    server = WarmServer(tmp_path / "server.log")
    made = Environments(tmp_path / "envs", lambda: server)
    yield made
    made.cancel()
    server.close()


def wants(*installs: tuple[str, ...], python: str = "") -> Requirements:
    return Requirements(interpreter(python), installs)


# Creates an environment with the requirements in argv, and prints its path.
_PROGRAM = """
import os
import sys
from pathlib import Path
from millrace.backends.environments import Environments, Requirements
from millrace.backends.interpreters import interpreter
from millrace.backends.servers import WarmServer
folder, *arguments = sys.argv[1:]
server = WarmServer(Path(f"{folder}-{os.getpid()}.log"))
environments = Environments(Path(folder), lambda: server)
print(environments.get(Requirements(interpreter(""), (tuple(arguments),))).path, flush=True)
environments.cancel()
server.close()
"""


def start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, folder, *arguments], stdout=subprocess.PIPE, text=True
    )


@pytest.fixture
def slow_package(tmp_path, fifo):
    """A package whose build says that it has begun, and waits for a file."""
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "millpond"\nversion = "1.0"\n'
    )
    make_wheel(folder, "millpond", "1.0", "LEVEL = 1\ndef say(): pass\n")
    (folder / "backend.py").write_text(
        textwrap.dedent(f"""
        import os, shutil, time
        NAME = "millpond-1.0-py3-none-any.whl"
        HERE = os.path.dirname(os.path.abspath(__file__))
        def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
            if not os.path.exists({str(tmp_path / "go")!r}):
                with open({str(fifo.path)!r}, "w") as file:
                    file.write(str(os.getpid()))
            while not os.path.exists({str(tmp_path / "go")!r}):
                time.sleep(0.02)
            shutil.copy(os.path.join({str(folder)!r}, NAME), wheel_directory)
            return NAME
        """)
    )
    return folder


def test_two_processes_make_one_environment(tmp_path, wheel):
    both = [start(tmp_path / "envs", wheel) for _ in range(2)]
    said = {process.communicate(timeout=60)[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(said) == 1
    (folder,) = (one for one in (tmp_path / "envs").iterdir() if one.is_dir())
    assert said == {f"{folder}\n"}


def test_one_that_was_killed_half_way_is_made_anew(tmp_path, slow_package, fifo, environments):
    process = start(tmp_path, slow_package)
    pids = [int(fifo.hear())]
    pids += [one.pid for one in psutil.Process(process.pid).children(recursive=True)]
    pidfds = [os.pidfd_open(pid) for pid in pids]
    (half,) = tmp_path.glob("*-????????/")
    process.kill()
    process.communicate()
    for pidfd in pidfds:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        assert poll.poll(20_000)
    (tmp_path / "go").touch()
    environments = Environments(tmp_path, environments._server)
    found = environments.get(wants((str(slow_package),)))
    environments.cancel()
    assert found.path != half
    assert not half.exists()
    assert "millpond-1.0" in found.packages
    subprocess.run([found.executable, "-c", "import millpond"], check=True)


def test_who_waits_for_another_process_can_be_stopped(tmp_path, slow_package, fifo, environments):
    process = start(tmp_path / "envs", slow_package)
    fifo.hear()
    waiting = environments.start(wants((str(slow_package),)))
    environments.cancel()
    with pytest.raises(PipelineError, match="The run was stopped"):
        waiting.result()
    (tmp_path / "go").touch()
    assert process.communicate(timeout=60)[0]


def test_an_installation_can_be_stopped(tmp_path, slow_package, fifo, environments):
    begun = environments.start(wants((str(slow_package),)))
    builder = int(fifo.hear())
    environments.cancel()
    with pytest.raises(PipelineError, match="The run was stopped"):
        begun.result()
    assert not Path(f"/proc/{builder}").exists()
    assert not list((tmp_path / "envs").glob("*-*"))
    with pytest.raises(PipelineError, match="The run was stopped"):
        environments.get(wants(("another",)))


def test_an_environment_is_made_once_and_found_again(tmp_path, environments, wheel):
    first = environments.get(wants((str(wheel),)))
    kfp, millpond, *seeded = first.packages.split()
    assert [kfp, *seeded] == [f"kfp-{_kfp()}", *_seeded()]
    assert millpond.startswith("millpond-1.5@")
    again = Environments(tmp_path / "envs", lambda: pytest.fail("it is made again"))
    assert again.get(wants((str(wheel),))) == first
    again.cancel()


def test_a_pre_release_of_kfp_is_not_replaced(environments, tmp_path):
    module = "kfp/components/executor_main.py"
    wheel = make_wheel(tmp_path, "kfp", "2.0.0b16", "", module)
    assert "kfp-2.0.0b16@" in environments.get(wants((str(wheel),))).packages


def _kfp() -> str:
    from importlib.metadata import version

    return version("kfp")


def _seeded() -> list[str]:
    wheels = Path(OWN.bundled).glob("setuptools-*.whl")
    return [f"setuptools-{wheel.name.split('-')[1]}" for wheel in wheels]


def test_an_environment_that_somebody_removed_is_made_again(environments, wheel):
    import shutil

    first = environments.get(wants((str(wheel),)))
    shutil.rmtree(first.path)
    other = Environments(first.path.parent, environments._server)
    second = other.get(wants((str(wheel),)))
    other.cancel()
    assert second.executable.exists()


@pytest.mark.slow
def test_a_package_that_does_not_exist(environments, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(PipelineError) as caught:
        environments.get(wants(("--quiet", "six-of-nobody==1", "toolz")))
    message = str(caught.value)
    assert message.startswith(
        "Cannot install six-of-nobody==1, toolz: No matching distribution found for "
        "six-of-nobody==1 (see "
    )
    assert "\n" not in message
    log = message.rpartition("(see ")[2].rstrip(")")
    assert "six-of-nobody" in Path(log).read_text()


@pytest.mark.slow
def test_an_index_that_cannot_be_reached(environments, monkeypatch):
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    install = ("--index-url", "http://localhost:9/simple", "six")
    with pytest.raises(PipelineError, match="Cannot install six: the package index cannot be reac"):
        environments.get(wants(install))


@pytest.mark.slow
def test_a_package_that_cannot_be_built(environments, tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (folder / "backend.py").write_text(
        "def prepare_metadata_for_build_wheel(*_):\n    raise OSError('no compiler')\n"
        "def build_wheel(*_):\n    raise OSError('no compiler')\n"
    )
    with pytest.raises(PipelineError, match=r"Cannot install .*broken: OSError: no compiler"):
        environments.get(wants((str(folder),)))


@pytest.mark.slow
def test_packages_that_contradict_each_other(environments, tmp_path, wheel):
    (tmp_path / "other").mkdir()
    other = make_wheel(tmp_path / "other", "millpond", "1.6", "")
    with pytest.raises(PipelineError, match=r"Cannot install .*millpond.* because these package"):
        environments.get(wants((str(wheel), str(other))))


@pytest.mark.slow
def test_an_environment_without_uv(environments, monkeypatch, wheel):
    monkeypatch.setattr(pip, "_uv", lambda: "")
    found = environments.get(wants((str(wheel),)))
    assert "millpond-1.5" in found.packages
    subprocess.run([found.path / "bin" / "pip", "--version"], check=True)


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.12", "3.13"])
def test_another_python(environments, version):
    if interpreter(version) is None:
        pytest.skip(f"there is no Python {version} here")
    found = environments.get(wants(python=version))
    command = [found.executable, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert (found.python, said) == (version, f"{version}\n")
    executor = [found.executable, "-m", "kfp.dsl.executor_main", "--help"]
    subprocess.run(executor, check=True, env={"_KFP_RUNTIME": "true"}, stdout=subprocess.DEVNULL)


def test_pythons():
    assert (OWN.version, OWN.path) == (PYTHON, sys.executable)
    assert interpreter(PYTHON) == OWN
    assert interpreter("2.99") is None


def test_environments_differ_by_what_they_are_made_of(wheel):
    wanted = [
        wants(),
        wants(("six",)),
        wants(("six", "toolz")),
        wants(("six",), ("toolz",)),
        wants(("toolz",), ("six",)),
    ]
    assert len({one.key for one in wanted}) == len(wanted)
    before = wants((str(wheel),)).key
    os.utime(wheel, ns=(1, 1))
    assert wants((str(wheel),)).key != before


def test_many_are_made_at_once_and_each_once(environments):
    wanted = [wants(), wants((f"kfp=={_kfp()}", "--no-deps"))]
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda one=one: found.append(environments.get(one).path))
        for one in wanted * 3
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 2


@pytest.mark.parametrize(
    ("file", "variables", "expected"),
    [
        ("", {}, []),
        ("[global]\ntimeout = 3\n", {"PIP_CERT": "/a.pem"}, []),
        ("[global]\nindex-url = https://a/simple\n", {}, ["--index-url", "https://a/simple"]),
        (
            "[global]\nindex_url = https://a/simple\n[install]\nindex-url = https://b/simple\n",
            {"PIP_EXTRA_INDEX_URL": "https://c https://d"},
            [
                *("--index-url", "https://b/simple"),
                *("--extra-index-url", "https://c", "--extra-index-url", "https://d"),
            ],
        ),
        ("[install]\nconstraint = a.txt\n", {}, None),
        ("", {"PIP_NO_BINARY": ":all:"}, None),
        ("[list]\nformat = json\n", {}, []),
        ("no section\n", {}, None),
        ("", {"PIP_FIND_LINKS": "/there/is/none"}, []),
    ],
)
def test_settings_of_pip_that_uv_can_follow(tmp_path, monkeypatch, file, variables, expected):
    for key in [key for key in os.environ if key.startswith("PIP_")]:
        monkeypatch.delenv(key)
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "pip.conf").write_text(file)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    assert pip._uv_options() == expected
