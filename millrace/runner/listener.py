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

    def progressed(self, task: TaskResult) -> None:
        """A running task has reported how far it is."""

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

    def progressed(self, task: TaskResult) -> None:
        """Says nothing."""

    def ended(self, run: RunResult) -> None:
        """Says nothing."""


class Listeners:
    """Passes on to each listener how a run goes on, until one cannot write: the run goes on."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = list(listeners)

    def started(self, run: RunResult) -> None:
        """Passes it on."""
        self._tell(lambda listener: listener.started(run))

    def changed(self, task: TaskResult) -> None:
        """Passes it on."""
        self._tell(lambda listener: listener.changed(task))

    def retrying(self, task: TaskResult, error: str, seconds: float) -> None:
        """Passes it on."""
        self._tell(lambda listener: listener.retrying(task, error, seconds))

    def progressed(self, task: TaskResult) -> None:
        """Passes it on."""
        self._tell(lambda listener: listener.progressed(task))

    def ended(self, run: RunResult) -> None:
        """Passes it on."""
        self._tell(lambda listener: listener.ended(run))

    def _tell(self, call: Callable[[Listener], None]) -> None:
        for listener in list(self._listeners):
            try:
                call(listener)
            except (OSError, ValueError):  # a closed pipe, a full disk; a closed file: ValueError
                self._listeners.remove(listener)
