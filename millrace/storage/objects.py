"""What lies in an object store: the objects at and below a URI, by their names.

A folder that is being written or removed holds a marker. Until that is done, or done again, the
folder does not count as being there, and cannot be read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from millrace.errors import StorageError
from millrace.storage import drivers, failures, location

EMPTY_FOLDER = ".millrace-empty-folder"
UNFINISHED = ".millrace-unfinished"
MARKERS = {EMPTY_FOLDER, UNFINISHED}
THREADS = 4  # files at once; the parts of a large one are transferred side by side as well


@dataclasses.dataclass(frozen=True)
class FileInfo:
    """What a listing says of a file.

    Attributes:
        size: Bytes.
        version: What differs once the file has changed, such as an ETag; empty if unknown.
    """

    size: int
    version: str


def list_objects(uri: str) -> dict[str, FileInfo]:
    """Returns every object at and below a URI of an object store, with those of our own.

    Raises:
        StorageError: They cannot be listed.
    """
    files, root = drivers.filesystem(uri), location.remote_path(uri)

    def find() -> dict[str, Any]:
        files.invalidate_cache()
        found = files.find(root, detail=True)
        # adlfs lists the names alone if there is but one file of that name.
        return found if isinstance(found, dict) else {path: files.info(path) for path in found}

    try:
        found = drivers.retried(uri, "cannot be listed", find)
    except FileNotFoundError as error:
        raise failures.failure(uri, "cannot be listed", error) from error
    start = len(files._strip_protocol(root)) + 1
    infos = {
        path[start:]: file_info(info)
        for path, info in found.items()
        if info["type"] == "file" and not path.endswith("/")
    }
    return dict(sorted(infos.items(), key=lambda item: os.fsencode(item[0])))


@contextlib.contextmanager
def changing(uri: str, is_folder: bool) -> Iterator[None]:
    """Has a folder of an object store count as incomplete while it is changed, and if that fails.

    Args:
        uri: Where it is, or will be.
        is_folder: Whether it is a folder: a file is written and removed at once.

    Raises:
        StorageError: Its marker cannot be written or removed.
    """
    if is_folder:
        _remove_file(uri)
        files, path = drivers.filesystem(uri), location.remote_path(uri, UNFINISHED)
        try:
            drivers.retried(uri, "cannot be written", lambda: files.pipe_file(path, b""))
        except FileNotFoundError as error:
            raise failures.failure(uri, "cannot be written", error) from error
    yield
    if is_folder:
        remove_files(uri, [UNFINISHED])


def remove_files(uri: str, names: Iterable[str]) -> None:
    """Removes files below a URI of an object store; one that is not there is removed already."""
    files = drivers.filesystem(uri)

    def remove_one(name: str) -> None:
        path = location.remote_path(uri, name)
        with contextlib.suppress(FileNotFoundError):
            drivers.retried(uri, "cannot be removed", lambda: files.rm_file(path))
        if location.scheme(uri) == "memory":  # this one alone keeps folders without files
            with contextlib.suppress(OSError):
                while (path := files._parent(path)).strip("/"):
                    files.rmdir(path)

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(remove_one, names))


def info_of(uri: str, name: str) -> FileInfo | None:
    """Returns what is known of a file below a URI of an object store, without listing it."""
    info = lookup(uri, name)
    return file_info(info) if info is not None and info["type"] == "file" else None


def sha256_of(uri: str, name: str, size: int) -> str:
    """Returns the SHA-256 of a file below a URI of an object store, which is read."""
    files, path = drivers.filesystem(uri), location.remote_path(uri, name)

    def read() -> str:
        sha, count = hashlib.sha256(), 0
        with files.open(path, "rb", block_size=drivers.BLOCK, cache_type="readahead") as file:
            while block := file.read(drivers.BLOCK):
                sha.update(block)
                count += len(block)
        if count != size:
            raise StorageError(f"{path} changed while it was read: {count} bytes, listed {size}.")
        return sha.hexdigest()

    try:
        return drivers.retried(uri, "cannot be read", read)
    except FileNotFoundError as error:
        raise StorageError(f"{uri}: {name or 'the file'} was removed while it was read.") from error


def _remove_file(uri: str) -> None:
    """Removes a file in a folder's place: a store with real folders cannot have both."""
    with contextlib.suppress(StorageError):  # who may not list may not look up either
        if info_of(uri, "") is not None:
            remove_files(uri, [""])


def lookup(uri: str, name: str = "") -> dict[str, Any] | None:
    """Returns what an object store says of a file or folder; None if there is none."""
    files, path = drivers.filesystem(uri), location.remote_path(uri, name)

    def ask() -> dict[str, Any]:
        files.invalidate_cache()
        try:
            return dict(files.info(path))
        except PermissionError:
            if location.scheme(uri) == "s3" and "/" in path:
                with contextlib.suppress(FileNotFoundError):
                    files.cat_file(path, 0, 1)  # says why: the answer to HEAD has no body
            raise

    try:
        info = drivers.retried(uri, "cannot be looked up", ask)
    except FileNotFoundError:
        return None
    return info


def file_info(info: dict[str, Any]) -> FileInfo:
    """Returns what is known of a file, out of what its store's driver says."""
    versions = (info.get(key) for key in ("ETag", "etag", "generation", "created"))
    return FileInfo(int(info["size"]), str(next(filter(None, versions), "")).strip('"'))


def checked_name(uri: str, name: str) -> str:
    """Returns the relative path of an object, which must be one of a file in a folder."""
    unusable = {"", ".", ".."} & set(name.split("/"))
    if unusable or "\0" in name or "?versionId=" in name:
        raise StorageError(
            f"{uri} holds an object named {name!r}, which cannot be a file in a folder: remove it."
        )
    return name
