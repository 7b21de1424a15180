"""A warm server: imports what steps need once, and forks a process for each step.

    python -m millrace.backends.warm SOCKET LOG SCRATCH MODULE…

It reads requests and writes replies, one JSON object a line, on the socket it inherits. A request
is for one of three:
- a step of ours (`argv`), which runs in the forked process;
- a Python component (`source`), which kfp's executor runs in the forked process;
- a command (`command`), which replaces the forked process.

Requests are served between two imports already: such a step imports by itself what is still
missing. The server has one thread, and starts nothing of TensorFlow's that would not survive a
fork. It ends with everything it forked when the socket closes.

A server for Python components runs in the environment of these, which has no Millrace in it, as a
file and in Python 3.9 or later. So this module imports the standard library only.

What a step or command leaves running is killed when it ends, even in a session of its own: the
server is the subreaper of its descendants, so that it becomes the parent of those it must kill.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import logging
import os
import runpy
import select
import shutil
import signal
import socket
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_SHOW_WARNING = warnings.showwarning


class _Component(BaseException):
    """Leaves the server's loop in a process that was forked for a Python component."""

    def __init__(self, source: str, arguments: list[str], folder: Path) -> None:
        self.source, self.arguments, self.folder = source, arguments, folder


class Server:
    """Forks steps, and tells how they ended."""

    def __init__(self, connection: socket.socket, scratch: Path) -> None:
        self._connection = connection
        self._scratch = scratch
        self._prctl = ctypes.CDLL(None).prctl
        self._prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self._received = b""
        self._children: dict[int, int] = {}  # request by process
        self._wakeup, self._signalled = os.pipe()
        for end in (self._wakeup, self._signalled):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(self._signalled, warn_on_full_buffer=False)

    def serve(self, wait: bool) -> None:
        """Handles what has come, or what comes until the socket closes."""
        while True:
            sources = [self._connection.fileno(), self._wakeup]
            ready, _, _ = select.select(sources, [], [], None if wait else 0)
            if self._wakeup in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wakeup, 4096)
            self._reap()
            if self._connection.fileno() in ready:
                self._receive()
            elif not wait:
                return

    def _receive(self) -> None:
        received = self._connection.recv(1 << 20)
        if not received:
            self.stop()
        *lines, self._received = (self._received + received).split(b"\n")
        for line in lines:
            request = json.loads(line)
            if "kill" in request:
                self._kill(request["kill"], request["signal"])
            else:
                self._fork(request)

    def _fork(self, request: dict[str, Any]) -> None:
        parent = os.getpid()
        pid = os.fork()  # the threads that libraries have made are all asleep
        if pid:
            self._children[pid] = request["id"]
            return
        code = 70
        try:
            self._connection.close()
            code = self._child(request, parent)
        except _Component:
            raise
        except BaseException:
            traceback.print_exc()
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)

    def _child(self, request: dict[str, Any], parent: int) -> int:
        signal.set_wakeup_fd(-1)
        os.close(self._wakeup)
        os.close(self._signalled)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.setsid()
        self._prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            return 70
        _redirect(request["log"])
        scratch = self._scratch_of(os.getpid())
        scratch.mkdir()
        if "command" in request:
            _execute(request["command"], request["folder"] or scratch, request["env"], scratch)
        env = {"TMPDIR": str(scratch)} | request["env"]
        if "source" in request:
            os.environ.clear()
        os.environ.update(env)
        tempfile.tempdir = None  # an import may have looked the server's up
        gc.enable()
        logging.disable(logging.NOTSET)
        warnings.showwarning = _SHOW_WARNING
        if "source" in request:
            raise _Component(request["source"], request["arguments"], scratch)
        from millrace import entrypoint

        return entrypoint.main(request["argv"])

    def _reap(self) -> None:
        while self._children:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if (request := self._children.pop(pid, None)) is not None:
                _signal(os.killpg, pid, signal.SIGKILL)
                self._kill_orphans(self._scratch_of(pid))
                shutil.rmtree(self._scratch_of(pid), ignore_errors=True)
                self._reply(
                    {
                        "id": request,
                        "exit": os.waitstatus_to_exitcode(status),
                        "peak": usage.ru_maxrss * 1024,
                    }
                )

    def _reply(self, message: dict[str, Any]) -> None:
        try:
            self._connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self.stop()

    def _kill(self, request: int, number: int) -> None:
        for pid, one in self._children.items():
            if one == request:
                _signal(os.killpg, pid, number)
                _signal(os.kill, pid, number)  # it may not lead its group yet

    def _kill_orphans(self, scratch: Path) -> None:
        """Kills what a step has left running outside its process group.

        Args:
            scratch: The step's folder for temporary files; the environment of a command's
                processes names it.
        """
        seen: set[int] = set()
        while orphans := [
            pid
            for pid in _children()
            if pid not in self._children
            and pid not in seen  # it runs as another user
            and (not self._children or _mentions(pid, scratch))
        ]:
            seen.update(orphans)
            killed = [pid for pid in orphans if _signal(os.kill, pid, signal.SIGKILL)]
            for pid in killed:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)

    def stop(self) -> None:
        """Ends this process and everything it forked."""
        for pid in self._children:
            _signal(os.killpg, pid, signal.SIGKILL)
            _signal(os.kill, pid, signal.SIGKILL)
        for pid in self._children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        self._children.clear()
        self._kill_orphans(self._scratch)
        shutil.rmtree(self._scratch, ignore_errors=True)
        os._exit(0)

    def _scratch_of(self, pid: int) -> Path:
        """Returns a step's folder for temporary files.

        A forked process skips what libraries have the interpreter clean up when it ends.
        """
        return self._scratch / str(pid)


def _signal(send: Callable[[int, int], None], pid: int, number: int) -> bool:
    """Sends a signal; tells whether there was a process to take it."""
    try:
        send(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _execute(command: list[str], folder: str | Path, env: dict[str, str], scratch: Path) -> None:
    """Replaces this process by a command."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them
        signal.signal(number, signal.SIG_DFL)
    os.chdir(folder)
    env = {"TMPDIR": str(scratch)} | env
    try:
        os.execvpe(command[0], command, env)  # noqa: S606
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.stderr.flush()
        os._exit(127)  # as a shell does


def _run_component(component: _Component) -> None:
    """Does as the command that `@dsl.component` compiles to, in a process that is its own."""
    folder = Path(tempfile.mkdtemp(dir=component.folder))
    program = folder / "ephemeral_component.py"
    program.write_text(component.source, encoding="utf-8")
    os.chdir(component.folder)
    sys.path.insert(0, str(component.folder))  # as `python -m` does
    sys.argv = ["", "--component_module_path", str(program), *component.arguments]
    runpy.run_module("kfp.dsl.executor_main", run_name="__main__", alter_sys=True)


def _children() -> list[int]:
    """Returns the children of this process, orphans that it inherited included."""
    try:
        pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    except OSError:  # the kernel was built without it
        return []
    return [int(pid) for pid in pids.split()]


def _mentions(pid: int, scratch: Path) -> bool:
    """Tells whether the environment that a process was started with names a folder."""
    try:
        return f"={scratch}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes() + b"\0"
    except OSError:
        return False


def _redirect(log: str) -> None:
    """Makes a file take the output, and nothing give the input."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)


def _look_here_last() -> None:
    """Lets steps import modules from where the caller is, but none in place of a library's."""
    if not __package__:  # another environment's Python runs this file
        beside = str(Path(__file__).resolve().parent)
        sys.path[:] = [path for path in sys.path if path != beside]
        return
    here = os.getcwd()  # noqa: PTH109
    sys.path[:] = [*(path for path in sys.path if path not in ("", here)), here]
    os.environ.pop("PYTHONSAFEPATH", None)


def main(argv: list[str]) -> None:
    """Imports the modules that `argv` names, and serves."""
    number, log, scratch, *modules = argv
    _redirect(log)
    _look_here_last()
    try:
        _serve(Server(socket.socket(fileno=int(number)), Path(scratch)), modules)
    except _Component as forked:
        component = forked
    _run_component(component)  # Python then ends as it does after any program


def _serve(server: Server, modules: list[str]) -> None:
    gc.disable()
    warnings.showwarning = lambda *_, **__: None
    logging.disable(logging.WARNING)
    for name in modules:
        server.serve(wait=False)
        try:
            importlib.import_module(name)
        except Exception as error:  # a step that needs it will say so
            sys.stderr.write(f"{name}: {type(error).__name__}: {error}\n")
    gc.freeze()
    server.serve(wait=True)


if __name__ == "__main__":
    main(sys.argv[1:])
