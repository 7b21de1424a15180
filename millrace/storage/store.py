"""Reads, writes and lists what lies at a URI. Only this package knows whether that is a file.

An object store has no folders, only keys with slashes in them. A folder here is what begins with
its URI and a slash; an empty one holds a marker, which is not counted among its files.
"""

from __future__ import annotations

import os
import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from millrace.errors import DataError, StorageError
from millrace.storage import digest as digests
from millrace.storage import drivers, failures, location, objects
from millrace.storage.digest import Digest
from millrace.storage.digest_cache import DigestCache, stamp
from millrace.storage.objects import FileInfo


def exists(uri: str) -> bool:
    """Returns whether there is a complete file or folder at a URI.

    Raises:
        StorageError: The store cannot be asked.
    """
    if location.is_local(uri):
        return os.path.lexists(location.local_path(uri))
    info = objects.lookup(uri)
    return info is not None and (
        info["type"] == "file" or objects.info_of(uri, objects.UNFINISHED) is None
    )


def list_files(uri: str) -> dict[str, FileInfo]:
    """Returns every file at and below a URI, by its relative path; that of a single file is "".

    The paths are in the order of their bytes.

    Raises:
        StorageError: There is nothing, it cannot be listed, or a name would lead out of the folder.
    """
    if location.is_local(uri):
        return _list_local(uri, location.local_path(uri))
    info = objects.lookup(uri)
    if info is None:
        raise StorageError(f"There is nothing at {uri}.")
    if info["type"] == "file":
        return {"": objects.file_info(info)}
    found = objects.list_objects(uri)
    # A listing may lag behind, so the marker is looked up.
    if objects.UNFINISHED in found and objects.info_of(uri, objects.UNFINISHED) is not None:
        raise StorageError(
            f"{uri} is incomplete: it is being written or removed, or the process that did so was "
            "killed. Run the step that makes it again, or remove it."
        )
    return {
        objects.checked_name(uri, name): info
        for name, info in found.items()
        if name not in objects.MARKERS
    }


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
        return sorted(set(found) - objects.MARKERS)
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
            hexdigest = objects.sha256_of(uri, name, info.size)
            if known is not None and info.version:
                known.keep_remote(where, key, hexdigest)
        return Digest(hexdigest, info.size)

    with ThreadPoolExecutor(objects.THREADS) as threads:
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
        names = set(objects.list_objects(uri))
        with objects.changing(uri, is_folder=bool(names - {""})):
            objects.remove_files(
                uri, (names - {objects.UNFINISHED}) | {""}
            )  # a store may have both
    except OSError as error:
        raise failures.failure(uri, action, error) from error


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
