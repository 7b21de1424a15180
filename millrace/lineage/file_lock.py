"""Lets processes use an SQLite store in the order in which they come.

SQLite has no queue: who finds it busy sleeps and tries again, and the unlucky sleep for seconds
while others write hundreds of records. A lock on the folder is a queue: the system hands it on in
order, and takes it back from a process that is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType


class FileLock:
    """A process's place in the queue of a store; within it, it is its turn."""

    def __init__(self, path: Path | None) -> None:
        """Takes the file of an SQLite store; a store of another kind has no queue."""
        self._folder = -1
        if path is not None:
            with contextlib.suppress(OSError):  # then SQLite's own locks must do
                self._folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)

    def __enter__(self) -> None:
        self._flock(fcntl.LOCK_EX)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._flock(fcntl.LOCK_UN)

    def close(self) -> None:
        """Leaves the queue for good."""
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    def _flock(self, operation: int) -> None:
        if self._folder >= 0:
            with contextlib.suppress(OSError):  # some file systems have no locks
                fcntl.flock(self._folder, operation)
