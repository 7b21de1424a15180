"""Makes sure that files are on the disk and not only in the system's memory."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from millrace.errors import StorageError
from millrace.storage import digest

_MANY = 64  # files; from here on the whole file system is faster


def flush(paths: Iterable[Path], top: Path) -> None:
    """Waits until files and folders are on the disk, so that a power cut cannot take them back.

    Args:
        paths: The files and folders; those that do not exist are left out.
        top: The folder up to which the folders around them are written too.

    Raises:
        StorageError: The disk cannot write them.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += digest.files(path)
        elif path.exists():
            files.append(path)
    if not files:
        return
    try:
        if len(files) >= _MANY:
            _sync(files[0], ctypes.CDLL(None, use_errno=True).syncfs)
            return
        for path in [*files, *_folders(files, top)]:
            _sync(path, os.fsync)
    except OSError as error:
        where = error.filename or top
        raise StorageError(f"{where} cannot be written to the disk: {error.strerror}.") from None


def _folders(files: Iterable[Path], top: Path) -> list[Path]:
    """Returns the folders that hold files, up to the top one, the innermost first."""
    found = {
        folder
        for file in files
        for folder in file.parents
        if folder == top or folder.is_relative_to(top)
    }
    return sorted(found, key=lambda folder: -len(folder.parts))


def _sync(path: Path, call: Callable[[int], object]) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if call(descriptor) == -1:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)
