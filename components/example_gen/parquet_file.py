"""Reads the footers of Parquet files: their columns and numbers of rows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from millrace.errors import DataError

_MAGIC = b"PAR1"


def columns(files: Sequence[Path]) -> tuple[tuple[str, ...], bool]:
    """Returns the columns that all files share, and whether each has the same type in all of them.

    Raises:
        DataError: A file is damaged, or its columns are not those of the first.
    """
    first = _schema(files[0])
    check_names(files[0], first.names)
    same_types = True
    for path in files[1:]:
        other = _schema(path)
        check_same(files[0], first.names, path, other.names)
        same_types = same_types and [other.field(name).type for name in first.names] == first.types
    return tuple(first.names), same_types


def check_names(path: Path, names: Sequence[str]) -> None:
    """Raises DataError if two names differ in case only: SQL ignores case."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if name == other and names.count(name) > 1:
            raise DataError(f'{path} has more than one column "{name}": rename one of them.')
        if name != other:
            raise DataError(
                f'{path} has columns "{other}" and "{name}", which differ in case only: '
                "rename one of them."
            )


def check_same(first: Path, expected: Sequence[str], path: Path, found: Sequence[str]) -> None:
    """Raises DataError if a file's columns are not those of the first file."""
    missing = [name for name in expected if name not in found]
    more = [name for name in found if name not in expected]
    if not missing and not more:
        return
    differences = [f'lacks "{name}"' for name in missing[:3]] + [
        f'adds "{name}"' for name in more[:3]
    ]
    raise DataError(
        f"{path} does not have the columns of {first}: it {', '.join(differences)}. "
        "Files that are read together need the same columns."
    )


def rows(files: Sequence[Path]) -> int:
    """Returns the number of rows, from the footers."""
    return sum(pq.read_metadata(path).num_rows for path in files)


def _schema(path: Path) -> pa.Schema:
    with path.open("rb") as file:
        starts_well = file.read(len(_MAGIC)) == _MAGIC
        if starts_well:
            file.seek(-len(_MAGIC), os.SEEK_END)
        ends_well = file.read(len(_MAGIC)) == _MAGIC
    if not starts_well:
        raise DataError(f"{path} is not a Parquet file, although its name says so.")
    if not ends_well:
        raise DataError(f"{path} is cut short: it has no Parquet footer. Copy or write it again.")
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} has a damaged Parquet footer: {reason}.") from error
