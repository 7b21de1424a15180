"""What runs read from outside: a file, a folder, or all that a pattern such as `*.csv` names.

It may hold links that lead anywhere, which are followed as by those who read the files. Its digest
is that of an artifact with the same files: a pattern's are named by their paths below the folder
that it begins with.
"""

from __future__ import annotations

import collections
import contextlib
import glob
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from millrace.storage import digest, paths
from millrace.storage.digest import Digest

SIGNS = frozenset("*?[")  # of a pattern
# What stands for the number, the version and the date of a span of data in a path.
SPAN_FIELDS = ("{SPAN}", "{VERSION}", "{YYYY}", "{MM}", "{DD}")


def as_glob(path: Path) -> Path:
    """Returns the pattern that names all spans of a path with fields of spans."""
    text = str(path)
    if not paths.exists(path):
        for field in SPAN_FIELDS:
            text = text.replace(field, "*")
    return Path(text)


def matches(path: Path) -> list[Path]:
    """Returns what a path or pattern names; a name with brackets may be just that."""
    path = as_glob(path)
    if paths.exists(path):
        return [path]
    if not SIGNS & set(str(path)):
        return []
    return [Path(found) for found in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207


def beginning(path: Path) -> Path:
    """Returns the folder that a pattern's matches lie in; a path that is none is its own."""
    path = as_glob(path)
    while SIGNS & set(str(path)) and not paths.exists(path):
        path = path.parent
    return path


def files(path: Path, own: Path | None = None) -> dict[str, Path]:
    """Returns every file at and below a path or pattern, by its path below where that begins.

    What is no data does not count: hidden files and folders, Python's bytecode, `own`, which is
    the folder of the runs, and the file that takes this process's output.
    """
    start, output = beginning(path), _output()
    found = {
        file
        for one in matches(path)
        for file in _below(one, own)
        if not output or _identity(file.stat()) not in output
    }
    names = sorted(((os.path.relpath(file, start), file) for file in found), key=_bytes)
    return dict(names)


def digest_of(path: Path, own: Path | None = None) -> Digest:
    """Returns the digest of what a path or pattern names.

    Raises:
        DataError: A file cannot be read.
    """
    if paths.is_file(path):
        return digest.of_file(path)
    found = files(path, own)
    contents = digest.of_files(list(found.values()))
    return digest.of_contents(dict(zip(found, contents, strict=True)))


def _bytes(named: tuple[str, Path]) -> bytes:
    return os.fsencode(named[0])


def _below(path: Path, own: Path | None) -> Iterator[Path]:
    """Yields the files at and below a path, those of each folder once, wherever links lead."""
    if path.is_file():
        yield path
        return
    seen = {os.path.realpath(own)} if own else set()
    folders = collections.deque([path])
    while folders:
        folder = folders.popleft()
        true = os.path.realpath(folder)
        if true in seen or folder.name == "__pycache__":
            continue
        seen.add(true)
        for entry in _entries(folder):
            if entry.is_dir():
                # A folder goes by its own name, and by a link's only if it is elsewhere.
                (folders.append if entry.is_symlink() else folders.appendleft)(Path(entry.path))
            elif entry.is_file():
                yield Path(entry.path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            found = [each for each in entries if each.name[0] != "."]
    except PermissionError:  # nor can a step read it
        return []
    return sorted(found, key=lambda each: os.fsencode(each.name))


def _output() -> set[tuple[int, int]]:
    """Returns the files that take this process's output, which may lie beside its data."""
    found = set()
    for number in (1, 2):
        with contextlib.suppress(OSError):
            status = os.fstat(number)
            if stat.S_ISREG(status.st_mode):
                found.add(_identity(status))
    return found


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
