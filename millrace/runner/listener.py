"""Listeners to the progress of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from millrace.runner.result import RunResult, TaskResult


class Listener(Protocol):
    """Receives the progress of a run; calls come from one thread at a time."""

    def started(self, run: RunResult) -> None:
        """The run has started."""

    def changed(self, task: TaskResult) -> None:
        """A task has started or ended."""

    def retrying(self, task: TaskResult, error: str, seconds: float) -> None:
        """A task has failed, and will be retried after some seconds."""

    def progressed(self, task: TaskResult) -> None:
        """A running task has reported how far it is."""

    def ended(self, run: RunResult) -> None:
        """The run has ended."""


class Silent:
    """A listener that ignores everything."""

    def started(self, run: RunResult) -> None:
        """Does nothing."""

    def changed(self, task: TaskResult) -> None:
        """Does nothing."""

    def retrying(self, task: TaskResult, error: str, seconds: float) -> None:
        """Does nothing."""

    def progressed(self, task: TaskResult) -> None:
        """Does nothing."""

    def ended(self, run: RunResult) -> None:
        """Does nothing."""


class Listeners:
    """Passes calls on to each listener until it cannot write any more; the run continues."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = list(listeners)

    def started(self, run: RunResult) -> None:
        """Passes the call on."""
        self._call(lambda listener: listener.started(run))

    def changed(self, task: TaskResult) -> None:
        """Passes the call on."""
        self._call(lambda listener: listener.changed(task))

    def retrying(self, task: TaskResult, error: str, seconds: float) -> None:
        """Passes the call on."""
        self._call(lambda listener: listener.retrying(task, error, seconds))

    def progressed(self, task: TaskResult) -> None:
        """Passes the call on."""
        self._call(lambda listener: listener.progressed(task))

    def ended(self, run: RunResult) -> None:
        """Passes the call on."""
        self._call(lambda listener: listener.ended(run))

    def _call(self, call: Callable[[Listener], None]) -> None:
        for listener in list(self._listeners):
            try:
                call(listener)
            except (OSError, ValueError):  # a closed pipe, a full disk; a closed file: ValueError
                self._listeners.remove(listener)
