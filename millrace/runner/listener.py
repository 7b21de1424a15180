"""Who is told how a run goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from millrace.runner.result import RunResult, TaskResult


class Listener(Protocol):
    """Is told how a run goes on; calls come from one thread at a time."""

    def started(self, run: RunResult) -> None:
        """The run has started."""

    def changed(self, task: TaskResult) -> None:
        """A task has started or ended."""

    def retrying(self, task: TaskResult, error: str, seconds: float) -> None:
        """A task has failed, and will be tried again after some seconds."""

    def ended(self, run: RunResult) -> None:
        """The run has ended."""


class Silent:
    """A listener that says nothing."""

    def started(self, run: RunResult) -> None:
        """Says nothing."""

    def changed(self, task: TaskResult) -> None:
        """Says nothing."""

    def retrying(self, task: TaskResult, error: str, seconds: float) -> None:
        """Says nothing."""

    def ended(self, run: RunResult) -> None:
        """Says nothing."""


class ResilientListener:
    """Passes on how a run goes on until the listener cannot write any more: the run goes on."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def started(self, run: RunResult) -> None:
        """Passes it on."""
        self._tell(lambda listener: listener.started(run))

    def changed(self, task: TaskResult) -> None:
        """Passes it on."""
        self._tell(lambda listener: listener.changed(task))

    def retrying(self, task: TaskResult, error: str, seconds: float) -> None:
        """Passes it on."""
        self._tell(lambda listener: listener.retrying(task, error, seconds))

    def ended(self, run: RunResult) -> None:
        """Passes it on."""
        self._tell(lambda listener: listener.ended(run))

    def _tell(self, call: Callable[[Listener], None]) -> None:
        try:
            call(self._listener)
        except (OSError, ValueError):  # a closed pipe, a full disk; a closed file is a ValueError
            self._listener = Silent()
