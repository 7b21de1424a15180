"""The journal mode of an SQLite store: a write-ahead log while a run writes, none afterwards.

With a write-ahead log a commit waits for the disk once, with a rollback journal four times. But it
needs memory that processes share, which network file systems do not have, and a folder that can be
written, even to read. So the log is used on local file systems only, and the last run that has a
store open turns it into a single file again, which can be copied, and read from a read-only disk.

The mode is kept in the file (https://www.sqlite.org/wal.html): MLMD's own SQLite library finds it
there. Closing a file drops the locks that the process holds on it, whichever library took them. So
a process changes the mode only while it holds none: once its first connection is there, which has
not yet used the log, and after its last.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import threading
from collections import Counter
from pathlib import Path

_LOCAL = {"apfs", "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs"}
_LOCAL |= {"zfs"}
_MOUNTS = Path("/proc/self/mounts")

_open: Counter[Path] = Counter()
_lock = threading.Lock()


def opened(path: Path | None, write_ahead: bool) -> None:
    """Notes that this process has opened a store, and not used it yet.

    Args:
        path: The store's file; None if it is a server, which needs nothing.
        write_ahead: Whether to have it use a write-ahead log from now on, if this process has no
            other connection to it and its file system is a local one.
    """
    if path is None:
        return
    with _lock:
        if write_ahead and not _open[path] and _is_local(path.parent):
            _set(path, "wal")
        _open[path] += 1


def closed(path: Path | None) -> None:
    """Notes that this process has closed a store, and has it be a single file if nobody uses it."""
    if path is None:
        return
    with _lock:
        _open[path] -= 1
        if not _open[path]:
            del _open[path]
            if _is_write_ahead(path):
                _set(path, "delete")


def _set(path: Path, mode: str) -> None:
    """Sets the mode, unless another process has the store open or it cannot be written."""
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(path, timeout=0)) as database,
    ):
        database.execute(f"PRAGMA journal_mode={mode}")


def _is_write_ahead(path: Path) -> bool:
    """Tells what the header of the file says (https://www.sqlite.org/fileformat2.html)."""
    try:
        with path.open("rb") as file:
            return file.read(20)[18:] == b"\2\2"
    except OSError:
        return False


def _is_local(folder: Path) -> bool:
    """Tells whether a folder is on a local file system."""
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return False
    kinds = {Path(_unescaped(where)): kind for _, where, kind, *_ in map(str.split, lines)}
    place = folder.resolve()
    return next((kinds[one] for one in (place, *place.parents) if one in kinds), "") in _LOCAL


def _unescaped(where: str) -> str:
    """Returns a path of /proc/self/mounts, which has spaces and the like as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), where)
