r"""The content digest of an artifact: what lineage records, the cache keys on and an audit checks.

A file's digest is the SHA-256 of its bytes. A folder's is the SHA-256 of its manifest, which is
what `sha256sum` prints for its files in the order of their paths, so anyone can check it:

    cd FOLDER
    find . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0r sha256sum -- | sha256sum

It follows from the paths within the folder and the bytes of the files, and from nothing else: not
from where the folder lies, when it was written or by whom. Empty folders do not count: object
stores have none. A symbolic link counts as what it points to, which must lie within the folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from millrace.errors import DataError

METADATA = frozenset({"digest", "bytes", "file_digests"})  # what a digest alone may say
_BLOCK = 1 << 20
_PARALLEL = (
    64 << 20
)  # bytes from which threads, which hash without Python's lock, repay their start
_THREADS = min(4, os.cpu_count() or 1)
_LISTED = 100  # files; a longer list would make the metadata that travels with the artifact heavy
_SHORT = 16  # hexadecimal digits that tell a file's versions apart; the digest is what proves


@dataclasses.dataclass(frozen=True)
class Digest:
    """A content digest.

    Attributes:
        hexdigest: 64 hexadecimal digits.
        size: Bytes of all files.
        files: The SHA-256 of each file of a folder, by its path within; empty for a file.
    """

    hexdigest: str
    size: int
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def metadata(self) -> dict[str, Any]:
        """Returns what an artifact's metadata says of it: `digest`, `bytes`, maybe `file_digests`.

        A folder of few files has `file_digests`: the beginning of the SHA-256 of each, by which an
        audit can name the file that was altered.
        """
        found: dict[str, Any] = {"digest": self.hexdigest, "bytes": self.size}
        if 0 < len(self.files) <= _LISTED and all(map(_is_text, self.files)):
            found["file_digests"] = short(self.files)
        return found


def of(path: Path) -> Digest:
    """Returns the digest of a file or folder.

    Raises:
        DataError: It is not there or cannot be read, or a link in it leads out of it.
    """
    return of_folder(path) if os.path.isdir(path) else of_file(path)  # noqa: PTH112  never raises


def of_file(path: Path) -> Digest:
    """Returns the digest of one file."""
    sha, size = hashlib.sha256(), 0
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path} is not a file but a device, pipe or socket: it has no digest.")
        block = bytearray(min(status.st_size + 1, _BLOCK))
        view = memoryview(block)
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(block):
                sha.update(view[:count])
                size += count
    except OSError as error:
        raise _unreadable(path, error) from error
    return Digest(sha.hexdigest(), size)


def of_folder(folder: Path) -> Digest:
    """Returns the digest of every file below a folder."""
    paths = files(folder)
    contents = of_files(paths)
    start = len(os.fspath(folder)) + 1
    names = (os.fspath(path)[start:] for path in paths)
    return of_contents(dict(zip(names, contents, strict=True)))


def of_contents(contents: Mapping[str, Digest]) -> Digest:
    """Returns the digest of files by their paths, which are in the order of their bytes."""
    found = {name: content.hexdigest for name, content in contents.items()}
    manifest = b"".join(_line(name, hexdigest) for name, hexdigest in found.items())
    size = sum(content.size for content in contents.values())
    return Digest(hashlib.sha256(manifest).hexdigest(), size, found)


def files(folder: Path) -> list[Path]:
    """Returns every file below a folder, in the order of their relative paths as bytes."""
    top = os.path.realpath(folder)
    start = len(os.fspath(folder)) + 1
    found = sorted(
        _below(os.fspath(folder), top, (top,)), key=lambda path: os.fsencode(path[start:])
    )
    return [Path(path) for path in found]


def short(contents: Mapping[str, str]) -> dict[str, str]:
    """Returns digests of files as an artifact's metadata holds them: their beginnings."""
    return {path: hexdigest[:_SHORT] for path, hexdigest in contents.items()}


def of_files(paths: list[Path]) -> list[Digest]:
    """Returns the digests of files, computed side by side if they are large."""
    if len(paths) > 1 and _THREADS > 1 and sum(map(_size, paths)) >= _PARALLEL:
        with ThreadPoolExecutor(_THREADS) as threads:
            return list(threads.map(of_file, paths))
    return [of_file(path) for path in paths]


def _below(where: str, top: str, above: tuple[str, ...]) -> Iterator[str]:
    """Yields the files below a folder; `above` are the true paths of it and the folders around."""
    try:
        entries = list(os.scandir(where))
    except OSError as error:
        raise _unreadable(Path(where), error) from error
    for entry in entries:
        true = os.path.join(above[-1], entry.name)  # noqa: PTH118  many files: strings are fast
        if entry.is_symlink():
            true = _followed(entry.path, top, above)
        if entry.is_dir():
            yield from _below(entry.path, top, (*above, true))
        elif entry.is_file():
            yield entry.path
        else:
            raise DataError(
                f"{entry.path} is not a file but a device, pipe or socket: an artifact holds files."
            )


def _followed(link: str, top: str, above: tuple[str, ...]) -> str:
    """Returns what a link within an artifact points to."""
    true = os.path.realpath(link)
    if not os.path.lexists(true):
        raise DataError(f"{link} is a link to {os.readlink(link)}, which is not there.")  # noqa: PTH115
    if not true.startswith(top + os.sep) and true != top:
        raise DataError(
            f"{link} is a link to {true}, outside of the artifact {top}: copy what it points to "
            "into the artifact, so that it is whole wherever it goes."
        )
    if true in above:
        raise DataError(f"{link} is a link to {true}, the folder that it is in: it has no end.")
    return true


def _line(name: str, hexdigest: str) -> bytes:
    """Returns the line that `sha256sum` prints for a file."""
    path = os.fsencode(name)
    escaped = path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    return b"%s%s  %s\n" % (b"\\" if escaped != path else b"", hexdigest.encode(), escaped)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from error


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unreadable(path: Path, error: OSError) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"There is nothing at {path}.")
    return DataError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}.")
