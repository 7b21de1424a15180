"""Moves files and folders between this machine and an object store.

What was transferred in part never passes for whole. Downloads are renamed to their place once
complete. An object store cannot rename folders: there, a marker lies in a folder for as long as
its upload takes, and one that a killed process left keeps anybody from reading the folder.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from millrace.errors import DataError, StorageError
from millrace.storage import digest as digests
from millrace.storage import drivers, failures, location, objects, store, uploads

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
        raise failures.failure(uri, f"cannot be copied to {path}", error) from error
    finally:
        delete(partial)


def stage_out(path: Path, uri: str) -> None:
    """Copies a file or folder of this machine to a URI, replacing what is there.

    What has arrived is checked, and files that an earlier attempt left there are removed. Until all
    is done, a folder in an object store does not count as being there.

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
    with objects.changing(uri, is_folder=path.is_dir()):
        # Before the upload: a store with real folders cannot have a file and a folder of one name.
        _remove_others(uri, set(sizes))
        with ThreadPoolExecutor(objects.THREADS) as threads:
            versions = threads.map(
                lambda name: uploads.upload(_beside(path, name), uri, name), sizes
            )
            sent = {
                name: objects.FileInfo(size, version)
                for (name, size), version in zip(sizes.items(), versions, strict=True)
            }
        if not sizes:
            store.write_bytes(location.join(uri, objects.EMPTY_FOLDER), b"")
        _check(path, uri, sent)


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
    with ThreadPoolExecutor(objects.THREADS) as threads:
        list(threads.map(lambda name: _download(uri, name, infos[name].size, partial), infos))


def _download(uri: str, name: str, size: int, partial: Path) -> None:
    files, source = drivers.filesystem(uri), location.remote_path(uri, name)
    target = _beside(partial, name)
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


def _remove_others(uri: str, names: set[str]) -> None:
    """Removes what lies at and below a URI, except for some files."""
    try:
        found = objects.list_objects(uri)
    except StorageError:
        return  # listing may be forbidden: then what an earlier attempt left cannot be known
    others = set(found) - names
    if "" in names and others:
        store.remove(uri)  # a folder, which a kill must not leave in part
    else:
        objects.remove_files(uri, others - {objects.UNFINISHED})


def _check(path: Path, uri: str, sent: dict[str, objects.FileInfo]) -> None:
    """Compares what lies at a URI with what was sent.

    An object in the version that was sent is known to be right. Any other is read.

    Raises:
        StorageError: A file is missing, or is not what was sent.
    """
    try:
        listed = objects.list_objects(uri)
    except StorageError:
        listed = {}  # listing may be forbidden, or lag behind: each file is looked up
    for name, info in sent.items():
        found = listed.get(name)
        if found is None or found != info:
            found = objects.info_of(uri, name)
        if found is not None and found.size == info.size:
            if found == info and info.version:
                continue
            if objects.sha256_of(uri, name, info.size) == digests.of(_beside(path, name)).hexdigest:
                continue
        there = "missing" if found is None else f"of {found.size} bytes"
        if found is not None and found.size == info.size:
            there = "of other content"
        raise StorageError(
            f"{uri}: {name or 'the file'} is {there} after {info.size} bytes were written. Another "
            "process writes there, or the store is at fault."
        )


def _beside(path: Path, name: str) -> Path:
    return path / name if name else path


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
