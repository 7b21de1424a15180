"""Runs the steps of ours as processes forked from warm servers, and every other image in Docker."""

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

from millrace.backends.base import GRACE, Backend, Ended, Work, has_ended
from millrace.backends.sources import Sources
from millrace.images import COMMAND, Image
from millrace.ir import spec as ir

CORE, HEAVY = "core", "heavy"
_PRELOAD = {
    CORE: (
        "pyarrow.parquet",
        "pyarrow.csv",
        "duckdb",
        "jinja2",
        "millrace.entrypoint",
        "millrace.data.examples",
        "millrace.report.page",
    ),
    HEAVY: (
        "pyarrow.parquet",
        "jinja2",
        "millrace.entrypoint",
        "millrace.data.examples",
        "millrace.report.page",
        "tensorflow",
        "tensorflow_data_validation",
        "tensorflow_transform",
        "tf_keras",
        "ai_edge_litert.interpreter",
        "ai_edge_quantizer",
    ),
}
# Read when a library is imported or a process starts, so a forked step would not see them.
_EARLY = ("TF_", "CUDA_", "XLA_", "OMP_", "OPENBLAS_", "MKL_", "PYTHON", "LD_", "MALLOC_", "ARROW_")


def step_of(container: ir.Container) -> str | None:
    """Returns the step that a container runs, if it runs one through our entrypoint."""
    size = len(COMMAND)
    line = (*container.command, *container.args)
    if line[1:size] != COMMAND[1:] or len(line) <= size:
        return None
    return line[size] if Path(line[0]).name.startswith("python") else None


def group_of(container: ir.Container) -> str:
    """Returns which warm server has imported what an image has installed."""
    name = container.image.rpartition("/")[2].partition(":")[0].partition("@")[0]
    return HEAVY if name.endswith((f"-{Image.DATA.value}", f"-{Image.TRAIN.value}")) else CORE


class ProcessBackend:
    """Forks steps of ours from warm servers; `others` runs what is not ours."""

    name = "process"

    def __init__(self, folder: Path, sources: Sources, others: Backend) -> None:
        self._folder = folder
        self._sources = sources
        self._others = others
        self._servers: dict[tuple[str, tuple[tuple[str, str], ...]], _WarmServer] = {}
        self._lock = threading.Lock()
        self._closed = False

    def check(self, containers: Iterable[ir.Container]) -> None:
        """Checks that a Docker Engine answers if one is needed."""
        foreign = [container for container in containers if step_of(container) is None]
        if foreign:
            self._others.check(foreign)

    def code(self, container: ir.Container) -> dict[str, Any]:
        """Returns the digests of the step's sources and of the libraries they use."""
        step = step_of(container)
        if step is None:
            return self._others.code(container)
        return {"sources": self._sources.of_step(step), "libraries": self._sources.environment()}

    def imports_here(self, container: ir.Container) -> bool:
        """Tells whether a container holds a step of ours, which is forked here."""
        return step_of(container) is not None

    def prepare(self, containers: Iterable[ir.Container]) -> None:
        """Starts the warm servers that these will be forked from."""
        ours = [(step, one) for one in containers if (step := step_of(one)) is not None]
        for group in (CORE, HEAVY):
            steps = [step for step, one in ours if group_of(one) == group]
            if steps:
                self._server(group, {}, steps)

    def run(self, work: Work) -> Ended:
        """Forks a step and waits for it."""
        step = step_of(work.container)
        if step is None:
            return self._others.run(work)
        early = {key: value for key, value in work.env.items() if key.startswith(_EARLY)}
        server = self._server(group_of(work.container), early, [step])
        return server.run(work)

    def pids(self) -> list[int]:
        """Returns the warm servers, whose children the steps are."""
        with self._lock:
            return [server.pid for server in self._servers.values()]

    def close(self) -> None:
        """Ends the warm servers, and with them every step."""
        with self._lock:
            self._closed = True
            servers = list(self._servers.values())
        for server in servers:
            server.close()
        self._others.close()

    def _server(self, group: str, early: Mapping[str, str], steps: Iterable[str]) -> _WarmServer:
        key = (group, tuple(sorted(early.items())))
        with self._lock:
            if self._closed:
                raise RuntimeError("the runner is closed")
            if key not in self._servers or self._servers[key].ended:
                log = self._folder / f"warm-{group}-{len(self._servers)}.log"
                modules = [*_PRELOAD[group], *_executors(steps)] if not early else []
                self._servers[key] = _WarmServer(log, modules, early)
            return self._servers[key]


def _executors(steps: Iterable[str]) -> list[str]:
    """Returns the modules of steps, as far as they have a module's name and not a file's."""
    return [
        step if "." in step else f"millrace.components.{step}.executor"
        for step in steps
        if not step.endswith(".py")
    ]


def environment(early: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment of a warm server: TensorFlow quiet, and on Keras 2."""
    env = dict(os.environ)
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # with bytecode TensorFlow takes 3 s to import, not 10
    env["PYTHONSAFEPATH"] = "1"  # a random.py where the caller is must not replace Python's own
    env.setdefault("TF_USE_LEGACY_KERAS", "1")
    env.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what fails raises as well
    if not any(Path("/dev").glob("nvidia*")):
        env.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    return env | dict(early)


@dataclasses.dataclass
class _Pending:
    done: threading.Event
    ended: Ended | None = None


class _WarmServer:
    """A warm server, seen from the runner."""

    def __init__(self, log: Path, modules: Iterable[str], early: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        self.ended = False
        self._socket = ours
        self._log = log
        self._scratch = tempfile.TemporaryDirectory(prefix="millrace-", ignore_cleanup_errors=True)
        self._ids = itertools.count()
        self._pending: dict[int, _Pending] = {}
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "millrace.backends.warm",
                    str(theirs.fileno()),
                    str(log),
                    self._scratch.name,
                    *modules,
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment(early),
                start_new_session=True,  # Ctrl-C is the runner's to handle
            )
        self.pid = self._process.pid
        threading.Thread(target=self._listen, daemon=True).start()

    def run(self, work: Work) -> Ended:
        """Has a step forked, and waits until it has ended or is to be stopped."""
        number, pending = next(self._ids), _Pending(threading.Event())
        with self._lock:
            self._pending[number] = pending
        request = {
            "id": number,
            "argv": list(work.command[len(COMMAND) :]),
            "env": dict(work.env),
            "log": str(work.log),
        }
        self._send(request)
        reason = has_ended(pending.done, work)
        if pending.ended is None and not self.ended:
            self._stop(number, pending)
        ended = pending.ended or Ended(70, reason=f"its server ended; see {self._log}")
        return dataclasses.replace(ended, reason=reason or ended.reason)

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
        self._socket.close()
        self._scratch.cleanup()
        with contextlib.suppress(OSError):
            if not self._log.stat().st_size:
                self._log.unlink()

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
