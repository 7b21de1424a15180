"""Remembers the digests of files between runs, by path, size, times of change and inode.

A cached run reads no data: it asks the file system whether a file is still the one that was read.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from millrace.storage import digest, external_files

FILE = ".digests.json"
# A file changed this many nanoseconds ago may change again within one tick of its clock.
_RACY = 2_000_000_000
_REMOTE_ENTRIES = 100_000  # nobody asks a store for each whether it is still there
_ARTIFACT = "artifact "  # before the path of a file or folder that is one
_PARSER = threading.Lock()  # Python 3.11's fails when two threads use it at once


class DigestCache:
    """Digests of files, and the imports of Python files, kept in one JSON file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries = _read(path)
        self._fresh: dict[str, Any] = {}  # of files that may still change: for this run only
        self._new: set[str] = set()  # the names of entries that are not in the file yet
        self._lock = threading.Lock()

    def sha256(self, path: Path) -> str:
        """Returns the SHA-256 of a file."""
        return str(self._entry(path)["sha256"])

    def imports(self, path: Path) -> list[tuple[int, str, list[str]]]:
        """Returns what a Python file imports: level, module and names; nothing if it is none."""
        entry = self._entry(path)
        with self._lock:
            if "imports" not in entry:
                entry["imports"] = _imports(path)
                if str(path) in self._entries:
                    self._new.add(str(path))
        return [(level, module, names) for level, module, names in entry["imports"]]

    def artifact(self, path: Path) -> dict[str, Any]:
        """Returns what metadata says of a file or folder; it is read again only if it changed."""
        if not path.is_dir():
            return {"digest": self.sha256(path), "bytes": path.stat().st_size}
        paths = digest.files(path)
        statuses = [found.stat() for found in paths]
        parts = [
            (str(found), *stamp(status)) for found, status in zip(paths, statuses, strict=True)
        ]
        key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        entry = self._known(f"{_ARTIFACT}{path}", key)
        if entry is None:
            entry = {"key": key, "metadata": digest.of(path).metadata()}
            newest = max((status.st_mtime_ns for status in statuses), default=0)
            self._keep(f"{_ARTIFACT}{path}", entry, newest)
        return dict(entry["metadata"])

    def outside(self, path: Path) -> digest.Digest:
        """Returns the digest of what a path or pattern names outside of the folder of the runs."""
        if path.is_file():
            return self._file(path)
        found = external_files.files(path, self._path.parent)
        return digest.of_contents({name: self._file(file) for name, file in found.items()})

    def remote(self, uri: str, key: list[Any]) -> str | None:
        """Returns the SHA-256 of an object, unless it is unknown or its version has changed."""
        entry = self._known(uri, key)
        return None if entry is None else str(entry["sha256"])

    def keep_remote(self, uri: str, key: list[Any], sha256: str) -> None:
        """Remembers the SHA-256 of an object in this version."""
        self._keep(uri, {"key": key, "sha256": sha256}, 0)

    def save(self) -> None:
        """Writes the file, if it can be written: with what others have saved, without what is gone.

        Two processes that save at the same moment may lose an entry, which is computed again.
        """
        with self._lock:
            if not self._new:
                return
            ours = {name: self._entries[name] for name in self._new}
            self._new.clear()
        entries = {name: entry for name, entry in (_read(self._path) | ours).items() if _kept(name)}
        remote = [name for name in entries if _is_remote(name)]
        for name in remote[:-_REMOTE_ENTRIES]:  # the oldest, which lie first
            del entries[name]
        partial = self._path.with_name(f"{FILE}.{os.getpid()}-{threading.get_ident()}.tmp")
        try:
            partial.write_text(json.dumps(entries), encoding="utf-8")
            partial.replace(self._path)
        except OSError:
            partial.unlink(missing_ok=True)

    def _file(self, path: Path) -> digest.Digest:
        return digest.Digest(self.sha256(path), path.stat().st_size)

    def _entry(self, path: Path) -> dict[str, Any]:
        status = path.stat()
        key = list(stamp(status))
        entry = self._known(str(path), key)
        if entry is None:
            entry = {"key": key, "sha256": digest.of_file(path).hexdigest}
            self._keep(str(path), entry, status.st_mtime_ns)
        return entry

    def _known(self, name: str, key: Any) -> dict[str, Any] | None:
        entry: dict[str, Any] | None = self._fresh.get(name) or self._entries.get(name)
        return entry if entry is not None and entry["key"] == key else None

    def _keep(self, name: str, entry: dict[str, Any], changed_at: int) -> None:
        with self._lock:
            if time.time_ns() - changed_at > _RACY:
                self._entries[name] = entry
                self._new.add(name)
            else:
                self._fresh[name] = entry


def _read(path: Path) -> dict[str, Any]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _kept(name: str) -> bool:
    """Returns whether an entry may be of use again: that of a file which is gone is not."""
    return _is_remote(name) or os.path.lexists(name.removeprefix(_ARTIFACT))


def _is_remote(name: str) -> bool:
    return "://" in name and not name.startswith(("/", _ARTIFACT))


def stamp(status: os.stat_result) -> tuple[int, ...]:
    """Returns what changes with a file: who sets its mtime back cannot set back its ctime."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _imports(path: Path) -> list[tuple[int, str, list[str]]]:
    try:
        with _PARSER:
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return []
    found: list[tuple[int, str, list[str]]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.extend((0, alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or "", [alias.name for alias in node.names]))
    return found
