"""Detects interrupted runs: they are recorded as running, but their process is gone."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
from collections.abc import Iterable, Iterator
from datetime import datetime

from millrace.lineage.nodes import Run, State, Task

INTERRUPTED = "INTERRUPTED"
_TOLERANCE = 2.0  # tolerated difference of the clocks, in seconds


def run(recorded: Run) -> Run:
    """Returns a run with its true state: INTERRUPTED if it was running and its process is gone.

    Only processes of this machine can be checked. A process that started after the run has merely
    reused the pid.
    """
    if recorded.state != State.RUNNING or not _is_gone(recorded):
        return recorded
    counts = {_state(name): count for name, count in recorded.counts.items()}
    return dataclasses.replace(recorded, state=INTERRUPTED, counts=counts)


def tasks(of: Run, recorded: Iterable[Task]) -> list[Task]:
    """Returns the tasks of a run with their true states."""
    if of.state != INTERRUPTED:
        return list(recorded)
    return [dataclasses.replace(task, state=_state(task.state)) for task in recorded]


def _state(name: str) -> str:
    return INTERRUPTED if name == State.RUNNING else name


def _is_gone(recorded: Run) -> bool:
    process = recorded.properties.get("process")
    if not isinstance(process, int) or recorded.properties.get("host") != socket.gethostname():
        return False
    import psutil

    try:
        born = psutil.Process(process).create_time()
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False
    began = [recorded.started, *_resumed(recorded)]
    return all(moment is not None and born > moment.timestamp() + _TOLERANCE for moment in began)


def _resumed(recorded: Run) -> Iterator[datetime]:
    """Yields when another process went on with a run."""
    with contextlib.suppress(KeyError, TypeError, ValueError):
        yield datetime.fromisoformat(recorded.properties["resumed_at"])
