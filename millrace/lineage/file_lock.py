"""A lock that gives processes access to an SQLite store in order of arrival.

SQLite has no queue: a process that finds the database busy sleeps and retries, so some wait for
seconds while others write hundreds of records. The system grants a lock on the folder in order, and
releases it when a process is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType


class FileLock:
    """The lock of a store, held within `with`."""

    def __init__(self, path: Path | None) -> None:
        """Takes the file of an SQLite store; a store of another kind needs no lock."""
        self._folder = -1
        if path is not None:
            with contextlib.suppress(OSError):  # SQLite's own locks must suffice then
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
        """Closes the file; the lock cannot be used any more."""
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    def _flock(self, operation: int) -> None:
        if self._folder >= 0:
            with contextlib.suppress(OSError):  # some file systems do not support locks
                fcntl.flock(self._folder, operation)
