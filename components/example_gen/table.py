"""Creates the view `data` from a source's files, and accounts for all of their rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb

from millrace.components.example_gen import (
    csv_file,
    csv_types,
    engine,
    parquet_file,
    query,
    rejected,
)
from millrace.components.example_gen.hints import NAMES
from millrace.components.example_gen.source import Format, Source
from millrace.errors import DataError

_NAMED = 10


@dataclasses.dataclass(frozen=True)
class Table:
    """The rows of a source.

    Attributes:
        rows: The number of readable rows.
        rejected: The unreadable lines.
        missing: How many values of a column are read as missing though they are not empty.
        notes: Messages about how columns were read.
        pins: The parameters that make another run read CSV files in the same way.
    """

    rows: int
    rejected: list[rejected.RejectedLine]
    missing: dict[str, int]
    notes: list[str]
    pins: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def create(
    connection: duckdb.DuckDBPyConnection,
    found: Source,
    max_rejected: int,
    hints: csv_types.Hints,
) -> Table:
    """Creates the view `data`.

    Args:
        connection: DuckDB.
        found: The source.
        max_rejected: How many rows of CSV files may be unreadable.
        hints: What the user says about the columns of CSV files.

    Raises:
        DataError: There are no rows, or too many of them cannot be read.
    """
    try:
        if found.format is Format.CSV:
            table = _csv(connection, found, max_rejected, hints)
        else:
            table = _typed(connection, found)
    except duckdb.Error as error:
        if found.format is Format.CSV:
            _refuse_mixed_line_ends(found)
        raise DataError(f"Cannot read {found.files[0]}: {engine.message(error)}") from error
    if not table.rows:
        raise DataError(f"{found.files[0]} has columns, but no rows.")
    return dataclasses.replace(table, notes=[*found.notes, *table.notes])


def _typed(connection: duckdb.DuckDBPyConnection, found: Source) -> Table:
    """Creates the view of files that say themselves what their values are."""
    scan = engine.scan(found)
    relation = connection.sql(f"FROM {scan}")
    notes, columns = [], {}
    seen: set[str] = set()
    for name, kind in zip(relation.columns, relation.types, strict=True):
        fields = dict(_fields(engine.identifier(name), name, kind))
        if list(fields) != [name]:
            notes.append(f'Split "{name}" into its fields: {csv_types.listed(fields, _NAMED)}.')
        for field in fields:
            if field.lower() in seen:
                raise DataError(f'{found.files[0]} has more than one column "{field}".')
            seen.add(field.lower())
        columns[name] = fields
    _create(connection, found, scan, columns)
    if found.format is Format.PARQUET:
        return Table(parquet_file.rows(found.files), [], {}, notes)
    ((rows,),) = connection.execute(f"SELECT count(*) FROM {scan}").fetchall()
    return Table(rows, [], {}, notes)


def _fields(value: str, name: str, kind: Any) -> Iterator[tuple[str, str]]:
    """Yields the name and the SQL of a value, or of each of its fields if it is a struct."""
    if kind.id == "struct":
        for field, inner in kind.children:
            inside = f"struct_extract({value}, {engine.literal(field)})"
            yield from _fields(inside, f"{name}.{field}", inner)
    elif str(kind) == "JSON":  # numbers and texts, say
        yield name, f"({value} ->> '$')"
    else:
        yield name, value


def _csv(
    connection: duckdb.DuckDBPyConnection,
    found: Source,
    max_rejected: int,
    hints: csv_types.Hints,
) -> Table:
    aside = rejected.options(max_rejected)
    missing = engine.NULL_TEXTS if hints.marks is None else ("", *hints.marks)
    hints = dataclasses.replace(
        hints, comma=found.header.delimiter != ",", quoted=found.header.quoted
    )
    columns = csv_types.infer(
        connection, engine.scan(found, rejects=aside, missing=missing), found.columns, hints
    )
    rows = columns.rows
    lines = rejected.collect(connection)
    total = _rows_in(found, rows + len(lines)) - rows
    if lines:
        rejected.check_quotes(lines)
        rejected.check(lines, total, rows, max_rejected)
        if len(lines) < total:
            lines = _all_rejected(connection, found)
            rejected.check_quotes(lines)
        engine.read_whole_lines(connection)
    if total != len(lines):
        _refuse_mixed_line_ends(found)
        raise DataError(
            f"{found.files[0]}: {total + rows:,} rows are in the files, but {rows:,} were read and "
            f"{len(lines):,} rejected: look for stray quotes."
        )
    typed = engine.scan(found, columns.types, aside if lines else "", missing)
    names = [*found.columns, *found.partitions]
    values = {name: columns.computed.get(name, engine.identifier(name)) for name in names}
    _create(connection, found, typed, {name: {name: value} for name, value in values.items()})
    pins: dict[str, Any] = {
        "column_types": {name: NAMES[kind] for name, kind in columns.decided.items()},
        "decimal": columns.decimal or hints.decimal,
        "missing_values": list(hints.marks or ()),
        "date_formats": list(hints.date_formats),
    }
    given = {name: value for name, value in pins.items() if value}
    return Table(rows, lines, columns.missing, columns.notes, given)


def _all_rejected(
    connection: duckdb.DuckDBPyConnection, found: Source
) -> list[rejected.RejectedLine]:
    """Returns all rejected lines, if some have more errors than DuckDB recorded."""
    scan = engine.scan(found, rejects=rejected.options())
    connection.execute(f"SELECT count(COLUMNS(*)) FROM {scan}").fetchall()
    return rejected.collect(connection)


def _create(
    connection: duckdb.DuckDBPyConnection,
    found: Source,
    scan: str,
    columns: Mapping[str, Mapping[str, str]],
) -> None:
    """Creates the view of a scan, with no folders around the source.

    Args:
        connection: DuckDB.
        found: The source.
        scan: SQL that reads it.
        columns: For each column of the scan, the columns of the view that are made of it, with SQL
            for their values.
    """
    outer = {name for name in found.outer if name not in found.columns}
    values = [
        f"{value} AS {engine.identifier(one)}"
        for name, made in columns.items()
        if name not in outer
        for one, value in made.items()
    ]
    connection.execute(f"CREATE VIEW {query.TABLE} AS SELECT {', '.join(values)} FROM {scan}")


def _rows_in(found: Source, expected: int) -> int:
    """Counts the rows of CSV files without DuckDB; one by one only if the line count differs."""
    if csv_file.count_lines(found.files, found.header) == expected:
        return expected
    return csv_file.count_records(found.files, found.header)


def _refuse_mixed_line_ends(found: Source) -> None:
    for path in found.files:
        if csv_file.mixes_line_ends(path):
            raise DataError(
                f"{path} mixes lines that end in CR LF with lines that end in LF: convert it, "
                "for example with dos2unix."
            )
