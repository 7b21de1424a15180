"""Measures the total memory of a run's processes, counting shared pages once."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

INTERVAL = 0.1


@contextlib.contextmanager
def measured(roots: Callable[[], Iterable[int]]) -> Iterator[Callable[[], int]]:
    """Samples the proportional set size of this process and of `roots` with their descendants.

    Yields a function that returns the highest sum so far, in bytes.
    """
    peak = 0
    done = threading.Event()

    def sample() -> None:
        nonlocal peak
        while not done.wait(INTERVAL):
            peak = max(peak, sum(map(_pss, _tree([os.getpid(), *roots()]))))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield lambda: peak
    finally:
        done.set()
        thread.join()


def _tree(roots: Iterable[int]) -> set[int]:
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        if (pid := waiting.pop()) not in found:
            found.add(pid)
            waiting.extend(_children(pid))
    return found


def _children(pid: int) -> list[int]:
    children: list[int] = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            children.extend(map(int, (thread / "children").read_text().split()))
    return children


def _pss(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
