"""Keeps remote artifacts on this machine, by their digests, up to so many bytes.

    <folder>/<digest>            the file or folder
             .<digest>.lock      locked shared by who uses it, exclusively by who makes or evicts it

Several processes may use one folder. What was not used for longest goes first, and never what is
in use.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from millrace.errors import StorageError
from millrace.storage import failures, staging

_STALE_SECONDS = 24 * 3600.0
_HEX = set("0123456789abcdef")


class ArtifactCache:
    """A folder of artifacts, which are read and never written to.

    Args:
        folder: Where they lie; made if it is not there.
        limit: Bytes of all of them, unless those in use alone take more.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit

    @contextlib.contextmanager
    def use(self, uri: str, hexdigest: str) -> Iterator[Path]:
        """Yields where an artifact lies on this machine, and keeps it there meanwhile.

        Args:
            uri: Where it is if it is not here yet.
            hexdigest: Its digest, as recorded.

        Raises:
            StorageError: It cannot be read, or is not what was recorded.
        """
        if len(hexdigest) != 64 or set(hexdigest) - _HEX:
            raise StorageError(f"{uri}: {hexdigest!r} is not a digest.")
        path = self._folder / hexdigest
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._lock(path), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise failures.failure(str(self._folder), "cannot be written", error) from error
        try:
            self._bring(uri, path, handle)
            os.utime(self._lock(path))  # a time of use that the artifact's own times do not tell
            yield path
        finally:
            os.close(handle)

    def _bring(self, uri: str, path: Path, handle: int) -> None:
        """Has an artifact lie at a path, with the lock on it shared."""
        while True:
            fcntl.flock(handle, fcntl.LOCK_SH)
            if os.path.lexists(path):
                return
            # Not an upgrade: that is no atomic step, so look again with either lock.
            fcntl.flock(handle, fcntl.LOCK_EX)
            if not os.path.lexists(path):
                staging.stage_in(uri, path, path.name)
                self._evict(path)

    def _evict(self, new: Path) -> None:
        """Removes what was not used for longest, until the rest is within the limit."""
        for path in self._folder.glob(".*.tmp"):  # of downloads that were killed
            if time.time() - _changed_at(path) > _STALE_SECONDS:
                staging.delete(path)
        sizes = {path: _size(path) for path in self._folder.iterdir() if path.name[0] != "."}
        total = sum(sizes.values())
        for path in sorted(sizes, key=lambda path: _changed_at(self._lock(path))):
            if total <= self._limit:
                return
            if path != new and self._removed(path):
                total -= sizes[path]

    def _removed(self, path: Path) -> bool:
        """Removes an artifact unless it is in use. Its lock stays: others may wait for it."""
        handle = os.open(self._lock(path), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            aside = path.with_name(f".{path.name}.evicted")  # in part, it would pass for whole
            staging.delete(aside)
            with contextlib.suppress(FileNotFoundError):
                path.rename(aside)
            staging.delete(aside)
            return True
        finally:
            os.close(handle)

    def _lock(self, path: Path) -> Path:
        return self._folder / f".{path.name}.lock"


def _size(path: Path) -> int:
    """Returns the bytes of a file or folder, which another process may be evicting."""
    below = [Path(where, name) for where, _, names in os.walk(path) for name in names]
    total = 0
    for file in below or [path]:
        with contextlib.suppress(FileNotFoundError):
            total += file.lstat().st_size
    return total


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
