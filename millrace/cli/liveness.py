"""Tells the runs that go on from those that say so, and whose process is gone."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterable

from millrace.lineage.nodes import Run, State, Task

LOST = "LOST"
_TICK = 2.0  # seconds that the clocks of a process's birth and of a run's start may differ


def run(recorded: Run) -> Run:
    """Returns a run as it is: LOST, as are its tasks that ran, if its process on this machine is.

    A process that began after the run is another one, which got the number of the run's own.
    """
    if recorded.state != State.RUNNING or not _is_gone(recorded):
        return recorded
    counts = {_state(name): count for name, count in recorded.counts.items()}
    return dataclasses.replace(recorded, state=LOST, counts=counts)


def tasks(of: Run, recorded: Iterable[Task]) -> list[Task]:
    """Returns the tasks of a run as they are."""
    if of.state != LOST:
        return list(recorded)
    return [dataclasses.replace(task, state=_state(task.state)) for task in recorded]


def _state(name: str) -> str:
    return LOST if name == State.RUNNING else name


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
    return recorded.started is not None and born > recorded.started.timestamp() + _TICK
