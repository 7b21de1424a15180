"""Virtual environments with the packages that components require, created once and kept.

    <folder>/<key>-<random>/   an environment
    <folder>/<key>.json        names it, once it is complete
    <folder>/<key>.log         the output of pip
    <folder>/<key>.lock        held while it is created

The key follows from the Python version, the platform and the arguments of each `pip install`. An
environment is created in its final place, since its scripts hold its path. An unfinished one is
never named, and is removed when the next is created.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import os
import re
import secrets
import shutil
import sysconfig
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path

from millrace.backends import pip
from millrace.backends.base import Stop
from millrace.backends.interpreters import Interpreter
from millrace.backends.servers import WarmServer, callers_environment, command_request
from millrace.errors import PipelineError

_AT_ONCE = 4
_BUILT = re.compile(r"^(?:build|dist|__pycache__)$|\.egg-info$")
_POLL = 0.1  # seconds between two tries to take the lock of another process


@dataclasses.dataclass(frozen=True)
class Requirements:
    """The contents of an environment.

    Attributes:
        interpreter: Its Python.
        installs: The arguments of each `pip install`, in order.
    """

    interpreter: Interpreter
    installs: tuple[tuple[str, ...], ...]

    @property
    def key(self) -> str:
        """The key of the environment; it includes the last change of local packages."""
        arguments = [argument for install in self.installs for argument in install]
        parts = [
            self.interpreter.version,
            sysconfig.get_platform(),
            self.installs,
            [_last_change(argument) for argument in arguments],
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


@dataclasses.dataclass(frozen=True)
class Environment:
    """A virtual environment.

    Attributes:
        path: Its folder.
        python: The version of its Python, such as "3.11".
    """

    path: Path
    python: str

    @property
    def executable(self) -> Path:
        """Its Python."""
        return self.path / "bin" / "python"

    @property
    def packages_folder(self) -> Path:
        """The folder of its packages."""
        return self.path / "lib" / f"python{self.python}" / "site-packages"

    @functools.cached_property
    def packages(self) -> str:
        """The names and versions of the installed packages, except pip.

        They are looked up once, since a server's imports do not change with the files.
        """
        found = sorted(self.packages_folder.glob("*.dist-info"), key=lambda one: one.name.lower())
        return " ".join(_identity(one) for one in found if not one.name.startswith("pip-"))


class Environments:
    """The environments in a folder."""

    def __init__(self, folder: Path, server: Callable[[], WarmServer]) -> None:
        """Creates nothing yet.

        Args:
            folder: Where the environments are.
            server: Returns the server that runs pip.
        """
        self._folder = folder
        self._server = server
        self._stop = Stop()
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="environment")
        self._futures: dict[Requirements, Future[Environment]] = {}
        self._lock = threading.Lock()

    def start(self, requirements: Requirements) -> Future[Environment]:
        """Starts to create an environment, unless it exists or was started already."""
        with self._lock:
            if requirements not in self._futures:
                self._futures[requirements] = self._threads.submit(self._find, requirements)
            return self._futures[requirements]

    def get(self, requirements: Requirements) -> Environment:
        """Returns an environment as soon as it is ready.

        Raises:
            PipelineError: A package cannot be installed, or the run is being stopped.
        """
        try:
            return self.start(requirements).result()
        except (CancelledError, RuntimeError) as error:  # the threads have been shut down
            if not self._stop.asked:
                raise
            raise PipelineError("The run was stopped.") from error

    def cancel(self) -> None:
        """Stops creating environments."""
        self._stop.ask()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _find(self, requirements: Requirements) -> Environment:
        key = requirements.key
        if (found := self._whole(key)) is not None:
            return found
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._locked(key):
                return self._whole(key) or self._make(key, requirements)
        except OSError as error:
            raise PipelineError(
                f"Cannot create a virtual environment in {self._folder}: {error.strerror or error}."
            ) from error

    def _whole(self, key: str) -> Environment | None:
        """Returns the environment of a key if it was completed and still exists."""
        try:
            found = json.loads((self._folder / f"{key}.json").read_text(encoding="utf-8"))
            environment = Environment(self._folder / found["folder"], found["python"])
        except (OSError, ValueError, TypeError, KeyError):
            return None
        is_there = environment.executable.exists() and environment.packages_folder.is_dir()
        return environment if is_there else None

    def _make(self, key: str, requirements: Requirements) -> Environment:
        for left in self._folder.glob(f"{key}-*"):
            shutil.rmtree(left, ignore_errors=True)
        log = self._folder / f"{key}.log"
        log.unlink(missing_ok=True)
        environment = Environment(
            self._folder / f"{key}-{secrets.token_hex(4)}", requirements.interpreter.version
        )
        try:
            pip.fill(
                environment.path,
                environment.packages_folder,
                requirements.interpreter,
                requirements.installs,
                lambda command: self._run(command, log),
                log,
            )
            made = {"folder": environment.path.name, "python": environment.python}
            temporary = self._folder / f"{key}.json.new"
            temporary.write_text(json.dumps(made), encoding="utf-8")
            temporary.replace(self._folder / f"{key}.json")
        except BaseException:
            shutil.rmtree(environment.path, ignore_errors=True)
            raise
        return environment

    def _run(self, command: Sequence[str], log: Path) -> int:
        """Runs a command in the caller's working directory, and returns its exit code."""
        env = callers_environment() | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        request = command_request(command, env, log, Path.cwd())
        ended = self._server().run(request, self._stop)
        if self._stop.asked:
            raise PipelineError("The run was stopped.")
        return ended.exit_code

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Keeps other processes from creating the same environment, and waits for one that does."""
        file = os.open(self._folder / f"{key}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if self._stop.wait(_POLL):
                        raise PipelineError("The run was stopped.") from None
            yield
        finally:
            os.close(file)


def _last_change(argument: str) -> int:
    """Returns when a local package was last changed; 0 for other packages."""
    path = Path(re.split(r"@ *(?=file:)", argument)[-1].removeprefix("file://").partition("[")[0])
    if "/" not in argument or not path.exists():
        return 0
    if path.is_file():
        return path.stat().st_mtime_ns
    times = [0]
    for folder, folders, files in os.walk(path):
        # A build leaves these there itself.
        folders[:] = [one for one in folders if not one.startswith(".") and not _BUILT.search(one)]
        times += [Path(folder, file).lstat().st_mtime_ns for file in files]
    return max(times)


def _identity(folder: Path) -> str:
    """Returns a package's name and version, with its content if the version does not imply it."""
    name = folder.name.removesuffix(".dist-info")
    if not (folder / "direct_url.json").exists():
        return name
    try:
        record = (folder / "RECORD").read_text(encoding="utf-8")
    except OSError:
        return name
    lines = [
        line
        for line in sorted(record.splitlines())
        if not line.startswith(("../", folder.name)) and ".pyc," not in line
    ]
    return f"{name}@{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()[:16]}"
