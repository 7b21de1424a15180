"""The interface of the backends that run containers."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from millrace.errors import PipelineError
from millrace.ir import spec as ir


class Stop:
    """Asks work to stop, and calls the registered functions."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._functions: dict[object, Callable[[], None]] = {}
        self._lock = threading.Lock()

    @property
    def asked(self) -> bool:
        """Whether the work should stop."""
        return self._event.is_set()

    def ask(self) -> None:
        """Asks the work to stop."""
        with self._lock:
            self._event.set()
            functions = list(self._functions.values())
            self._functions.clear()
        for function in functions:
            function()

    def register(self, function: Callable[[], None]) -> Callable[[], None]:
        """Registers a function to call on a request to stop; calls it at once if there was one.

        Returns:
            A function that unregisters it, to be called when the work has ended.
        """
        key = object()
        with self._lock:
            if not self._event.is_set():
                self._functions[key] = function
                return lambda: self._unregister(key)
        function()
        return lambda: None

    def _unregister(self, key: object) -> None:
        with self._lock:
            self._functions.pop(key, None)

    def wait(self, seconds: float) -> bool:
        """Waits for some seconds; returns True at once on a request to stop."""
        return self._event.wait(seconds)


@dataclasses.dataclass(frozen=True)
class BindMount:
    """A folder of this machine that a container sees at a path of its own."""

    source: Path
    target: str
    readonly: bool = False


@dataclasses.dataclass
class Work:
    """One attempt to run a container.

    Attributes:
        name: The task's path in the pipeline.
        container: The container.
        command: Its command and arguments, placeholders filled in.
        env: Environment variables beyond those of the machine or image.
        folder: The task's own folder, which it may write to.
        log: The file that takes its output, or a named pipe to it.
        reads: The files and folders it reads.
        writes: Folders outside its own that it writes to.
        stop: Asks to stop when the run is stopped.
        secret_env: Environment variables whose values no other user of the machine may see.
        mounts: Folders that it sees at paths of its own, for which it must run in a container.
    """

    name: str
    container: ir.Container
    command: Sequence[str]
    env: Mapping[str, str]
    folder: Path
    log: Path
    reads: Sequence[Path]
    writes: Sequence[Path]
    stop: Stop
    secret_env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    mounts: Sequence[BindMount] = ()


@dataclasses.dataclass(frozen=True)
class Ended:
    """How an attempt ended.

    Attributes:
        exit_code: The exit code; the negative number of the signal that killed it, if one did.
        peak_memory: Its peak memory in bytes; 0 if unknown.
        reason: Why, if the backend knows more than the exit code.
        is_told_by_log: Whether the last line of the log says more about the reason.
    """

    exit_code: int
    peak_memory: int = 0
    reason: str = ""
    is_told_by_log: bool = False


class Backend(Protocol):
    """Runs containers."""

    name: str

    def check(self, containers: Iterable[ir.Container]) -> None:
        """Raises PipelineError if a container cannot be run here."""

    def code(self, container: ir.Container) -> dict[str, Any]:
        """Returns the parts of the cache's fingerprint for the code in a container."""

    def imports_here(self, container: ir.Container) -> bool:
        """Returns whether a container imports modules from this machine instead of an image."""

    def prepare(self, containers: Iterable[ir.Container]) -> None:
        """Prepares to run some of these containers soon; returns at once."""

    def run(self, work: Work) -> Ended:
        """Runs a command until it ends or is stopped."""

    def pids(self) -> list[int]:
        """Returns the processes whose memory counts as the run's, with that of their children."""

    def cancel(self) -> None:
        """Cancels what `code` waits for, because the run is being stopped."""

    def close(self) -> None:
        """Stops everything that is still running."""


GRACE = 5.0  # seconds between asking a process to end and killing it


def has_ended(done: threading.Event, stop: Stop, seconds: float = 0) -> str | None:
    """Waits until work is done, is asked to stop, or times out.

    Args:
        done: Set when the work is done. It is also set if the work is asked to stop.
        stop: Asks the work to stop.
        seconds: How long the work may take; 0 is for ever.

    Returns:
        None if the work is done, else why it must be stopped: "" if it was asked to.
    """
    unregister = stop.register(done.set)
    try:
        if not done.wait(seconds or None):
            return f"took longer than {seconds:g} s"
    finally:
        unregister()
    return "" if stop.asked else None


LONGEST_ARGUMENT = (128 << 10) - 1  # bytes; Linux starts no process with a longer argument


def check_length(command: Sequence[str]) -> None:
    """Rejects a command that Linux would not start, here or in KFP's pods.

    Raises:
        PipelineError: An argument is too long.
    """
    longest = max((len(os.fsencode(argument)) for argument in command), default=0)
    if longest > LONGEST_ARGUMENT:
        raise PipelineError(
            f"Its parameters come to {longest:,} bytes in one argument, and a container takes no "
            f"more than {LONGEST_ARGUMENT:,}: put the longest into a file, and name that."
        )
