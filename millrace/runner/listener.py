"""Who is told how a run goes on."""

from __future__ import annotations

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
