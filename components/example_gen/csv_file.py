"""Reads the header of CSV files and counts their records, without DuckDB.

A CSV file is UTF-8 text (RFC 4180) with a header line; values are separated by commas,
semicolons, tabs or bars, and may be quoted with `"`.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import dataclasses
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from millrace.components.example_gen.parquet_file import check_names, check_same
from millrace.errors import DataError

DELIMITERS = ",;\t|"
_BLOCK = 1 << 20
_QUOTE_FILES, _QUOTE_BYTES = 8, 1 << 16  # how much shows who is quoted
_LONGEST_VALUE = (1 << 31) - 1
# A title has a few lines, and more of the table follow at once.
_TITLE_BYTES, _TITLE_LINES, _TITLE_NAMES = 1 << 14, 20, 5


@dataclasses.dataclass(frozen=True)
class Header:
    """The first line of a CSV file.

    Attributes:
        columns: The names of the columns.
        delimiter: What stands between two values.
        quoted: The columns whose first values are quoted, where those of others are not.
        line: Its number; 0 if the files have no header line.
    """

    columns: tuple[str, ...]
    delimiter: str
    quoted: frozenset[str] = frozenset()
    line: int = 1

    @property
    def skipped(self) -> int:
        """The number of lines before the header, or before the rows if there is none."""
        return max(self.line - 1, 0)


NO_HEADER = Header((), ",")  # of other files


def header(files: Sequence[Path], line: int = 1, delimiter: str = "") -> Header:
    """Returns the header line that all files share.

    Args:
        files: The files.
        line: The number of the header line; with 0, there is none, and the columns are numbered.
        delimiter: What stands between two values; empty to find out.

    Raises:
        DataError: A file is not a CSV file with a header, or its header is not that of the first.
    """
    first = _header(files[0], line, delimiter)
    for path in files[1:]:
        other = _header(path, line, delimiter)
        check_same(files[0], first.columns, path, other.columns)
        if (other.columns, other.delimiter) != (first.columns, first.delimiter):
            raise DataError(
                f"{path} does not have the header line of {files[0]}: the same columns stand in "
                "another order or between other delimiters. Files that are read together need one "
                "header."
            )
    return dataclasses.replace(first, quoted=_quoted(files, first))


def count_lines(files: Sequence[Path], header: Header) -> int:
    """Returns the number of lines without headers, the most records there can be.

    A blank line is a missing value in a file of one column, and is ignored in a wider one.
    """
    blank = len(header.columns) == 1
    return sum(_count_lines(path, blank, header.skipped) - (header.line > 0) for path in files)


def count_records(files: Sequence[Path], header: Header) -> int:
    """Returns the number of records as Python's csv module reads them: a value may span lines."""
    csv.field_size_limit(_LONGEST_VALUE)
    records = 0
    for path in files:
        with opened(path) as file:
            _skip(file, header.skipped)
            text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline="")
            reader = csv.reader(text, delimiter=header.delimiter)
            filled = sum(1 for record in reader if record or len(header.columns) == 1)
            records += filled - (header.line > 0)
    return records


def mixes_line_ends(path: Path) -> bool:
    """Returns whether a file mixes line ends."""
    with opened(path) as file:
        windows = lines = 0
        while block := file.read(_BLOCK):
            windows += block.count(b"\r\n")
            lines += block.count(b"\n")
    return 0 < windows < lines


def _header(path: Path, line: int, delimiter: str) -> Header:
    """Returns the header of a file, in the line of that number."""
    text = _first_line(path, max(line - 1, 0))
    if not text.strip():
        raise DataError(f"{path} is empty." if line <= 1 else f"{path} has nothing in line {line}.")
    delimiter = delimiter or _delimiter(text)
    names = _names(text, delimiter)
    if line == 0:
        columns = tuple(f"column_{index}" for index in range(1, len(names) + 1))
        return Header(columns, delimiter, line=0)
    if line == 1:
        _check_no_title(path, len(names))
    names = [name.strip(" ") for name in names]
    for number, name in enumerate(names, 1):
        if not name.strip():
            raise DataError(
                f"{path}: column {number} has no name in the header line. Name it, or leave it out "
                "(in pandas: to_csv(index=False))."
            )
    check_names(path, names)
    return Header(tuple(names), delimiter, line=line)


def _quoted(files: Sequence[Path], header: Header) -> frozenset[str]:
    """Returns the columns that are quoted at the beginning of each file, where others are not.

    Who writes 7 without quotes and "007" in quotes means a text.
    """
    quotes: list[set[str]] = [set() for _ in header.columns]
    pattern = re.compile(
        rf'[ ]*("(?:[^"]|"")*"|[^{re.escape(header.delimiter)}\r\n]*)'
        rf"({re.escape(header.delimiter)}|\r?\n|\r)"
    )
    for path in files[:_QUOTE_FILES]:
        with opened(path) as file:
            _skip(file, header.skipped)
            text = file.read(_QUOTE_BYTES).decode("utf-8", errors="replace")
        number = line = 0
        for match in pattern.finditer(text):
            value, end = match.groups()
            if line >= (header.line > 0) and number < len(quotes) and value:
                quotes[number].add("quoted" if value[0] == '"' else "plain")
            ends = end != header.delimiter
            line, number = line + ends, 0 if ends else number + 1
    if not any("plain" in found for found in quotes):
        return frozenset()
    return frozenset(
        name for name, found in zip(header.columns, quotes, strict=True) if found == {"quoted"}
    )


def _check_no_title(path: Path, columns: int) -> None:
    """Raises DataError if the lines below the first have more values, all of them as many."""
    with opened(path) as file:
        head = file.read(_TITLE_BYTES).decode("utf-8-sig", errors="replace")
    lines = head.splitlines()
    lines = lines if len(head) < _TITLE_BYTES else lines[:-1]
    for delimiter in DELIMITERS:
        counts = [len(_names(line, delimiter)) if line.strip() else 0 for line in lines]
        most = max(counts, default=0)
        begins = counts.index(most) if counts else 0
        is_table = most > max(columns, 1) and all(count == most for count in counts[begins:])
        if is_table and 0 < begins <= _TITLE_LINES and len(counts) - begins > begins:
            names = ", ".join(_names(lines[begins], delimiter)[:_TITLE_NAMES])
            raise DataError(
                f"{path} begins with {begins} line{'s' if begins > 1 else ''} of title: the header "
                f"seems to be line {begins + 1} ({names}). Say so with header_line={begins + 1}."
            )


def _first_line(path: Path, skipped: int = 0) -> str:
    """Returns the text of the first record after some lines; a quoted name may span lines."""
    with opened(path) as file:
        _skip(file, skipped)
        head = file.read(_BLOCK)
    if b"\0" in head:
        raise DataError(f"{path} is not a text file, although its name says CSV.")
    record = b""
    for line in head.removeprefix(codecs.BOM_UTF8).splitlines(keepends=True):
        record += line
        if record.count(b'"') % 2 == 0:
            break
    try:
        return record.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        byte = record[error.start]
        raise DataError(
            f"{path} is not UTF-8 text: byte 0x{byte:02x} in its first line. Say what it is, such "
            'as encoding="latin-1", or save it as UTF-8.'
        ) from None


def _delimiter(line: str) -> str:
    """Returns the delimiter that yields the most names in a header line; a comma if none does."""
    return max(DELIMITERS, key=lambda character: len(_names(line, character)))


def _names(line: str, delimiter: str) -> list[str]:
    # With a wrong delimiter, a quoted name may end in the middle of its lines.
    return next(csv.reader(io.StringIO(line, newline=""), delimiter=delimiter))


def _skip(file: BinaryIO, lines: int) -> None:
    for _ in range(lines):
        file.readline()


def _count_lines(path: Path, blank: bool, skipped: int) -> int:
    """Counts lines after some of them; blank ones only if `blank`."""
    lines, ended = 0, True
    with opened(path) as file:
        _skip(file, skipped)
        while block := file.read(_BLOCK):
            if b"\r" in block:
                block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            while not blank and b"\n\n" in block:
                block = block.replace(b"\n\n", b"\n")
            if not blank and ended:
                block = block.removeprefix(b"\n")
            lines += block.count(b"\n")
            ended = block.endswith(b"\n") if block else ended
    return lines if ended else lines + 1


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Opens a file, uncompressed; raises DataError if it is damaged."""
    try:
        if path.name.lower().endswith(".gz"):
            with gzip.open(path) as packed:
                yield cast(BinaryIO, packed)
        elif path.name.lower().endswith(".zst"):
            with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as packed:
                yield cast(BinaryIO, io.BufferedReader(packed, _BLOCK))
        else:
            with path.open("rb") as file:
                yield file
    except (OSError, EOFError, zlib.error, csv.Error, pa.ArrowException) as error:
        raise DataError(f"{path} is damaged: {error}.") from error
