"""Writes a model to its destination as the next version, atomically.

    <destination>/1795254028/saved_model.pb, variables/, assets/   what TensorFlow Serving loads
                             model.tflite                          what a device loads
                             push.json                             why

A version is a folder named by an integer: the time in seconds, or more if that is taken. On a file
system it is written under another name and renamed, so that it appears with all its files. An
object store cannot rename: there a number is claimed first, and saved_model.pb, without which no
server accepts a folder as a version, is written last.
"""

from __future__ import annotations

import abc
import contextlib
import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

from millrace.errors import ParameterError, StorageError
from millrace.storage import digest, location, staging, store

_UNFINISHED = ".millrace-unfinished-"
_CLAIMS = ".millrace-claims"
_LAST = "saved_model.pb"
# The remains of a killed push are removed by the first push a day later.
_STALE_SECONDS = 24 * 3600.0


def open_destination(uri: str) -> Destination:
    """Returns the destination at a path or URI, and creates the folder if needed.

    Raises:
        ParameterError: It cannot be used or written to.
    """
    try:
        if location.is_local(uri):
            return _Folder(location.local_path(uri))
        return _Store(uri.rstrip("/"))
    except OSError as error:
        raise ParameterError(
            f'push_destination: "{uri}" cannot be written to: {_describe(error)}'
        ) from error
    except StorageError as error:
        raise ParameterError(f"push_destination: {error}") from error


class Destination(abc.ABC):
    """A folder whose numbered folders are the versions of a model."""

    @abc.abstractmethod
    def push(self, folder: Path, extra: Mapping[str, bytes]) -> tuple[int, str]:
        """Writes a folder and some more files as the next version.

        Returns:
            The version and its address.

        Raises:
            ParameterError: It cannot be written.
        """


class _Folder(Destination):
    """A folder on this machine."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)
        self._stage().rmdir()

    def push(self, folder: Path, extra: Mapping[str, bytes]) -> tuple[int, str]:
        self._remove_stale()
        staged = self._stage()
        try:
            shutil.copytree(folder, staged, dirs_exist_ok=True)
            for name, content in extra.items():
                (staged / name).write_bytes(content)
            for path in digest.files(staged):
                _sync(path)
            version = self._publish(staged)
        except OSError as error:
            raise ParameterError(
                f"push_destination: {self._root} cannot be written to: {_describe(error)}"
            ) from error
        finally:
            shutil.rmtree(staged, ignore_errors=True)  # a published one no longer exists
        return version, str(self._root / str(version))

    def _stage(self) -> Path:
        path = self._root / f"{_UNFINISHED}{uuid.uuid4().hex}"
        path.mkdir()
        return path

    def _publish(self, staged: Path) -> int:
        while True:
            version = _next(path.name for path in self._root.iterdir())
            try:
                staged.rename(self._root / str(version))
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                continue  # another push took it
            _sync(self._root)
            return version

    def _remove_stale(self) -> None:
        for path in self._root.glob(f"{_UNFINISHED}*"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    shutil.rmtree(path)


class _Store(Destination):
    """A folder of an object store."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        store.exists(uri)  # fails here if the store is unreachable, before anything is exported

    def push(self, folder: Path, extra: Mapping[str, bytes]) -> tuple[int, str]:
        contents: dict[str, Path | bytes] = {
            path.relative_to(folder).as_posix(): path for path in digest.files(folder)
        }
        contents |= extra
        try:
            version = self._claim()
            where = location.join(self._uri, str(version))
            for name in sorted(contents, key=lambda name: name == _LAST):
                self._write(location.join(where, name), contents[name])
        except StorageError as error:
            raise ParameterError(f"push_destination: {error}") from error
        return version, where

    def _claim(self) -> int:
        claims = location.join(self._uri, _CLAIMS)
        while True:
            version = _next([*store.list_names(self._uri), *store.list_names(claims)])
            if store.claim(location.join(claims, str(version)), uuid.uuid4().bytes):
                return version

    def _write(self, target: str, content: Path | bytes) -> None:
        if isinstance(content, bytes):
            store.write_bytes(target, content)
        else:
            staging.stage_out(content, target)


def _next(names: Iterable[str]) -> int:
    """Returns the version after the existing ones."""
    last = max((int(name) for name in names if name.isdecimal()), default=0)
    return max(int(time.time()), last + 1)


def _sync(path: Path) -> None:
    """Waits until a file, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _describe(error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    where = getattr(error, "filename", None)
    return f"{reason} ({where})" if where else str(reason)
