"""Installs packages in a virtual environment with pip, or with uv where that is equivalent."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from millrace.backends.interpreters import Interpreter
from millrace.backends.log_reason import reason_in
from millrace.errors import PipelineError

if TYPE_CHECKING:
    from importlib.metadata import Distribution

# pip's settings that do not affect what is installed.
_NEUTRAL = (
    *("cache-dir", "cert", "default-timeout", "disable-pip-version-check", "log", "no-cache-dir"),
    *("no-color", "no-input", "no-python-version-warning", "no-warn-script-location"),
    *("progress-bar", "quiet", "require-virtualenv", "retries", "root-user-action", "timeout"),
    "verbose",
)
# Those that uv has under the same name.
_SAME_IN_UV = ("extra-index-url", "find-links", "index-url")
_KFP = Path("kfp") / "dsl" / "executor_main.py"
_KFP_BEFORE = Path("kfp") / "components" / "executor_main.py"  # in pre-releases of kfp 2.0
_UNREACHABLE = ("NewConnectionError", "name resolution", "Connection refused", "ConnectTimeout")

Run = Callable[[Sequence[str]], int]


def fill(
    folder: Path,
    packages: Path,
    interpreter: Interpreter,
    installs: Sequence[Sequence[str]],
    run: Run,
    log: Path,
) -> None:
    """Creates a virtual environment with pip, kfp and the required packages.

    Args:
        folder: Its folder.
        packages: The folder of its packages.
        interpreter: Its Python.
        installs: The arguments of each `pip install`, in order.
        run: Runs a command and returns its exit code.
        log: The file that takes the output of commands.

    Raises:
        PipelineError: A package cannot be installed; the message has pip's reason.
    """
    if run([interpreter.path, "-m", "venv", "--without-pip", str(folder)]):
        raise PipelineError(
            f"Cannot create a virtual environment with {interpreter.path}: {reason_in(log)}"
        )
    python, uv = str(folder / "bin" / "python"), _uv()
    _install_pip(python, interpreter, uv, run, log)
    options = _uv_options() if uv else None
    for arguments in installs:
        if not _copy_kfp(arguments, interpreter, packages):
            _install(python, arguments, uv if options is not None else "", options or [], run, log)
    if not any((packages / one).exists() for one in (_KFP, _KFP_BEFORE)):
        # With install_kfp_package=False the image must have it; here nothing else provides it.
        own = _own_kfp()
        name = f"kfp=={own.version}" if own else "kfp"
        if not _copy_kfp([name, "--no-deps"], interpreter, packages):
            _install(python, [name, "--no-deps"], "", [], run, log)


def _uv() -> str:
    """Returns the path of uv, beside this Python or on PATH; empty if there is none."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.is_file() else shutil.which("uv") or ""


def _install_pip(python: str, interpreter: Interpreter, uv: str, run: Run, log: Path) -> None:
    """Installs Python's bundled pip, since images have it and a component may call it."""
    wheels = Path(interpreter.bundled).glob("*.whl") if interpreter.bundled else ()
    names = sorted(wheel.name.partition("-")[0] for wheel in wheels)
    if uv and names:
        command = [uv, "pip", "install", "--quiet", "--python", python, "--no-index"]
        if not run([*command, "--find-links", interpreter.bundled, *names]):
            return
    if run([python, "-m", "ensurepip", "--default-pip"]):
        raise PipelineError(
            f"{interpreter.path} cannot install pip: {reason_in(log)}. Install Python's ensurepip "
            f"(on Debian, the package python{interpreter.version}-venv)."
        )


def _install(
    python: str, arguments: Sequence[str], uv: str, options: Sequence[str], run: Run, log: Path
) -> None:
    arguments = [one for one in arguments if one not in ("--quiet", "--no-warn-script-location")]
    if uv:
        if any(one.startswith(("--index-url", "-i")) for one in arguments):
            options = []  # they replace the user's settings
        command = [uv, "pip", "install", "--python", python, "--compile-bytecode"]
        command += ["--index-strategy", "unsafe-best-match", *options]
        if not run([*command, *arguments]):
            return
        # pip has the last word: it may have settings and sources that uv does not.
    size = log.stat().st_size if log.exists() else 0
    if run([python, "-m", "pip", "install", "--no-warn-script-location", *arguments]):
        with log.open("rb") as file:
            file.seek(size)
            said = file.read().decode("utf-8", "replace")
        wanted = ", ".join(_names(arguments))
        raise PipelineError(f"Cannot install {wanted}: {_reason(said)} (see {log})")


def _names(arguments: Sequence[str]) -> Iterator[str]:
    """Yields the requirements among the arguments of pip."""
    is_value = False
    for one in arguments:
        if not is_value and not one.startswith("-"):
            yield one
        is_value = one.startswith("--") and "=" not in one and one.endswith(("-url", "-host"))


def _reason(said: str) -> str:
    """Returns in one line why pip failed."""
    lines = [line.strip() for line in said.splitlines()]
    if any(sign in line for line in lines for sign in _UNREACHABLE):
        return "the package index cannot be reached"
    errors = [line[len("ERROR: ") :] for line in lines if line.startswith("ERROR: ")]
    telling = [one for one in errors if not one.startswith(("ResolutionImpossible", "Could not f"))]
    if telling:
        return telling[-1].rstrip(".")
    # A package that is built here: pip names it when the build starts.
    begun = [line.split()[1] for line in lines if re.match(r"Collecting \S", line)]
    where = f"{begun[-1]} cannot be built: " if begun else ""
    raised = [line for line in lines if re.match(r"(?:\w+\.)*\w*(?:Error|Exception)\b", line)]
    last = (raised or errors or [line for line in lines if line.startswith("error: ")] or [""])[-1]
    return where + (last or "pip gives no reason").rstrip(".")


def _uv_options() -> list[str] | None:
    """Returns the user's pip settings as options of uv; None if there is no equivalent."""
    settings = {name: value for name, value in _settings().items() if name not in _NEUTRAL}
    if not settings.keys() <= set(_SAME_IN_UV):
        return None
    options: list[str] = []
    for name, value in settings.items():
        for one in value.split():
            if name != "find-links" or "://" in one or Path(one).exists():
                options += [f"--{name}", one]
    return options


def _settings() -> dict[str, str]:
    """Returns the user's settings of `pip install`, from pip's files and environment variables.

    `pip config list` would take half a second, and four in a new environment.
    """
    config = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    files = [
        *(Path(one) / "pip" / "pip.conf" for one in _config_folders()),
        Path("/etc/pip.conf"),
        Path("~/.pip/pip.conf").expanduser(),
        config / "pip" / "pip.conf",
    ]
    if own := os.environ.get("PIP_CONFIG_FILE"):
        files = [] if own == os.devnull else [*files, Path(own)]
    import configparser

    parser = configparser.RawConfigParser()
    try:
        parser.read(files, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return {"unreadable": ""}  # pip will report it
    settings: dict[str, str] = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            settings |= {key.replace("_", "-"): value for key, value in parser.items(section)}
    for key, value in os.environ.items():
        if key.startswith("PIP_") and key != "PIP_CONFIG_FILE" and value:
            settings[key[len("PIP_") :].lower().replace("_", "-")] = value
    return settings


def _config_folders() -> list[str]:
    return (os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")


def _own_kfp() -> Distribution | None:
    """Returns the kfp that is installed with Millrace, if there is one that can be copied."""
    import importlib.metadata

    try:
        found = importlib.metadata.distribution("kfp")
    except importlib.metadata.PackageNotFoundError:
        return None
    has_it = any(Path(file) == _KFP for file in found.files or ())
    return found if has_it else None


def _copy_kfp(arguments: Sequence[str], interpreter: Interpreter, packages: Path) -> bool:
    """Copies the kfp that is installed here, if `arguments` ask for that version and nothing else.

    kfp's executor needs the standard library only. So most components run without the network.
    """
    own = _own_kfp()
    if own is None or "--no-deps" not in arguments:
        return False
    needed = [one for one in _names(arguments) if not one.startswith("typing-extensions")]
    has_typing = tuple(map(int, interpreter.version.split("."))) >= (3, 9)
    if needed != [f"kfp=={own.version}"] or not has_typing:
        return False
    for file in own.files or ():
        source, target = Path(str(file.locate())), packages / file
        if ".." not in file.parts and file.suffix != ".pyc" and source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    return True
