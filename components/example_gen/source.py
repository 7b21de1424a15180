"""Finds the files that `data_uri` names, and checks each before any rows are read.

A folder stands for the data files directly in it, a glob for every file it matches; files whose
name begins with "." or "_" (such as Spark's `_SUCCESS`) are skipped. Files are read in the
order of their paths. Subfolders named like Hive partitions, such as `year=2020/month=1`, are read
too, and become columns.
"""

from __future__ import annotations

import codecs
import dataclasses
import enum
import glob
import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from millrace.components.example_gen import csv_file, parquet_file, prepared, spans
from millrace.errors import DataError, ParameterError, nearest
from millrace.storage import paths
from millrace.storage.external_files import as_glob

_GLOB_CHARACTERS = "*?["
_HEAD_BYTES = 4096
_PARTITION = re.compile(r"[^=]+=[^=]*")


class Format(str, enum.Enum):
    """The formats that can be read."""

    CSV = "CSV"
    PARQUET = "Parquet"
    JSON = "JSON"


_SUFFIXES = {
    ".csv": Format.CSV,
    ".csv.gz": Format.CSV,
    ".tsv": Format.CSV,
    ".tsv.gz": Format.CSV,
    ".csv.zst": Format.CSV,
    ".tsv.zst": Format.CSV,
    ".zip": Format.CSV,
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
    ".json": Format.JSON,
    ".json.gz": Format.JSON,
    ".jsonl": Format.JSON,
    ".jsonl.gz": Format.JSON,
    ".ndjson": Format.JSON,
    ".ndjson.gz": Format.JSON,
}
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # of Excel since 2007, and before


@dataclasses.dataclass(frozen=True)
class Dialect:
    """What is known of CSV files.

    Attributes:
        header_line: The line that names the columns; 0 if there is none.
        delimiter: What stands between two values; empty to find out.
        encoding: The encoding, as Python names it; empty to go by the file.
    """

    header_line: int = 1
    delimiter: str = ""
    encoding: str = ""


DIALECT = Dialect()


@dataclasses.dataclass(frozen=True)
class Source:
    """Files of one format with the same columns.

    Attributes:
        files: In the order in which they are read.
        names: What each is called; not its path if it is a converted copy.
        format: Their format.
        columns: The columns of CSV and Parquet files, in order.
        header: What CSV files begin with.
        same_types: Whether every Parquet file gives each column the same type.
        partitions: The columns from partition folders.
        outer: Columns from partition folders above `data_uri`, which are left out.
        notes: Messages about how the files are read.
        spans: The spans of data that they are.
    """

    files: tuple[Path, ...]
    names: tuple[str, ...]
    format: Format
    columns: tuple[str, ...]
    header: csv_file.Header = csv_file.NO_HEADER
    same_types: bool = True
    partitions: tuple[str, ...] = ()
    outer: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    spans: tuple[spans.Span, ...] = ()


def find(
    data_uri: str, scratch: Path, dialect: Dialect = DIALECT, wanted: str = spans.LATEST
) -> Source:
    """Returns the files that a path, folder or glob names.

    Args:
        data_uri: The path, folder or glob.
        scratch: A folder for files that must be converted.
        dialect: What is known of CSV files.
        wanted: The spans to read, if the path names spans.

    Raises:
        ParameterError: `data_uri` is empty, or of a format that cannot be read.
        DataError: There are no files, or they cannot be read together.
    """
    chosen = _spans(data_uri, wanted)
    if chosen:
        files = tuple(file for span in chosen for path in span.paths for file in _of_span(path))
    else:
        files = _files(data_uri)
    for path in files:
        _check_readable(path)
    inside, outer = _partitions(data_uri, files)
    kind = _format(data_uri, files)
    names, notes = tuple(map(str, files)), []
    if kind is Format.CSV:
        ready = prepared.files(files, dialect.encoding, scratch)
        files, names = tuple(one.path for one in ready), tuple(one.name for one in ready)
        if (kind := _content(files, names)) is not Format.CSV:
            notes = [f"Read {names[0]} as {kind.value}, which it holds although its name says CSV."]
    with prepared.named(zip(files, names, strict=True)):
        if kind is Format.JSON:
            found = Source(files, names, kind, ())
        elif kind is Format.PARQUET:
            columns, same_types = parquet_file.columns(files)
            found = Source(files, names, kind, columns, same_types=same_types)
        else:
            header = csv_file.header(files, dialect.header_line, dialect.delimiter)
            found = Source(files, names, kind, header.columns, header)
    return dataclasses.replace(
        found, partitions=inside, outer=outer, notes=tuple(notes), spans=tuple(chosen)
    )


def _spans(data_uri: str, wanted: str) -> list[spans.Span]:
    """Returns the spans to read; none if the path names no spans."""
    pattern = _path(data_uri)
    if spans.has_fields(pattern) and not paths.exists(pattern):
        return spans.choose(pattern, wanted)
    if wanted not in ("", spans.LATEST):
        raise ParameterError(
            f'"spans" is {wanted!r}, but "data_uri" names no spans: it needs {{SPAN}} or '
            f"{{YYYY}}-{{MM}}-{{DD}} in its path, and is {data_uri}"
        )
    return []


def _of_span(path: Path) -> tuple[Path, ...]:
    return _of_folder(path) if paths.is_folder(path) else (path,)


def _content(files: Sequence[Path], names: Sequence[str]) -> Format:
    """Returns the format of files by how they begin.

    Raises:
        DataError: They are Excel workbooks, or begin differently.
    """
    formats: dict[Format, str] = {}
    for path, name in zip(files, names, strict=True):
        with csv_file.opened(path) as file:
            head = file.read(_HEAD_BYTES)
        if head.startswith(_WORKBOOKS):
            raise DataError(
                f"{name} is an Excel workbook or a zip archive: save its sheet as CSV (UTF-8)."
            )
        text = head.removeprefix(codecs.BOM_UTF8).lstrip()
        is_json = re.match(rb"\[\s*\{|\{\s*(\"|\})", text) is not None
        is_parquet = head.startswith(b"PAR1")
        kind = Format.PARQUET if is_parquet else Format.JSON if is_json else Format.CSV
        formats.setdefault(kind, name)
    if len(formats) > 1:
        shown = " and ".join(f"{name} holds {kind.value}" for kind, name in formats.items())
        raise DataError(f"{shown}: files that are read together need one format.")
    return next(iter(formats))


def _partitions(data_uri: str, files: Sequence[Path]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the columns from partition folders below `data_uri`, and from those above."""
    fixed = itertools.takewhile(
        lambda part: not glob.has_magic(part), as_glob(_path(data_uri)).parts
    )
    depth = len(Path(*fixed).parts)
    keys = [_keys(path.parts[depth:-1]) for path in files]
    for path, found in zip(files, keys, strict=True):
        if found != keys[0]:
            raise DataError(
                f"{path} lies in partitions {_shown(found)}, and {files[0]} in {_shown(keys[0])}: "
                "files that are read together need the same."
            )
    above = _keys(files[0].parts[:depth]) if keys[0] else ()
    return keys[0], tuple(key for key in above if key not in keys[0])


def _keys(folders: Iterable[str]) -> tuple[str, ...]:
    return tuple(folder.split("=")[0] for folder in folders if _PARTITION.fullmatch(folder))


def _shown(keys: Sequence[str]) -> str:
    return ", ".join(keys) or "none"


def _files(data_uri: str) -> tuple[Path, ...]:
    if not data_uri.removeprefix("file://").strip():
        raise ParameterError(
            '"data_uri" is empty: give a CSV, Parquet or JSON file, a folder or a glob.'
        )
    if "://" in paths.local(data_uri):
        raise ParameterError(f'Cannot read "{data_uri}": copy the data to a path on this machine.')
    path = _path(data_uri)
    if paths.is_folder(path):
        return _of_folder(path)
    if paths.exists(path):
        return (path,)
    if any(character in str(path) for character in _GLOB_CHARACTERS):
        found = _data_files(Path(name) for name in glob.glob(str(path), recursive=True))  # noqa: PTH207
        if not found:
            raise DataError(f'No file matches "{data_uri}"; the current folder is {Path.cwd()}.')
        return found
    raise DataError(f'There is no file or folder "{data_uri}".{_nearest_file(path)}')


def _path(data_uri: str) -> Path:
    return paths.expanded(paths.local(data_uri))


def _of_folder(folder: Path) -> tuple[Path, ...]:
    try:
        partitions = [path for path in folder.iterdir() if _PARTITION.fullmatch(path.name)]
        deeper = itertools.chain(*(path.rglob("*") for path in partitions))
        found = _data_files(itertools.chain(folder.iterdir(), deeper))
    except PermissionError:
        raise DataError(f"Cannot read the folder {folder}: permission denied.") from None
    files = tuple(path for path in found if _suffix(path) is not None)
    if not files:
        others = ", ".join(path.name for path in (found or sorted(folder.iterdir()))[:5])
        raise DataError(
            f"The folder {folder} holds no {' or '.join(_SUFFIXES)} file"
            + (f", but {others}." if others else "; it is empty.")
        )
    return files


def _data_files(found: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(sorted(path for path in found if path.is_file() and path.name[0] not in "._"))


def _nearest_file(path: Path) -> str:
    if not paths.is_folder(path.parent):
        return f" There is no folder {path.parent} either."
    try:
        return nearest(path.name, [other.name for other in path.parent.iterdir()])
    except PermissionError:
        return ""


def _suffix(path: Path) -> Format | None:
    name = path.name.lower()
    return next((kind for suffix, kind in _SUFFIXES.items() if name.endswith(suffix)), None)


def _format(data_uri: str, files: tuple[Path, ...]) -> Format:
    """Returns the format, from the names of the files."""
    by_format: dict[Format | None, Path] = {}
    for path in files:
        by_format.setdefault(_suffix(path), path)
    if None in by_format:
        raise DataError(
            f"Cannot tell the format of {by_format[None]}: "
            f"a name must end in {', '.join(_SUFFIXES)}."
        )
    if len(by_format) > 1:
        first, second = sorted(path.name for path in by_format.values() if path is not None)
        raise DataError(
            f'"{data_uri}" mixes formats, such as {first} and {second}: name files of one format, '
            'with a glob such as "data/*.csv".'
        )
    (kind,) = by_format
    assert kind is not None
    return kind


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise DataError(f"Cannot read {path}: {(error.strerror or str(error)).lower()}.") from None
    if empty:
        raise DataError(f"{path} is empty.")
