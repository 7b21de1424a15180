"""The runner's side of warm servers: starts them, sends requests, and ends them."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from millrace.backends import warm
from millrace.backends.base import GRACE, Ended, Stop, has_ended

_HERE = (sys.executable, "-m", warm.__name__)
_NOT_FOR_COMMANDS = ("PYTHON", "MILLRACE_", "TMPDIR")


def environment(early: Mapping[str, str], steps: Path | None = None) -> dict[str, str]:
    """Returns the environment of a warm server, with TensorFlow's logs off and Keras 2.

    Args:
        early: The variables that are read on import.
        steps: The folder that the pipeline's own steps are imported from.
    """
    env = dict(os.environ)
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # with bytecode TensorFlow takes 3 s to import, not 10
    env["PYTHONSAFEPATH"] = "1"  # a random.py here must not replace Python's own
    env.setdefault("TF_USE_LEGACY_KERAS", "1")
    env.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # failures raise as well
    if not any(Path("/dev").glob("nvidia*")):
        env.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    if steps:
        env[warm.STEPS_FOLDER] = str(steps)
    return env | dict(early)


def callers_environment() -> dict[str, str]:
    """Returns the caller's environment without what is meant for Millrace and its Python."""
    return {
        key: value for key, value in os.environ.items() if not key.startswith(_NOT_FOR_COMMANDS)
    }


def component_request(
    source: str, arguments: Iterable[str], env: Mapping[str, str], log: Path
) -> dict[str, Any]:
    """Returns a request to run a Python component.

    Args:
        source: Its source.
        arguments: The arguments of kfp's executor.
        env: Its whole environment, TMPDIR excepted.
        log: The file that takes its output.
    """
    return {
        "source": source,
        "arguments": list(arguments),
        "env": dict(env),
        "log": str(log),
    }


def command_request(
    command: Iterable[str], env: Mapping[str, str], log: Path, folder: Path | None = None
) -> dict[str, Any]:
    """Returns a request to run a command.

    Args:
        command: The command and its arguments.
        env: Its whole environment, TMPDIR excepted.
        log: The file that takes its output.
        folder: Its working directory; its own folder for temporary files if None.
    """
    return {
        "command": list(command),
        "env": dict(env),
        "log": str(log),
        "folder": str(folder) if folder else None,
    }


def start(
    connection: socket.socket,
    log: Path,
    modules: Iterable[str],
    env: Mapping[str, str],
    *,
    python: Path | None = None,
    listen: tuple[Path, int] | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a warm server's process.

    Args:
        connection: Its end of the connection to this run.
        log: The file for its own messages.
        modules: The modules that it imports.
        env: Its environment.
        python: The interpreter of another environment.
        listen: Where it listens for other runs, and the descriptor of the lock that it releases
            once it does; None for a server of one run.
    """
    path, lock = listen or ("", "")
    program = [str(python), warm.__file__] if python else list(_HERE)
    return subprocess.Popen(
        [*program, str(connection.fileno()), str(log), str(path), str(lock), *modules],
        pass_fds=[connection.fileno(), *([listen[1]] if listen else [])],
        stdin=subprocess.DEVNULL,
        env=dict(env),
        cwd=listen[0].parent if listen else None,
        start_new_session=True,  # the runner handles Ctrl-C
    )


@dataclasses.dataclass
class _Pending:
    done: threading.Event
    ended: Ended | None = None


class Connection:
    """A connection to a warm server.

    Attributes:
        pid: The server's process.
        ended: Whether it has ended.
    """

    def __init__(
        self, connection: socket.socket, pid: int, log: Path, hello: Mapping[str, Any] | None = None
    ) -> None:
        """Says hello to a server.

        Args:
            connection: The runner's end.
            pid: The server's process.
            log: The server's own messages.
            hello: The first message, apart from the folder for temporary files.
        """
        self.pid = pid
        self.ended = False
        self._socket = connection
        self._log = log
        self._scratch = tempfile.TemporaryDirectory(prefix="millrace-", ignore_cleanup_errors=True)
        self._ids = itertools.count()
        self._pending: dict[int, _Pending] = {}
        self._lock = threading.Lock()
        self._send({"hello": {"scratch": self._scratch.name, **(hello or {})}})
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def run(self, request: Mapping[str, Any], stop: Stop, timeout: float = 0) -> Ended:
        """Runs a step or a command until it ends or is asked to stop.

        Args:
            request: What to run; see `millrace.backends.warm`.
            stop: Asks it to stop.
            timeout: How many seconds it may take; 0 is for ever.
        """
        number, pending = next(self._ids), _Pending(threading.Event())
        with self._lock:
            self._pending[number] = pending
        self._send({"id": number, **request})
        reason = has_ended(pending.done, stop, timeout)
        if pending.ended is None and not self.ended:
            self._stop(number, pending)
        ended = pending.ended or Ended(70, reason=f"its server ended; see {self._log}")
        return dataclasses.replace(ended, reason=reason or ended.reason)

    def close(self) -> None:
        """Ends everything that the server forked for this run."""
        with self._lock:
            busy = bool(self._pending)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        self._listener.join(timeout=GRACE if busy else 0)
        self._close()

    def _close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._scratch.cleanup()

    def _stop(self, number: int, pending: _Pending) -> None:
        pending.done.clear()
        for sign in (signal.SIGTERM, signal.SIGKILL):
            self._send({"kill": number, "signal": int(sign)})
            if pending.ended is not None or pending.done.wait(GRACE):
                return

    def _send(self, message: Mapping[str, Any]) -> None:
        try:
            with self._lock:
                self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self._give_up()

    def _listen(self) -> None:
        received = b""
        while True:
            try:
                part = self._socket.recv(1 << 16)
            except OSError:
                part = b""
            if not part:
                self._give_up()
                return
            *lines, received = (received + part).split(b"\n")
            for line in lines:
                reply = json.loads(line)
                with self._lock:
                    pending = self._pending.pop(reply["id"], None)
                if pending is not None:
                    pending.ended = Ended(reply["exit"], reply["peak"])
                    pending.done.set()

    def _give_up(self) -> None:
        self.ended = True
        with self._lock:
            pending, self._pending = self._pending, {}
        for one in pending.values():
            one.done.set()


class WarmServer(Connection):
    """A warm server that belongs to one run."""

    def __init__(
        self,
        log: Path,
        modules: Iterable[str] = (),
        early: Mapping[str, str] | None = None,
        python: Path | None = None,
        steps: Path | None = None,
    ) -> None:
        """Starts the process.

        Args:
            log: The file for its own messages; it is removed if there are none.
            modules: What it imports.
            early: Environment variables that are read when modules are imported.
            python: The interpreter of another environment, for Python components.
            steps: The folder that the pipeline's own steps are imported from.
        """
        ours, theirs = socket.socketpair()
        env = dict(early or {}) if python else environment(early or {}, steps)
        with theirs:
            self._process = start(theirs, log, modules, env, python=python)
        super().__init__(ours, self._process.pid, log)

    def close(self) -> None:
        """Ends the server and everything it forked."""
        with self._lock:
            busy = bool(self._pending)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(timeout=GRACE if busy else 0)
        except subprocess.TimeoutExpired:  # it is still importing
            self._process.kill()
            self._process.wait()
        self._close()
        with contextlib.suppress(OSError):
            if not self._log.stat().st_size:
                self._log.unlink()
