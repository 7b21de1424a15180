"""Moves files and folders between this machine and an object store.

What was transferred in part never passes for whole. Downloads are renamed to their place once
complete. An object store cannot rename folders: an upload counts once lineage holds its digest,
which is written after it, and which a reader can check.
"""

from __future__ import annotations

import math
import os
import shutil
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from millrace.errors import DataError, StorageError
from millrace.storage import digest as digests
from millrace.storage import drivers, location, store

_MOST_PARTS = 10_000  # of one object in S3
# Seconds between looks at a store whose listings lag behind what was written.
_LAG_WAITS = (0.5, 1.0, 2.0, 4.0)


def stage_in(uri: str, path: Path, expected: str | None = None) -> None:
    """Brings a file or folder to a path of this machine, replacing what is there.

    Args:
        uri: A path or URI.
        path: Where it shall be.
        expected: Its digest. Without it, only sizes are checked.

    Raises:
        StorageError: It cannot be read, or it is not what it is expected to be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex}.tmp")
    try:
        found = ""
        for wait in (*_LAG_WAITS, None) if expected and not location.is_local(uri) else (None,):
            delete(partial)
            _copy_in(uri, partial)
            if not expected or (found := digests.of(partial).hexdigest) == expected:
                break
            if wait is None:
                raise StorageError(
                    f"{uri} is not what was recorded: its digest is {found[:16]}…, and was "
                    f"{expected[:16]}…. It was changed or is incomplete."
                )
            time.sleep(wait)
        _replace(partial, path)
    except DataError as error:
        raise StorageError(str(error)) from error
    except OSError as error:
        raise drivers.failure(uri, f"cannot be copied to {path}", error) from error
    finally:
        delete(partial)


def stage_out(path: Path, uri: str) -> None:
    """Copies a file or folder of this machine to a URI, replacing what is there.

    Sizes are checked afterwards, and files that an earlier attempt left there are removed.

    Raises:
        StorageError: It cannot be read or written.
    """
    if location.is_local(uri):
        stage_in(str(path), location.local_path(uri))
        return
    sizes = {name: info.size for name, info in store.list_files(str(path)).items()}
    for name in sizes:
        if not _is_unicode(name) or "?versionId=" in name:  # s3fs takes that for no part of a name
            raise StorageError(
                f"{path}: a file named {name!r} cannot be stored: its name is not UTF-8, or has "
                '"?versionId=" in it; rename it.'
            )
    with ThreadPoolExecutor(store.THREADS) as threads:
        list(threads.map(lambda name: _upload(path, uri, name), sizes))
    if not sizes:
        store.write_bytes(location.join(uri, store.EMPTY_FOLDER), b"")
    _check(uri, sizes)


def _copy_in(uri: str, partial: Path) -> None:
    if location.is_local(uri):
        source = location.local_path(uri)
        if source.is_dir():
            digests.files(source)  # no link leads out of it
            shutil.copytree(source, partial)
        else:
            shutil.copy2(source, partial)
        return
    infos = store.list_files(uri)
    if "" not in infos:
        partial.mkdir()
    with ThreadPoolExecutor(store.THREADS) as threads:
        list(threads.map(lambda name: _download(uri, name, infos[name].size, partial), infos))


def _download(uri: str, name: str, size: int, partial: Path) -> None:
    files, source = drivers.filesystem(uri), _below(uri, name)
    target = partial / name if name else partial
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        drivers.retried(
            uri, "cannot be downloaded", lambda: files.get_file(source, os.fspath(target))
        )
    except FileNotFoundError as error:
        raise StorageError(f"{uri}: {name or 'the file'} was removed while it was read.") from error
    if (found := target.stat().st_size) != size:
        raise StorageError(
            f"{uri}: {name or 'the file'} changed while it was read: {found} bytes, listed {size}."
        )


def _upload(path: Path, uri: str, name: str) -> None:
    files, source = drivers.filesystem(uri), path / name if name else path
    options = {}
    if location.scheme(uri) == "s3":
        size = source.stat().st_size
        options["chunksize"] = max(drivers.BLOCK, math.ceil(size / _MOST_PARTS))
    drivers.retried(
        uri,
        "cannot be written",
        lambda: files.put_file(os.fspath(source), _below(uri, name), **options),
    )


def _check(uri: str, sizes: dict[str, int]) -> None:
    """Compares what lies at a URI with what was written, and removes what was not.

    Raises:
        StorageError: A file is missing or has another size.
    """
    try:
        listed = {name: info.size for name, info in store.list_files(uri).items()}
    except StorageError:
        listed = {}  # listing may be forbidden, or lag behind: each file is looked up
    for name, size in sizes.items():
        found = listed.get(name)
        if found != size:
            found = store.size_of(uri, name)
        if found != size:
            there = "missing" if found is None else f"of {found} bytes"
            raise StorageError(
                f"{uri}: {name or 'the file'} is {there} after {size} bytes were written. Another "
                "process writes there, or the store is at fault."
            )
    store.remove_files(uri, [name for name in listed if name not in sizes])


def _below(uri: str, name: str) -> str:
    path = location.remote_path(uri)
    return f"{path}/{name}" if name else path


def _replace(partial: Path, path: Path) -> None:
    """Renames a complete file or folder to its place."""
    if path.is_dir() and not path.is_symlink():
        aside = partial.with_suffix(".old")
        path.rename(aside)
        partial.rename(path)
        shutil.rmtree(aside, ignore_errors=True)
    elif partial.is_dir():
        path.unlink(missing_ok=True)
        partial.rename(path)
    else:
        partial.replace(path)


def delete(path: Path) -> None:
    """Removes a file or folder of this machine, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
