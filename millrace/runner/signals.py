"""Stops a run when it is interrupted: once, and never half-way through a decision."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


def interrupt() -> None:
    """Raises what Ctrl-C raises."""
    raise KeyboardInterrupt


@dataclasses.dataclass
class Signals:
    """What a signal to end does: interrupt at once, until there is something to be recorded."""

    act: Callable[[], None] = interrupt


@contextlib.contextmanager
def interruptible() -> Iterator[Signals]:
    """Makes other signals stop a run as Ctrl-C does, and only once: stopping is not stopped."""
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return

    def handle(*_: Any) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        signals.act()

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup makes it
        numbers.append(signal.SIGHUP)
    before = [signal.signal(number, handle) for number in numbers]
    try:
        yield signals
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
