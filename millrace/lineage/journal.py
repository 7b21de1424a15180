"""The journal mode of an SQLite store: a write-ahead log while a run writes, none afterwards.

With a write-ahead log a commit waits for the disk once, with a rollback journal four times. But it
needs memory that processes share, which network file systems do not have, and a folder that can be
written, even to read. So the log is used on local file systems only, and the last run that has a
store open turns it into a single file again, which can be copied, and read from a read-only disk.

The mode is kept in the file (https://www.sqlite.org/wal.html): MLMD's own SQLite library finds it
there. SQLite would see by its locks that another process uses the log. But closing a file drops
the locks that the process holds on it, whichever library took them. So a process changes the mode
only before its first connection and after its last, and who has a store open holds a lock of
another kind on it, which lasts (`flock`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import re
import sqlite3
import threading
from pathlib import Path

_LOCAL = {"apfs", "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs"}
_LOCAL |= {"zfs"}
_SCHEMA = 10  # of MLMD 1.0 to 1.21
_MOUNTS = Path("/proc/self/mounts")


@dataclasses.dataclass
class _Use:
    """This process's use of a file: the lock that it holds, and how many stores are open."""

    descriptor: int | None
    stores: int = 0


_users: dict[str, _Use] = {}
_lock = threading.Lock()


def opened(path: Path | None, write_ahead: bool) -> None:
    """Notes that this process is about to open a store.

    Args:
        path: The store's file; None if it is a server, which needs nothing.
        write_ahead: Whether to have it use a write-ahead log from now on, if this process has no
            connection to it and its file system is a local one.
    """
    if path is None:
        return
    with _lock:
        use = _users.get(name := os.path.realpath(path))
        if use is None:
            if write_ahead and _is_local(path.parent):
                _set(path, "wal")
            use = _users[name] = _Use(_held(path))
        use.stores += 1


def closed(path: Path | None) -> None:
    """Notes that this process has closed a store, and has it be a single file if nobody uses it."""
    if path is None:
        return
    with _lock:
        use = _users[name := os.path.realpath(path)]
        use.stores -= 1
        if use.stores:
            return
        del _users[name]
        if use.descriptor is None:
            return
        try:
            with contextlib.suppress(OSError):
                fcntl.flock(use.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_write_ahead(path):
                    _set(path, "delete")
        finally:
            os.close(use.descriptor)


def _held(path: Path) -> int | None:
    """Returns the descriptor of a file with the lock of those who use it; None if it has none."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # it is about to be made
        return None
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return descriptor
    os.close(descriptor)
    return None


def _set(path: Path, mode: str) -> None:
    """Sets the mode, unless another process has the store open or it cannot be written."""
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(path, timeout=0)) as database,
    ):
        if _is_known(database):
            database.execute(f"PRAGMA journal_mode={mode}")


def _is_known(database: sqlite3.Connection) -> bool:
    """Returns whether a file is new, or a store that MLMD will open: others stay as they are."""
    tables = {str(name) for (name,) in database.execute("SELECT name FROM sqlite_master")}
    if "MLMDEnv" not in tables:
        return not tables
    return database.execute("SELECT schema_version FROM MLMDEnv").fetchall() == [(_SCHEMA,)]


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
