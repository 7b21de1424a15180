"""Stops a run on a signal: once, and never in the middle of a decision."""

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
    """Handles signals to end: interrupts at once until there is something to record."""

    act: Callable[[], None] = interrupt


@contextlib.contextmanager
def interruptible() -> Iterator[Signals]:
    """Makes other signals stop a run as Ctrl-C does; further ones do not interrupt the stop."""
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return

    def handle(*_: Any) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        signals.act()

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        numbers.append(signal.SIGHUP)
    before = [signal.signal(number, handle) for number in numbers]
    try:
        yield signals
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
