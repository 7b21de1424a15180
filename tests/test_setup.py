"""Set-up, constraints and the Makefile."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LINES = {"classic": ("3.10", "3.11"), "current": ("3.10", "3.11", "3.12", "3.13")}
spec = importlib.util.spec_from_file_location("constraints", ROOT / "scripts/constraints.py")
constraints = importlib.util.module_from_spec(spec)
spec.loader.exec_module(constraints)

# A fake Python that answers the script's questions, and logs its commands.
PYTHON = """\
#!/bin/sh
echo "python $*" >>"$LOG"
case "$*" in
  *version_info*) echo {version} ;;
  *sys.executable*) echo "$0" ;;
  *Python.h*) exit {headers} ;;
  *python_version*) echo {version}.9 ;;
  "-m venv"*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  *"pip install"*uv) cp "$INSTALLED_UV" .venv/bin/uv ;;
esac
"""
UV = """\
#!/bin/sh
echo "uv $*" >>"$LOG"
case "$1" in
  venv) mkdir -p .venv/bin && cp "$4" .venv/bin/python ;;
esac
"""


class Machine:
    """A checkout on a machine with just the commands that a test gives it."""

    def __init__(self, folder: Path) -> None:
        self.checkout, self.bin, self.log = folder / "checkout", folder / "bin", folder / "log"
        self.home = folder / "home"
        for path in (self.checkout / "scripts", self.bin, self.home):
            path.mkdir(parents=True)
        shutil.copy(ROOT / "scripts/setup.sh", self.checkout / "scripts")
        shutil.copy(ROOT / "pyproject.toml", self.checkout)
        shutil.copytree(ROOT / "constraints", self.checkout / "constraints")
        for name in (
            "bash",
            "sh",
            "dirname",
            "sed",
            "sort",
            "head",
            "cat",
            "sha256sum",
            "rm",
            "mkdir",
        ):
            (self.bin / name).symlink_to(shutil.which(name))
        for name in ("cp", "chmod"):
            (self.bin / name).symlink_to(shutil.which(name))
        self.is_("Linux", "x86_64", "glibc 2.36")
        self.has("g++", "#!/bin/sh\n")

    def is_(self, system: str, machine: str, libc: str) -> None:
        self.has("uname", f'#!/bin/sh\n[ "$1" = -s ] && echo {system} || echo {machine}\n')
        self.has("getconf", f"#!/bin/sh\necho {libc}\n" if libc else "#!/bin/sh\nexit 1\n")

    def has(self, name: str, script: str, folder: Path | None = None) -> Path:
        path = (folder or self.bin) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def has_python(self, version: str, folder: Path | None = None, headers: int = 0) -> Path:
        script = PYTHON.format(version=version, headers=headers)
        return self.has(f"python{version}" if folder is None else "python", script, folder)

    def set_up(self, **environment: str) -> subprocess.CompletedProcess[str]:
        clean = {"PATH": str(self.bin), "HOME": str(self.home), "LOG": str(self.log)}
        clean["INSTALLED_UV"] = str(self.has("uv", UV, self.home / "index"))
        return subprocess.run(
            [self.checkout / "scripts/setup.sh"],
            env=clean | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def did(self, what: str) -> list[str]:
        """The lines of what was run that hold `what`."""
        return [line for line in self.log.read_text().splitlines() if what in line]


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("libc", "line", "python"),
    [
        ("glibc 2.31", "classic", "3.11"),
        ("glibc 2.36", "classic", "3.11"),
        ("glibc 2.39", "current", "3.13"),
        ("glibc 2.41", "current", "3.13"),
    ],
)
def test_the_line_fits_glibc_and_python(machine, libc, line, python):
    machine.is_("Linux", "x86_64", libc)
    machine.has("uv", UV)
    for version in ("3.10", "3.11", "3.12", "3.13", "3.14"):
        machine.has_python(version)
    done = machine.set_up()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"The {line} dependency line, because {libc} is ")
    assert f"Python {python}.9 at {machine.bin}/python{python}." in done.stdout
    (install,) = machine.did("uv pip install")
    assert f"--constraint constraints/{line}.txt" in install
    assert "--compile-bytecode" in install
    assert install.endswith("--editable .[dev]")
    assert ("--override constraints/classic.override" in install) == (line == "classic")


def test_a_second_run_installs_nothing_until_something_changed(machine):
    machine.has("uv", UV)
    machine.has_python("3.11")
    assert machine.set_up().returncode == 0
    machine.log.unlink()
    again = machine.set_up()
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert not machine.log.exists(), "it started nothing"
    with (machine.checkout / "constraints/classic.txt").open("a") as pins:
        pins.write("six==1.17.0\n")
    assert machine.set_up().returncode == 0
    assert machine.did("uv pip install")
    assert not machine.did("uv venv"), "the environment itself still fits"


def test_an_install_that_failed_is_tried_again(machine):
    machine.has("uv", UV + '[ "$1" != pip ]\n')
    machine.has_python("3.11")
    assert machine.set_up().returncode == 1
    machine.has("uv", UV)
    assert "is ready" in machine.set_up().stdout


def test_without_uv_pip_installs_it_into_the_environment(machine):
    machine.has_python("3.11")
    done = machine.set_up()
    assert done.returncode == 0, done.stderr
    assert machine.did("pip install --quiet --disable-pip-version-check")[0].endswith(
        "--constraint constraints/classic.txt uv"
    )
    assert machine.did("uv pip install")


def test_an_environment_of_a_python_that_no_longer_fits_is_made_anew(machine):
    machine.has("uv", UV)
    machine.has_python("3.11")
    machine.has_python("3.12", machine.checkout / ".venv/bin")
    (machine.checkout / ".venv/old").touch()
    assert machine.set_up().returncode == 0
    assert not (machine.checkout / ".venv/old").exists()


def test_pyenv_is_searched_and_a_shim_that_does_not_run_is_passed_over(machine):
    machine.has("uv", UV)
    machine.has(
        "python3.11", "#!/bin/sh\necho 'pyenv: python3.11: command not found' >&2\nexit 127\n"
    )
    python = machine.has_python("3.11", machine.home / ".pyenv/versions/3.11.7/bin")
    assert f"Python 3.11.9 at {python}." in machine.set_up().stdout


def test_a_python_with_headers_is_taken_before_one_without(machine):
    machine.has("uv", UV)
    machine.has_python("3.11", headers=1)
    python = machine.has_python("3.11", machine.home / ".pyenv/versions/3.11.7/bin")
    assert f"at {python}." in machine.set_up().stdout


def test_a_named_python_is_taken(machine):
    machine.has("uv", UV)
    machine.has_python("3.11")
    python = machine.has_python("3.10")
    assert f"at {python}." in machine.set_up(PYTHON=str(python)).stdout


@pytest.mark.parametrize(
    ("system", "processor", "libc", "said"),
    [
        ("Darwin", "arm64", "", "no wheels for Darwin on arm64, only for Linux on x86_64"),
        ("Linux", "aarch64", "glibc 2.36", "no wheels for Linux on aarch64"),
        ("Linux", "x86_64", "", "C library is not glibc (Alpine's is musl)"),
        ("Linux", "x86_64", "glibc 2.28", "glibc 2.28 is too old: 2.31 or later is needed"),
    ],
)
def test_an_unsupported_system_is_reported(machine, system, processor, libc, said):
    machine.is_(system, processor, libc)
    machine.has_python("3.11")
    done = machine.set_up()
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert not (machine.checkout / ".venv").exists()


def test_a_missing_python_is_reported_with_what_to_install(machine):
    machine.has_python("3.12")
    done = machine.set_up()
    assert done.returncode == 1
    assert "error: No Python fits the classic dependency line (glibc 2.36 is older" in done.stderr
    assert "it takes 3.11 3.10." in done.stderr
    assert "apt-get install python3.11" in done.stderr


def test_a_named_python_that_does_not_fit_is_reported(machine):
    python = machine.has_python("3.13")
    done = machine.set_up(PYTHON=str(python))
    assert f"error: PYTHON={python} does not fit the classic line" in done.stderr
    assert "it is 3.13" in done.stderr


def test_a_missing_compiler_or_headers_are_reported(machine):
    machine.has_python("3.11", headers=1)
    assert "apt-get install python3.11-dev" in machine.set_up().stderr
    (machine.bin / "g++").unlink()
    assert "apt-get install g++" in machine.set_up().stderr


def read_pins(line: str) -> list[Requirement]:
    text = (ROOT / f"constraints/{line}.txt").read_text(encoding="utf-8")
    return [Requirement(pin) for pin in text.splitlines() if not pin.startswith("#")]


def read_requirements() -> list[Requirement]:
    """Every requirement of a development set-up, from pyproject.toml.

    gcsfs and adlfs are resolved by those who want them: they do not fit every s3fs.
    """
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = text[text.index("\ndependencies = [") : text.index("\n[project.scripts]")]
    found = re.findall(r'"([A-Za-z][^"]+)"', re.sub(r"\s#.*", "", project))
    left_out = ("millrace[", "gcsfs", "adlfs")
    return [Requirement(line) for line in found if not line.startswith(left_out)]


@pytest.mark.parametrize("line", LINES)
def test_constraints_pin_each_requirement_once_for_every_python_within_its_range(line):
    requirements = read_requirements()
    assert len(requirements) > 25
    for python in LINES[line]:
        chosen: dict[str, str] = {}
        for pin in read_pins(line):
            if pin.marker is None or pin.marker.evaluate({"python_version": python}):
                (version,) = pin.specifier
                assert version.operator == "=="
                assert chosen.setdefault(canonicalize_name(pin.name), version.version)
        for requirement in requirements:
            version = chosen[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), f"{requirement} on Python {python}"


def test_constraints_hold_versions_and_nothing_else():
    for line in LINES:
        text = (ROOT / f"constraints/{line}.txt").read_text(encoding="utf-8")
        assert text.startswith(f"# The {line} line's versions")
        assert "make constraints" in text
        assert "://" not in text
        assert "--" not in text


def test_the_lines_are_the_ones_that_set_up_knows():
    script = (ROOT / "scripts/setup.sh").read_text(encoding="utf-8")
    for line, pythons in LINES.items():
        source = (ROOT / f"constraints/{line}.in").read_text(encoding="utf-8")
        assert f"# python: {' '.join(pythons)}\n" in source
        assert f"line={line} " in script
        assert f"versions=({' '.join(reversed(pythons))})" in script


def test_pins_are_merged_over_pythons():
    pins = {
        "3.10": {"a": "1", "b": "1", "old": "1"},
        "3.11": {"a": "1", "b": "2"},
        "3.12": {"a": "1", "b": "3", "new": "1"},
    }
    assert constraints.merge(pins) == [
        "a==1",
        'b==1 ; python_version <= "3.10"',
        'b==2 ; python_version == "3.11"',
        'b==3 ; python_version >= "3.12"',
        'new==1 ; python_version >= "3.12"',
        'old==1 ; python_version <= "3.10"',
    ]


def test_make_lists_its_targets_with_what_they_do():
    done = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^\.PHONY: (\S+)$", makefile, re.MULTILINE)
    assert {"run", "test", "lint", "format", "compile", "bench", "docs", "clean"} <= set(targets)
    for target in targets:
        assert re.search(rf"^  make {target} +\S", done.stdout, re.MULTILINE), target


@pytest.mark.parametrize(
    "script", [".ci/run", "docker/engine.sh", "docker/layer", "scripts/setup.sh"]
)
def test_scripts_are_executable_and_parse(script):
    assert os.access(ROOT / script, os.X_OK)
    shell = (ROOT / script).read_text(encoding="utf-8").splitlines()[0].split("/")[-1].split()[-1]
    subprocess.run([shell, "-n", script], cwd=ROOT, check=True)


def test_this_environment_has_what_its_line_pins():
    """An environment that drifted from its line shows here first."""
    glibc = tuple(map(int, platform.libc_ver()[1].split(".")))
    line = "current" if glibc >= (2, 39) else "classic"
    installed = importlib.metadata.version("tensorflow-transform")
    assert f"tensorflow-transform=={installed}" in map(str, read_pins(line))
