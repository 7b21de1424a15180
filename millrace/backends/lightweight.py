"""Runs lightweight Python components without Docker: in a process and environment of their own.

`@dsl.component` compiles a Python function into a command that holds its source. It installs
packages with pip, writes the source to a file, and has kfp's executor run it:

    sh -c INSTALL  sh -ec PROGRAM SOURCE  --executor_input {{$}} --function_to_execute NAME

INSTALL is missing if there is nothing to install. Here the packages come from a persistent virtual
environment, so only the rest is run. If PROGRAM is the usual one, it is run in a fork of a process
that has already imported kfp's executor.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import re
import shlex
import sys
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from millrace.backends import mount_namespace
from millrace.backends.base import Ended, Work, check_length
from millrace.backends.environments import Environment, Environments, Requirements
from millrace.backends.interpreters import interpreter
from millrace.backends.servers import (
    WarmServer,
    callers_environment,
    command_request,
    component_request,
)
from millrace.errors import PipelineError
from millrace.ir import spec as ir

logger = logging.getLogger(__name__)

_ARGUMENT = r"""(?:'[^'\n]*'|"[^"\n]*"|[^\s'"&;|<>$`])+"""
_PIP = re.compile(rf"python3? -m pip install((?: +{_ARGUMENT})+)")
_VENV = (
    "export PIP_DISABLE_PIP_VERSION_CHECK=1 tmp=$(mktemp -d) "
    'python3 -m venv "$tmp/venv" --system-site-packages . "$tmp/venv/bin/activate" '
)
_ENSURE_PIP = (
    'if ! [ -x "$(command -v pip)" ]; then python3 -m ensurepip || '
    "python3 -m ensurepip --user || apt-get install python3-pip fi "
)
# What is left of INSTALL with PIP in place of each `pip install …` and one space for any other.
_INSTALL = re.compile(
    rf"(?:{re.escape(_ENSURE_PIP)})?(?:PIP_DISABLE_PIP_VERSION_CHECK=1 )?"
    rf'(?:{re.escape(_VENV)})?PIP(?: && (?:{re.escape(_VENV)})?PIP)* && "\$0" "\$@"'
)
_PROGRAM = re.compile(
    re.escape(
        'program_path=$(mktemp -d) printf "%s" "$0" > "$program_path/ephemeral_component.py" '
        "_KFP_RUNTIME=true python3 -m kfp.dsl.executor_main "
        '--component_module_path "$program_path/ephemeral_component.py" "$@"'
    )
)
_AT_RUN_TIME = {"_KFP_RUNTIME": "true"}
# The imports of kfp.dsl.executor_main, which is not imported itself as it runs as a program.
_EXECUTORS_IMPORTS = (
    "argparse",
    "locale",
    "kfp.dsl.executor",
    "kfp.dsl.kfp_config",
    "kfp.dsl.utils",
)
_READ_AT_START = ("GLIBC_", "LANG", "LC_", "LD_", "MALLOC_", "PYTHON", "TZ")
_EXECUTOR = re.compile(r"kfp\.(?:dsl|components)\.executor_main")
# An official Python image, its mirror, or a Python image of the UBI family.
_OFFICIAL = re.compile(
    r"(?:.*/)?python(?::(?:latest|(?P<version>\d+\.\d+)[\w.]*|\d+)?"
    r"(?:-?(?:slim|alpine|bookworm|bullseye|buster|trixie)[\d.]*)*)?(?:@sha256:[0-9a-f]+)?"
)
_UBI = re.compile(r"(?:.*/)?ubi\d+/python-(?P<major>\d)(?P<minor>\d+)(?:[:@].*)?")


@dataclasses.dataclass(frozen=True)
class Lightweight:
    """A lightweight component, parsed from its command.

    Attributes:
        installs: The arguments of each `pip install`.
        python: The Python of its image, such as "3.11"; empty if the image does not say.
        start: The index of PROGRAM's shell in its command.
    """

    installs: tuple[tuple[str, ...], ...]
    python: str
    start: int


@functools.lru_cache(maxsize=1024)
def _recognise(image: str, command: tuple[str, ...]) -> Lightweight | str:
    """Returns a lightweight component, or why its container cannot run without Docker."""
    start = _program(command)
    if start is None:
        if any(_EXECUTOR.search(part) for part in command):
            return "its Python source is in the image"
        return "it is a container component"
    version = _python(image)
    if version is None:
        return "its Python source may need what the image has installed"
    installs: list[tuple[str, ...]] = []
    if start:
        text = command[2]
        skeleton = " ".join(_PIP.sub("PIP", text).split())
        if start != 3 or command[:2] != ("sh", "-c") or not _INSTALL.fullmatch(skeleton):
            return "it does more than install Python packages before its Python source runs"
        installs = [tuple(shlex.split(found[1])) for found in _PIP.finditer(text)]
    return Lightweight(tuple(installs), version, start)


def _program(command: tuple[str, ...]) -> int | None:
    """Returns the index of `sh -ec PROGRAM SOURCE` in a command that ends with it."""
    start = len(command) - 4
    if start < 0 or command[start : start + 2] != ("sh", "-ec"):
        return None
    program = command[start + 2]
    is_ours = _EXECUTOR.search(program) and "ephemeral_component.py" in program
    return start if is_ours else None


def _python(image: str) -> str | None:
    """Returns the Python version of a plain Python image; None for any other image."""
    if found := _OFFICIAL.fullmatch(image):
        return found["version"] or ""
    if found := _UBI.fullmatch(image):
        return f"{found['major']}.{found['minor']}"
    return None


def recognise(container: ir.Container) -> Lightweight | None:
    """Returns the lightweight component of a command if it can run here, else None."""
    found = _recognise(container.image, tuple(container.command))
    return found if isinstance(found, Lightweight) else None


def why_not(container: ir.Container) -> str:
    """Returns why a container cannot run without Docker; empty if it can."""
    found = _recognise(container.image, tuple(container.command))
    return found if isinstance(found, str) else ""


class LightweightBackend:
    """Runs lightweight Python components as the caller, in virtual environments that are kept."""

    name = "lightweight"

    def __init__(self, folder: Path, environments: Path) -> None:
        """Starts nothing yet.

        Args:
            folder: The run's folder, for the log of the server that starts commands.
            environments: Where virtual environments are kept.
        """
        self._folder = folder
        self._environments = Environments(environments, self._warm_server)
        self._servers: dict[Environment | None, WarmServer] = {}
        self._caller = callers_environment()
        self._lock = threading.Lock()
        self._closed = False

    def check(self, containers: Iterable[ir.Container]) -> None:
        """Logs once that components run as the caller, and which Python versions are missing."""
        found = [one for one in map(recognise, containers) if one is not None]
        if found:
            logger.warning(
                "The pipeline's Python components run as you on this machine, and can do whatever "
                "you can. `--runner docker` isolates them."
            )
        here = "{}.{}".format(*sys.version_info)
        for version in sorted({one.python for one in found}):
            if interpreter(version) is None:
                logger.warning(
                    "There is no Python %s here: components for it run in Python %s. "
                    "`--runner docker` runs them in their image.",
                    version,
                    here,
                )

    def code(self, container: ir.Container) -> dict[str, Any]:
        """Returns the versions of Python and of the packages that a component runs with.

        Raises:
            PipelineError: Its packages cannot be installed.
        """
        environment = self._environments.get(_requirements(container))
        return {"python": environment.python, "packages": environment.packages}

    def imports_here(self, container: ir.Container) -> bool:
        """Returns False: a component imports none of the caller's files."""
        return False

    def prepare(self, containers: Iterable[ir.Container]) -> None:
        """Starts to create missing environments, and the servers that will fork components."""
        ours = [one for one in containers if recognise(one) is not None]
        for requirements in dict.fromkeys(map(_requirements, ours)):
            self._environments.start(requirements).add_done_callback(self._start_server)

    def _start_server(self, environment: Future[Environment]) -> None:
        with contextlib.suppress(Exception):  # a component that needs it will report this
            self._warm_server(environment.result())

    def run(self, work: Work) -> Ended:
        """Runs a component and waits for it.

        Raises:
            PipelineError: Its packages cannot be installed, or an argument is too long.
        """
        found = recognise(work.container)
        assert found is not None
        environment = self._environments.get(_requirements(work.container))
        command = list(work.command[found.start :])
        check_length(command)
        given = {**work.env, **work.secret_env}
        env = self._environment(environment) | given
        line = command
        if work.mounts:
            _check_hides_nothing(work, environment)
            mounts = [(str(one.source), one.target, one.readonly) for one in work.mounts]
            line = mount_namespace.command(mounts, command)
        request = command_request(line, env, work.log)
        server = None
        if not work.mounts and _can_fork(command[2], environment, given):
            server = self._warm_server(environment)
            request = component_request(command[3], command[4:], env | _AT_RUN_TIME, work.log)
        server = server or self._warm_server()
        return server.run(request, work.stop, work.container.timeout)

    def pids(self) -> list[int]:
        """Returns the servers whose children the components are."""
        with self._lock:
            return [server.pid for server in self._servers.values()]

    def cancel(self) -> None:
        """Stops installing packages."""
        self._environments.cancel()

    def close(self) -> None:
        """Ends every component and every installation."""
        self._environments.cancel()
        with self._lock:
            self._closed = True
            servers = list(self._servers.values())
        for server in servers:
            server.close()

    def _warm_server(self, environment: Environment | None = None) -> WarmServer:
        """Returns the server that forks components in an environment or starts commands.

        Servers end their child processes when the runner is killed.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("the runner is closed")
            server = self._servers.get(environment)
            if server is None or server.ended:
                if server is not None:
                    server.close()
                self._folder.mkdir(parents=True, exist_ok=True)
                log = self._folder / f"python-{len(self._servers)}.log"
                if environment is None:
                    server = WarmServer(log)
                else:
                    early = self._environment(environment) | _AT_RUN_TIME
                    server = WarmServer(log, _EXECUTORS_IMPORTS, early, environment.executable)
                self._servers[environment] = server
            return server

    def _environment(self, environment: Environment) -> dict[str, str]:
        """Returns the environment variables of components in a virtual environment."""
        return self._caller | {
            "PATH": f"{environment.path / 'bin'}:{self._caller.get('PATH', os.defpath)}",
            "VIRTUAL_ENV": str(environment.path),
            "PYTHONUNBUFFERED": "1",  # unbuffered, so that the log is up to date
        }


def _requirements(container: ir.Container) -> Requirements:
    found = recognise(container)
    assert found is not None
    python = interpreter(found.python) or interpreter("")
    assert python is not None
    return Requirements(python, found.installs)


def _check_hides_nothing(work: Work, environment: Environment) -> None:
    """Checks that a component still sees what it needs where folders are mounted."""
    for mount in work.mounts:
        for needed in (work.folder, environment.path, Path(sys.prefix), *work.reads):
            if needed.is_relative_to(mount.target):
                raise PipelineError(
                    f"What is mounted at {mount.target} would hide {needed}, which it needs: "
                    "`--runner docker` runs it in its image."
                )


def _can_fork(program: str, environment: Environment, env: Mapping[str, str]) -> bool:
    """Returns whether a forked process is equivalent to a command.

    Args:
        program: The script that the command runs.
        environment: Where it runs.
        env: Its own environment variables; some are only read at start.
    """
    is_known = _PROGRAM.fullmatch(" ".join(program.split()))
    is_new = tuple(map(int, environment.python.split("."))) >= (3, 9)
    return bool(is_known) and is_new and not any(key.startswith(_READ_AT_START) for key in env)
