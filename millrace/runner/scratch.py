"""Folders for what is mounted into a task. A killed task's is removed by the next one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "millrace-pod-"
_MINUTE = 60.0  # seconds after which a new folder has its lock


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yields a folder that only the user can read; it may hold Secrets.

    The process holds a lock on it. The system drops the lock when the process is killed, and the
    next task of the same user removes the folder.
    """
    parent = Path(tempfile.gettempdir())
    _remove_abandoned(parent)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent) as name:
        lock = os.open(name, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield Path(name)
        finally:
            os.close(lock)


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # it has just been removed, or is another user's
            found = folder.lstat()
            if found.st_uid != os.getuid() or time.time() - found.st_mtime < _MINUTE:
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(lock)
