"""Warm servers that outlive a run, registered in a folder that is private to the user.

A server serves the runs that could have started it. Inherited state, and state that is read when
libraries are imported, cannot be changed after a fork, so it is part of the server's name, as are
the versions of Python, Millrace and the libraries. Runs send everything else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import logging
import os
import resource
import select
import signal
import socket
import stat
import sys
import threading
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path

from millrace.backends import servers, warm
from millrace.backends.base import GRACE
from millrace.errors import ParameterError

MINUTES = "MILLRACE_WARM"  # how long a server waits for the next run; unset: not shared
_NAMESPACES = ("mnt", "net", "pid", "user")
_FOR_LIBRARIES = ("HOME", "KERAS_", "KMP_", "LANG", "LC_", "NUMEXPR_", "TZ")

logger = logging.getLogger(__name__)


def minutes() -> float:
    """Returns how long shared servers wait for the next run; 0 if the user wants none.

    Raises:
        ParameterError: The variable is not such a number.
    """
    text = os.environ.get(MINUTES) or "0"
    try:
        found = float(text)
    except ValueError:
        found = -1
    if not 0 <= found < float("inf"):
        raise ParameterError(f"{MINUTES} is {text!r}: it must be a number of minutes.")
    return found


def connect(
    group: str,
    modules: Iterable[str],
    version: str,
    early: tuple[str, ...],
    steps: Path | None = None,
) -> servers.Connection | None:
    """Connects to the server that matches this run, and starts one if there is none.

    Args:
        group: The group of modules that it has imported.
        modules: The modules it imports when it starts.
        version: The version of the code.
        early: Prefixes of the environment variables that are read on import.
        steps: The folder that the pipeline's own steps are imported from.

    Returns:
        The connection; None if there is no folder that is safe to use.
    """
    env = servers.environment({}, steps)
    if env.get("PYTHONPATH"):
        paths = env["PYTHONPATH"].split(os.pathsep)
        env["PYTHONPATH"] = os.pathsep.join(str(Path.cwd() / path) for path in paths)
    fixed = {key: env[key] for key in env if key.startswith((*early, *_FOR_LIBRARIES))}
    place = f"{group}-{_digest([sys.executable, fixed, *_inherited()])}"
    name = f"{place}-{_digest(version)}"
    try:
        folder = _folder(create=True)
        path, log = folder / f"{name}.sock", folder / f"{name}.log"
        with _locked(folder / f"{group}.lock") as lock:
            connection = _connected(path)
            if connection is not None:
                pid, _ = warm.peer(connection)
            else:
                _retire(folder.glob(f"{place}-*.sock"))
                log.unlink(missing_ok=True)
                connection, theirs = socket.socketpair()
                # The server keeps none of the run's variables, which may be secrets.
                own = {"PATH": env.get("PATH", os.defpath), **fixed}
                with theirs:
                    process = servers.start(theirs, log, modules, own, listen=(path, lock))
                threading.Thread(target=process.wait, daemon=True).start()
                pid = process.pid
    except OSError as error:
        logger.warning("No warm server is shared with other runs: %s", error)
        return None
    return servers.Connection(connection, pid, log, _hello(env))


@dataclasses.dataclass(frozen=True)
class Running:
    """A running shared server.

    Attributes:
        pid: Its process.
        group: The group of modules that it has imported.
        used: When a run last connected or disconnected.
        busy: Whether steps run in it.
    """

    pid: int
    group: str
    used: datetime
    busy: bool


def running() -> list[Running]:
    """Returns this user's running shared servers."""
    try:
        folder = _folder(create=False)
    except OSError:
        return []
    found = []
    for path in sorted(folder.glob("*.sock")):
        with contextlib.suppress(OSError):
            used = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
            connection = _connected(path)
            if connection is not None:
                with connection:
                    pid, _ = warm.peer(connection)
                busy = bool(Path(f"/proc/{pid}/task/{pid}/children").read_text())
                found.append(Running(pid, path.name.partition("-")[0], used, busy))
    return found


def stop() -> list[int]:
    """Ends the shared servers of this user, with everything that runs in them.

    Returns:
        Their processes.
    """
    pids = [one.pid for one in running()]
    for pid in pids:
        _end(pid)
    with contextlib.suppress(OSError):
        for path in _folder(create=False).glob("*.log"):
            path.unlink()
    return pids


def _hello(env: dict[str, str]) -> dict[str, object]:
    """Returns the first message to a server."""
    caller = {
        "env": {key: value for key, value in env.items() if key != "PYTHONSAFEPATH"},
        "folder": str(Path.cwd()),
        "umask": _umask(),
    }
    return {"idle": minutes() * 60, "caller": caller}


def _folder(create: bool) -> Path:
    """Returns the folder of the sockets.

    Raises:
        OSError: There is none, or others may use it.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime, "millrace") if runtime else Path(f"/tmp/millrace-{os.getuid()}")  # noqa: S108
    if create:
        folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    is_private = stat.S_ISDIR(found.st_mode) and not stat.S_IMODE(found.st_mode) & 0o077
    if not is_private or found.st_uid != os.getuid():
        raise PermissionError(f"{folder} is not a folder that only you can use: remove it.")
    return folder


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Holds a lock; a process that inherits its descriptor keeps holding it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)


def _connected(path: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(path))
    except OSError as error:
        connection.close()
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            return None
        raise
    return connection


def _retire(paths: Iterable[Path]) -> None:
    """Makes servers of other versions of the code end after the runs connected to them."""
    for path in paths:
        connection = _connected(path)
        if connection is not None:
            with connection, contextlib.suppress(ProcessLookupError):
                os.kill(warm.peer(connection)[0], signal.SIGHUP)


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        process = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(process, signal.SIGTERM)
            select.select([process], [], [], GRACE)
        finally:
            os.close(process)


def _inherited() -> Iterator[object]:
    """Yields the inherited state that cannot be changed for a step later."""
    yield sorted(os.getgroups())
    yield os.getpriority(os.PRIO_PROCESS, 0)
    yield sorted(os.sched_getaffinity(0))
    names = sorted(name for name in dir(resource) if name.startswith("RLIMIT_"))
    yield [(name, resource.getrlimit(getattr(resource, name))) for name in names]
    yield [os.readlink(f"/proc/self/ns/{name}") for name in _NAMESPACES]  # noqa: PTH115
    yield Path("/proc/self/cgroup").read_text()


def _umask() -> int:
    """Returns the umask without changing it for a moment, as `os.umask` would."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0o077


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
