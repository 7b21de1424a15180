"""Where a container's command runs: what every backend is given, and what it gives back."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from millrace.ir import spec as ir


class Stop:
    """Asks work to end; what is registered is called once it is asked."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._calls: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    @property
    def asked(self) -> bool:
        """Whether the work is to end."""
        return self._event.is_set()

    def ask(self) -> None:
        """Asks the work to end."""
        with self._lock:
            self._event.set()
            calls, self._calls = self._calls, []
        for call in calls:
            call()

    def call(self, function: Callable[[], None]) -> None:
        """Has a function called when the work is to end: at once if it is already."""
        with self._lock:
            if not self._event.is_set():
                self._calls.append(function)
                return
        function()

    def wait(self, seconds: float) -> bool:
        """Waits that long; True as soon as the work is to end."""
        return self._event.wait(seconds)


@dataclasses.dataclass
class Work:
    """One attempt to run a container.

    Attributes:
        name: The task's path in the pipeline.
        container: What runs.
        command: Its command and arguments, with no placeholder left.
        env: The environment beyond what the machine or image has.
        folder: The task's own folder, which it may write to.
        log: The file that takes its output.
        reads: The files and folders it reads.
        writes: Folders outside its own that it writes to.
        stop: Asked when the run is stopped.
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


@dataclasses.dataclass(frozen=True)
class Ended:
    """How an attempt ended.

    Attributes:
        exit_code: What the process returned; negative is the signal that killed it.
        peak_memory: The most bytes it held at once, 0 if that is not known.
        reason: Why, where the backend knows more than the exit code says.
    """

    exit_code: int
    peak_memory: int = 0
    reason: str = ""


class Backend(Protocol):
    """Runs containers."""

    name: str

    def check(self, containers: Iterable[ir.Container]) -> None:
        """Raises a PipelineError if one of these cannot be run here."""

    def code(self, container: ir.Container) -> dict[str, Any]:
        """Returns what the cache's fingerprint says about the code in a container."""

    def imports_here(self, container: ir.Container) -> bool:
        """Tells whether a container imports its modules from this machine, not from an image."""

    def prepare(self, containers: Iterable[ir.Container]) -> None:
        """Gets ready for these: some of them will be run soon. Returns at once."""

    def run(self, work: Work) -> Ended:
        """Runs a command to its end, or until it is stopped."""

    def pids(self) -> list[int]:
        """Returns the processes whose memory, with their children's, counts as the run's."""

    def close(self) -> None:
        """Stops everything that is still running."""


GRACE = 5.0  # seconds between asking a step to end and killing it


def has_ended(done: threading.Event, work: Work) -> str | None:
    """Waits for work to end. None if it did; else why it must be stopped, "" if the run is."""
    work.stop.call(done.set)
    seconds = work.container.timeout
    if not done.wait(seconds or None):
        return f"took longer than {seconds:g} s"
    return "" if work.stop.asked else None
