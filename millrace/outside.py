"""What runs read from outside: a file, a folder, or all that a pattern such as `*.csv` names.

It may hold links that lead anywhere, which are followed as by those who read the files. Its digest
is that of an artifact with the same files: a pattern's are named by their paths below the folder
that it begins with.
"""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterator
from pathlib import Path

from millrace import digest
from millrace.digest import Digest

_SIGNS = frozenset("*?[")


def matches(path: Path) -> list[Path]:
    """Returns what a path or pattern names; a name with brackets may be just that."""
    if path.exists() or not _SIGNS & set(str(path)):
        return [path] if path.exists() else []
    return [Path(found) for found in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207


def beginning(path: Path) -> Path:
    """Returns the folder that a pattern's matches lie in; a path that is none is its own."""
    while _SIGNS & set(str(path)) and not path.exists():
        path = path.parent
    return path


def files(path: Path, own: Path | None = None) -> dict[str, Path]:
    """Returns every file at and below a path or pattern, by its path below where that begins.

    What runs themselves write does not count: Python's bytecode, and `own`, the folder of the runs.
    """
    start = beginning(path)
    found = {file for one in matches(path) for file in _below(one, own)}
    names = sorted(((os.path.relpath(file, start), file) for file in found), key=_bytes)
    return dict(names)


def digest_of(path: Path, own: Path | None = None) -> Digest:
    """Returns the digest of what a path or pattern names.

    Raises:
        DataError: A file cannot be read.
    """
    if path.is_file():
        return digest.of_file(path)
    found = files(path, own)
    contents = digest.of_files(list(found.values()))
    return digest.of_contents(dict(zip(found, contents, strict=True)))


def _bytes(named: tuple[str, Path]) -> bytes:
    return os.fsencode(named[0])


def _below(path: Path, own: Path | None, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """Yields the files at and below a path; `above` are the true paths of the folders around."""
    if not path.is_dir():
        if path.is_file():
            yield path
        return
    true = os.path.realpath(path)
    if true in above:  # a link to a folder that it is in has no end
        return
    with contextlib.suppress(PermissionError):  # nor can a step read it
        for found in path.iterdir():
            if found.name != "__pycache__" and found != own:
                yield from _below(found, own, (*above, true))
