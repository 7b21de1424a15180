"""Reads, writes and lists what lies at a URI. Only this package knows whether that is a file.

An object store has no folders, only keys with slashes in them. A folder here is what begins with
its URI and a slash; an empty one holds a marker, which is not counted among its files. Another
marker says that the folder is being written or removed: until that is done, or done again, it
cannot be read, and does not count as being there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from millrace.errors import DataError, StorageError
from millrace.storage import digest as digests
from millrace.storage import drivers, failures, location
from millrace.storage.digest import Digest
from millrace.storage.digest_cache import DigestCache, stamp

EMPTY_FOLDER = ".millrace-empty-folder"
UNFINISHED = ".millrace-unfinished"
_MARKERS = {EMPTY_FOLDER, UNFINISHED}
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


def exists(uri: str) -> bool:
    """Returns whether there is a complete file or folder at a URI.

    Raises:
        StorageError: The store cannot be asked.
    """
    if location.is_local(uri):
        return os.path.lexists(location.local_path(uri))
    info = _info(uri)
    return info is not None and (info["type"] == "file" or info_of(uri, UNFINISHED) is None)


def list_files(uri: str) -> dict[str, FileInfo]:
    """Returns every file at and below a URI, by its relative path; that of a single file is "".

    The paths are in the order of their bytes.

    Raises:
        StorageError: There is nothing, it cannot be listed, or a name would lead out of the folder.
    """
    if location.is_local(uri):
        return _list_local(uri, location.local_path(uri))
    info = _info(uri)
    if info is None:
        raise StorageError(f"There is nothing at {uri}.")
    if info["type"] == "file":
        return {"": _file_info(info)}
    found = list_objects(uri)
    # A listing may lag behind, so the marker is looked up.
    if UNFINISHED in found and info_of(uri, UNFINISHED) is not None:
        raise StorageError(
            f"{uri} is incomplete: it is being written or removed, or the process that did so was "
            "killed. Run the step that makes it again, or remove it."
        )
    return {_checked(uri, name): info for name, info in found.items() if name not in _MARKERS}


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
        path[start:]: _file_info(info)
        for path, info in found.items()
        if info["type"] == "file" and not path.endswith("/")
    }
    return dict(sorted(infos.items(), key=lambda item: os.fsencode(item[0])))


def list_names(uri: str) -> list[str]:
    """Returns the names of what lies directly in a folder; none if there is no such folder.

    Raises:
        StorageError: It cannot be listed.
    """
    action = "cannot be listed"
    try:
        if location.is_local(uri):
            return sorted(path.name for path in location.local_path(uri).iterdir())
        files, path = drivers.filesystem(uri), location.remote_path(uri)

        def ask() -> list[str]:
            files.invalidate_cache()
            return list(files.ls(path, detail=False))

        found = (
            where.rstrip("/").rpartition("/")[2] for where in drivers.retried(uri, action, ask)
        )
        return sorted(set(found) - _MARKERS)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise failures.failure(uri, action, error) from error


def digest(uri: str, known: DigestCache | None = None) -> Digest:
    """Returns the content digest of a file or folder, the same wherever it lies.

    Args:
        uri: A path or URI.
        known: Digests that are taken for those of files whose version and size have not changed.
            Without it, every byte is read.

    Raises:
        StorageError: There is nothing, or it cannot be read.
    """
    if location.is_local(uri):
        try:
            return digests.of(location.local_path(uri))
        except DataError as error:
            raise StorageError(str(error)) from error
    infos = list_files(uri)

    def of_file(name: str) -> Digest:
        where, info = f"{uri}/{name}".rstrip("/"), infos[name]
        key = [info.size, info.version]
        hexdigest = known.remote(where, key) if known is not None and info.version else None
        if hexdigest is None:
            hexdigest = sha256_of(uri, name, info.size)
            if known is not None and info.version:
                known.keep_remote(where, key, hexdigest)
        return Digest(hexdigest, info.size)

    with ThreadPoolExecutor(THREADS) as threads:
        contents = dict(zip(infos, threads.map(of_file, infos), strict=True))
    return contents[""] if "" in contents else digests.of_contents(contents)


def read_bytes(uri: str) -> bytes:
    """Returns the content of a file.

    Raises:
        StorageError: There is none, or it cannot be read.
    """
    action = "cannot be read"
    try:
        if location.is_local(uri):
            return location.local_path(uri).read_bytes()
        files, path = drivers.filesystem(uri), location.remote_path(uri)
        return bytes(drivers.retried(uri, action, lambda: files.cat_file(path)))
    except OSError as error:
        raise failures.failure(uri, action, error) from error


def write_bytes(uri: str, content: bytes) -> None:
    """Writes a file at once: whoever reads it finds the former content or this one.

    Raises:
        StorageError: It cannot be written.
    """
    action = "cannot be written"
    try:
        if location.is_local(uri):
            path = location.local_path(uri)
            path.parent.mkdir(parents=True, exist_ok=True)
            _partial(path, content).replace(path)
            return
        files, path_there = drivers.filesystem(uri), location.remote_path(uri)
        drivers.retried(uri, action, lambda: files.pipe_file(path_there, content))
    except OSError as error:
        raise failures.failure(uri, action, error) from error


def claim(uri: str, content: bytes) -> bool:
    """Creates a file unless there is one, so that one of many wins; returns whether this did.

    Args:
        uri: A path or URI.
        content: Tells the claim from every other one, such as a random number: a request whose
            answer was lost is repeated, and finds its own claim.

    Raises:
        StorageError: It cannot be written.
    """
    action = "cannot be claimed"
    try:
        if location.is_local(uri):
            return _claim_local(location.local_path(uri), content)
        files, path = drivers.filesystem(uri), location.remote_path(uri)
        drivers.retried(uri, action, lambda: files.pipe_file(path, content, mode="create"))
    except FileExistsError:
        return read_bytes(uri) == content
    except OSError as error:
        raise failures.failure(uri, action, error) from error
    return True


def remove(uri: str) -> None:
    """Removes a file, or a folder with all in it, if it is there.

    Raises:
        StorageError: It cannot be removed.
    """
    action = "cannot be removed"
    try:
        if location.is_local(uri):
            path = location.local_path(uri)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            return
        names = set(list_objects(uri))
        with changing(uri, is_folder=bool(names - {""})):
            remove_files(uri, (names - {UNFINISHED}) | {""})  # a store may have both
    except OSError as error:
        raise failures.failure(uri, action, error) from error


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
    info = _info(uri, name)
    return _file_info(info) if info is not None and info["type"] == "file" else None


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


def _info(uri: str, name: str = "") -> dict[str, Any] | None:
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


def _file_info(info: dict[str, Any]) -> FileInfo:
    versions = (info.get(key) for key in ("ETag", "etag", "generation", "created"))
    return FileInfo(int(info["size"]), str(next(filter(None, versions), "")).strip('"'))


def _checked(uri: str, name: str) -> str:
    """Returns the relative path of an object, which must be one of a file in a folder."""
    unusable = {"", ".", ".."} & set(name.split("/"))
    if unusable or "\0" in name or "?versionId=" in name:
        raise StorageError(
            f"{uri} holds an object named {name!r}, which cannot be a file in a folder: remove it."
        )
    return name


def _list_local(uri: str, path: Path) -> dict[str, FileInfo]:
    if not os.path.lexists(path):
        raise StorageError(f"There is nothing at {uri}.")
    try:
        paths = digests.files(path) if path.is_dir() else [path]
        found = {}
        for file in paths:
            status = file.stat()
            name = "" if file == path else file.relative_to(path).as_posix()
            found[name] = FileInfo(status.st_size, "-".join(map(str, stamp(status))))
        return found
    except DataError as error:
        raise StorageError(str(error)) from error
    except OSError as error:
        raise failures.failure(uri, "cannot be read", error) from error


def _claim_local(path: Path, content: bytes) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path, content)
    try:
        os.link(partial, path)  # unlike a file that is opened and written, whole at once
    finally:
        partial.unlink()
    return True


def _partial(path: Path, content: bytes) -> Path:
    partial = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex}.tmp")
    try:
        partial.write_bytes(content)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    return partial
