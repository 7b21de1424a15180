"""A warm server: imports the libraries of steps once, and forks a process for each step.

    python -m millrace.backends.warm CONNECTION LOG SOCKET LOCK MODULE…

It reads requests and writes replies on an inherited connection, one JSON object per line. The first
line names the folder for temporary files of the runner's steps (`hello`). A request is one of:
- a step of ours (`argv`), which runs in the forked process;
- a Python component (`source`), which kfp's executor runs in the forked process;
- a command (`command`), which replaces the forked process.

Requests are already served between two imports; such a step imports the rest by itself. The server
has one thread, and starts nothing of TensorFlow's that would not survive a fork. When a connection
closes, everything that was forked for it is killed.

A server of one run ends with its connection: its SOCKET and LOCK are empty. A shared server
listens on SOCKET for other runs of the same user. It ends when it has been idle for as long as the
last run asked for; on SIGHUP, when no run is connected; on SIGTERM, at once. LOCK is an inherited
descriptor; whoever holds that lock may start or end the server, or connect to it. A step takes its
environment, working directory and umask from the run that asked (`caller`), not from the server.

A server for Python components runs in the environment of these, which has no Millrace in it, as a
file and in Python 3.9 or later. So this module imports the standard library only.

Processes that a step or command leaves behind are killed when it ends, even those in a session of
their own: the server is the subreaper of its descendants, and so becomes their parent.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
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
import struct
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

STEPS_FOLDER = "MILLRACE_STEPS_FOLDER"  # where the pipeline's own steps are imported from
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_SHOW_WARNING = warnings.showwarning


class _Component(BaseException):
    """Leaves the server's loop in a process that was forked for a Python component."""

    def __init__(self, source: str, arguments: list[str], folder: Path) -> None:
        self.source, self.arguments, self.folder = source, arguments, folder


class _Client:
    """A runner that is connected."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.received = b""
        self.scratch = Path()  # of its steps; set by the runner's `hello`
        self.caller: dict[str, Any] | None = None

    def scratch_of(self, pid: int) -> Path:
        """Returns a step's folder for temporary files.

        A forked process skips the interpreter's cleanup, so the server removes the folder.
        """
        return self.scratch / str(pid)


class _Listener:
    """The socket to which runners connect that share a server."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.lock = lock
        os.set_inheritable(lock, False)
        self.socket = socket.socket(socket.AF_UNIX)
        self._inode = 0

    def open(self) -> None:
        """Accepts connections from now on."""
        self.path.unlink(missing_ok=True)  # of a server that was killed
        self.socket.bind(str(self.path))
        self._inode = self.path.stat().st_ino
        self.socket.listen(128)
        fcntl.flock(self.lock, fcntl.LOCK_UN)

    def accept(self) -> socket.socket | None:
        """Returns a new connection, if it is the same user's."""
        connection, _ = self.socket.accept()
        if peer(connection)[1] == os.getuid():
            return connection
        connection.close()
        return None

    def try_lock(self) -> bool:
        """Takes the lock, so that nobody can connect; returns whether it could."""
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if select.select([self.socket], [], [], 0)[0]:
            fcntl.flock(self.lock, fcntl.LOCK_UN)
            return False
        return True

    def touch(self) -> None:
        """Updates the socket file's time, which says when the server was last used."""
        with contextlib.suppress(OSError):
            os.utime(self.path)

    def close(self) -> None:
        """Closes what a forked process does not need."""
        self.socket.close()
        os.close(self.lock)

    def remove(self) -> None:
        """Removes the socket file, unless it belongs to another server by now."""
        with contextlib.suppress(OSError):
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()


def peer(connection: socket.socket) -> tuple[int, int]:
    """Returns the process and user at the other end of a connection."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, user, _ = struct.unpack("3i", credentials)
    return pid, user


class Server:
    """Forks steps, and reports how they ended."""

    def __init__(self, connection: socket.socket, listener: _Listener | None) -> None:
        self._clients = {connection: _Client(connection)}
        self._listener = listener
        self._idle = 0.0  # seconds that a shared server waits for the next run
        self._is_retired = False
        self._used = time.monotonic()
        self._prctl = ctypes.CDLL(None).prctl
        self._prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self._children: dict[int, tuple[_Client, int]] = {}  # runner and request by process
        self._wakeup, self._signalled = os.pipe()
        for end in (self._wakeup, self._signalled):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if listener:
            signal.signal(signal.SIGTERM, lambda *_: self.stop())
            signal.signal(signal.SIGHUP, lambda *_: self._retire())
        signal.set_wakeup_fd(self._signalled, warn_on_full_buffer=False)
        if listener:
            listener.open()  # whoever connects may send signals

    def serve(self, wait: bool) -> None:
        """Handles pending requests, or all requests until the server ends."""
        listening = [self._listener.socket] if self._listener else []
        while True:
            sources: list[socket.socket | int] = [*self._clients, *listening, self._wakeup]
            ready, _, _ = select.select(sources, [], [], self._patience() if wait else 0)
            if self._wakeup in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wakeup, 4096)
            self._reap()
            for client in [one for one in self._clients.values() if one.connection in ready]:
                self._receive(client)
            if self._listener and self._listener.socket in ready:
                self._accept(self._listener)
            if wait:
                self._end_if_idle()
            elif not ready:
                return

    def _patience(self) -> float | None:
        if self._clients:
            return None
        return max(0.05, self._used + self._idle - time.monotonic())

    def _retire(self) -> None:
        self._is_retired, self._idle = True, 0.0  # it ends after the last connected run

    def _end_if_idle(self) -> None:
        is_idle = not self._clients and time.monotonic() >= self._used + self._idle
        if is_idle and self._listener and self._listener.try_lock():
            self.stop()

    def _accept(self, listener: _Listener) -> None:
        connection = listener.accept()
        if connection is not None:
            self._clients[connection] = _Client(connection)

    def _receive(self, client: _Client) -> None:
        try:
            received = client.connection.recv(1 << 20)
        except OSError:
            received = b""
        if not received:
            self._drop(client)
            return
        *lines, client.received = (client.received + received).split(b"\n")
        for line in lines:
            request = json.loads(line)
            if "hello" in request:
                self._greet(client, request["hello"])
            elif "kill" in request:
                self._kill(client, request["kill"], request["signal"])
            else:
                self._fork(client, request)

    def _greet(self, client: _Client, hello: dict[str, Any]) -> None:
        client.scratch = Path(hello["scratch"])
        client.caller = hello.get("caller")
        if not self._is_retired:
            self._idle = hello.get("idle", 0.0)
        if self._listener:
            self._listener.touch()

    def _drop(self, client: _Client) -> None:
        """Kills the processes of a runner that is gone."""
        if not self._listener:
            self.stop()
        if self._clients.pop(client.connection, None) is None:
            return
        self._kill_all(client)
        client.connection.close()
        if client.scratch != Path():  # others only check whether the server is alive
            self._used = time.monotonic()
            self._listener.touch()

    def _fork(self, client: _Client, request: dict[str, Any]) -> None:
        parent = os.getpid()
        pid = os.fork()  # the threads of the libraries are all asleep
        if pid:
            self._children[pid] = client, request["id"]
            return
        code = 70
        try:
            code = self._child(client, request, parent)
        except _Component:
            raise
        except BaseException:
            traceback.print_exc()
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)

    def _child(self, client: _Client, request: dict[str, Any], parent: int) -> int:
        signal.set_wakeup_fd(-1)
        for connection in self._clients:
            connection.close()
        if self._listener:
            self._listener.close()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.close(self._wakeup)
        os.close(self._signalled)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.setsid()
        self._prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            return 70
        _redirect(request["log"])
        scratch = client.scratch_of(os.getpid())
        scratch.mkdir()
        if "command" in request:
            _execute(request["command"], request["folder"] or scratch, request["env"], scratch)
        env = {"TMPDIR": str(scratch)} | request["env"]
        if client.caller is not None:
            _take_over(client.caller)
        if "source" in request:
            _set_environment(env)
        else:
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
            if (child := self._children.pop(pid, None)) is not None:
                client, request = child
                self._kill_rest(client, pid)
                self._reply(
                    client,
                    {
                        "id": request,
                        "exit": os.waitstatus_to_exitcode(status),
                        "peak": usage.ru_maxrss * 1024,
                    },
                )
                shutil.rmtree(client.scratch_of(pid), ignore_errors=True)

    def _kill_rest(self, client: _Client, pid: int) -> None:
        """Kills what a process that has ended left behind."""
        _signal(os.killpg, pid, signal.SIGKILL)
        self._kill_orphans(client.scratch_of(pid))

    def _reply(self, client: _Client, message: dict[str, Any]) -> None:
        try:
            client.connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self._drop(client)

    def _kill(self, client: _Client, request: int, number: int) -> None:
        for pid, child in self._children.items():
            if child == (client, request):
                _signal(os.killpg, pid, number)
                _signal(os.kill, pid, number)  # it may not be the leader of its group yet

    def _kill_all(self, client: _Client) -> None:
        """Kills all processes of a runner, and removes its temporary files."""
        pids = [pid for pid, (one, _) in self._children.items() if one is client]
        for pid in pids:
            _signal(os.killpg, pid, signal.SIGKILL)
            _signal(os.kill, pid, signal.SIGKILL)
        for pid in pids:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
            del self._children[pid]
            self._kill_rest(client, pid)
        if client.scratch != Path():
            shutil.rmtree(client.scratch, ignore_errors=True)

    def _kill_orphans(self, scratch: Path) -> None:
        """Kills processes of a step that are outside its process group.

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

    def stop(self) -> NoReturn:
        """Ends this process and everything it forked."""
        if self._listener:
            self._listener.remove()
        for client in self._clients.values():
            self._kill_all(client)
        self._kill_orphans(Path())
        os._exit(0)


def _signal(send: Callable[[int, int], None], pid: int, number: int) -> bool:
    """Sends a signal, and returns whether the process existed."""
    try:
        send(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _execute(command: list[str], folder: str | Path, env: dict[str, str], scratch: Path) -> None:
    """Replaces this process by a command."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these
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
    """Runs a Python component in this process, as the command of `@dsl.component` would."""
    folder = Path(tempfile.mkdtemp(dir=component.folder))
    program = folder / "ephemeral_component.py"
    program.write_text(component.source, encoding="utf-8")
    os.chdir(component.folder)
    sys.path.insert(0, str(component.folder))  # as `python -m` does
    sys.argv = ["", "--component_module_path", str(program), *component.arguments]
    runpy.run_module("kfp.dsl.executor_main", run_name="__main__", alter_sys=True)


def _children() -> list[int]:
    """Returns the children of this process, including adopted orphans."""
    try:
        pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    except OSError:  # the kernel was built without this file
        return []
    return [int(pid) for pid in pids.split()]


def _mentions(pid: int, scratch: Path) -> bool:
    """Returns whether the initial environment of a process mentions a folder."""
    try:
        return f"={scratch}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes() + b"\0"
    except OSError:
        return False


def _redirect(log: str) -> None:
    """Redirects the output to a file, and the input from nothing."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)


def _take_over(caller: dict[str, Any]) -> None:
    """Gives a step of a shared server the state of its runner's process."""
    _set_environment(caller["env"])
    os.umask(caller["umask"])
    os.chdir(caller["folder"])
    _look_last(caller["folder"])


def _set_environment(env: dict[str, str]) -> None:
    """Makes these the environment variables; most are there already, and each change takes time."""
    for name in os.environ.keys() - env.keys():
        del os.environ[name]
    os.environ.update(dict(env.items() - os.environ.items()))


def _look_last(here: str) -> None:
    """Appends the pipeline's folder and the working directory to the import path."""
    last = [*filter(None, [os.environ.get(STEPS_FOLDER)]), here]
    sys.path[:] = [*(path for path in sys.path if path and path not in last), *last]


def _set_path(is_shared: bool) -> None:
    here = os.getcwd()  # noqa: PTH109
    os.environ.pop("PYTHONSAFEPATH", None)
    if not __package__:  # another environment's Python runs this file
        here = str(Path(__file__).resolve().parent)
    elif not is_shared:
        _look_last(here)
        return
    sys.path[:] = [path for path in sys.path if path not in ("", here)]


def main(argv: list[str]) -> None:
    """Imports the modules that `argv` names, and serves."""
    number, log, path, lock, *modules = argv
    _redirect(log)
    _set_path(is_shared=bool(path))
    listener = _Listener(Path(path), int(lock)) if path else None
    try:
        _serve(Server(socket.socket(fileno=int(number)), listener), modules)
    except _Component as forked:
        component = forked
    _end(lambda: _run_component(component))


def _end(program: Callable[[], None]) -> NoReturn:
    """Runs a program to its end, and ends this process as Python would.

    What Python does last is left out: it clears every module, for which the system would have to
    copy the memory that this process shares with the server.
    """
    try:
        program()
        code: Any = 0
    except SystemExit as ended:
        code = ended.code
    except Exception:
        sys.excepthook(*sys.exc_info())
        code = 1
    if code is not None and not isinstance(code, int):
        sys.stderr.write(f"{code}\n")
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit((code or 0) & 0xFF)


def _use_argparse() -> None:
    """Parses a command line: the first time compiles a lot, in each fork if not here."""
    import argparse

    parser = argparse.ArgumentParser(description="-")
    parser.add_argument("--text", type=str, required=True, help="-")
    parser.parse_known_args(["--text", "-"])


def _serve(server: Server, modules: list[str]) -> None:
    gc.disable()
    warnings.showwarning = lambda *_, **__: None
    logging.disable(logging.WARNING)
    for name in modules:
        server.serve(wait=False)
        try:
            importlib.import_module(name)
        except Exception as error:  # a step that needs it will report this
            sys.stderr.write(f"{name}: {type(error).__name__}: {error}\n")
    _use_argparse()
    gc.freeze()
    server.serve(wait=True)


if __name__ == "__main__":
    main(sys.argv[1:])
