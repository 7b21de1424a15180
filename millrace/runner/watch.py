"""Watches what running steps report of their progress."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from millrace import progress
from millrace.runner.result import TaskResult

_PAUSE = 0.5  # seconds between two looks at the files


class ProgressWatcher:
    """Looks at the files of the steps that run, in one thread.

    Args:
        progressed: Called with a task that has reported something new.
    """

    def __init__(self, progressed: Callable[[TaskResult], None]) -> None:
        self._progressed = progressed
        self._watched: dict[Path, tuple[TaskResult, tuple[int, int]]] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def watching(self, task: TaskResult, file: Path) -> Iterator[None]:
        """Watch the file that a task's step may write."""
        with self._lock:
            self._watched[file] = task, (0, 0)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                del self._watched[file]
                task.progress = None

    def close(self) -> None:
        """Ends the thread."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._closed.wait(_PAUSE):
            with self._lock:
                watched = list(self._watched.items())
            for file, (task, seen) in watched:
                self._look(file, task, seen)

    def _look(self, file: Path, task: TaskResult, seen: tuple[int, int]) -> None:
        try:
            found = file.stat()
        except OSError:
            return
        stamp = found.st_mtime_ns, found.st_ino
        reported = progress.read(file) if stamp != seen else None
        with self._lock:
            if reported is None or file not in self._watched:
                return
            self._watched[file] = task, stamp
            task.progress = reported
        self._progressed(task)
