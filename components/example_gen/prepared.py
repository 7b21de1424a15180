"""Makes files that DuckDB can read of those that it cannot: other encodings, and zip archives.

They are written as UTF-8 into a temporary folder, in a stream. Everything else is read where it is.
"""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from millrace.components.example_gen import csv_file
from millrace.errors import DataError, ParameterError

_BLOCK = 1 << 20
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_UTF8 = ("utf-8", "utf-8-sig", "ascii")
# Text shrinks to a tenth, and rows of zeros to a thousandth.
_MOST_EXPANSION, _SMALL = 200, 100 << 20


@dataclasses.dataclass(frozen=True)
class File:
    """A file of the source.

    Attributes:
        path: Where its content can be read.
        name: What it is called: its own path, or that of the archive and the member within it.
    """

    path: Path
    name: str


def files(paths: Sequence[Path], encoding: str, folder: Path) -> list[File]:
    """Returns the files to read.

    Args:
        paths: CSV files, and zip archives of them.
        encoding: The encoding of the text, as Python names it; empty to go by the byte order mark.
        folder: Where to write files that have to be converted.

    Raises:
        ParameterError: There is no such encoding.
        DataError: A file is damaged, not of the encoding, or unsafe to unpack.
    """
    if encoding:
        try:
            encoding = codecs.lookup(encoding).name
        except LookupError:
            raise ParameterError(
                f'"encoding" is {encoding!r}, which is not known: utf-8, utf-16, latin-1 and '
                "windows-1252 are the usual ones."
            ) from None
    found: list[File] = []
    for path in paths:
        members = (
            _unpacked(path, folder) if path.suffix.lower() == ".zip" else [File(path, str(path))]
        )
        found += [_decoded(file, encoding, folder) for file in members]
    return found


@contextlib.contextmanager
def named(names: Iterable[tuple[Path, str]]) -> Iterator[None]:
    """Makes errors about files name them as they are called."""
    try:
        yield
    except DataError as error:
        text = str(error)
        for path, name in names:
            text = text.replace(str(path), name)
        raise type(error)(text) from error


def _unpacked(path: Path, folder: Path) -> list[File]:
    """Writes the members of an archive to files whose names do not come from it."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [one for one in archive.infolist() if _is_data(one)]
            if not members:
                raise DataError(f"{path} holds no .csv, .tsv or .txt file.")
            for member in members:
                if member.flag_bits & 1:
                    raise DataError(f"{path} is encrypted: unpack it, and read the files.")
                if member.file_size > max(_MOST_EXPANSION * member.compress_size, _SMALL):
                    raise DataError(
                        f"{path} claims to unpack {member.compress_size:,} bytes to "
                        f"{member.file_size:,}: unpack it yourself if you trust it."
                    )
            if sum(one.file_size for one in members) > shutil.disk_usage(folder).free:
                raise DataError(f"{path} needs more space than {folder} has: unpack it elsewhere.")
            unpacked = []
            for member in sorted(members, key=lambda one: one.filename):
                target = _new(folder, path, Path(member.filename).name)
                with archive.open(member) as content, target.open("wb") as file:
                    shutil.copyfileobj(content, file, _BLOCK)
                unpacked.append(File(target, f"{path}/{member.filename}"))
            return unpacked
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, OSError) as error:
        raise DataError(f"{path} is damaged: {error}.") from error


def _is_data(member: zipfile.ZipInfo) -> bool:
    path = Path(member.filename)
    hidden = any(part.startswith((".", "_")) and part != ".." for part in path.parts)
    return not member.is_dir() and not hidden and path.suffix.lower() in (".csv", ".tsv", ".txt")


def _decoded(file: File, encoding: str, folder: Path) -> File:
    """Returns the file as UTF-8."""
    with csv_file.opened(file.path) as content:
        head = content.read(4)
    marked = next((found for mark, found in _MARKS.items() if head.startswith(mark)), "")
    encoding = encoding or marked or "utf-8"
    if encoding in _UTF8:
        return file
    target = _new(folder, file.path, file.path.name.removesuffix(".gz").removesuffix(".zst"))
    try:
        with (
            csv_file.opened(file.path) as content,
            target.open("w", encoding="utf-8", newline="") as out,
        ):
            for text in _texts(content, encoding):
                out.write(text)
    except UnicodeError as error:
        raise DataError(f"{file.name} is not {encoding} text: {error}.") from error
    return File(target, file.name)


def _texts(content: BinaryIO, encoding: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)()
    while block := content.read(_BLOCK):
        yield decoder.decode(block)
    yield decoder.decode(b"", final=True)


def _new(folder: Path, of: Path, name: str) -> Path:
    """Returns the path of a new file, in the partition folders of another."""
    partitions = [part for part in of.parent.parts if "=" in part]
    own = Path(tempfile.mkdtemp(dir=folder)).joinpath(*partitions)
    own.mkdir(parents=True, exist_ok=True)
    return own / name
