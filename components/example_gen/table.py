"""Makes the table `data` of a source's files, and accounts for every row of them."""

from __future__ import annotations

import dataclasses

import duckdb

from millrace.components.example_gen import (
    csv_file,
    csv_types,
    engine,
    parquet_file,
    query,
    rejected,
)
from millrace.components.example_gen.source import Format, Source
from millrace.errors import DataError


@dataclasses.dataclass(frozen=True)
class Table:
    """The rows of a source.

    Attributes:
        rows: How many can be read.
        rejected: The lines that cannot.
    """

    rows: int
    rejected: list[rejected.RejectedLine]


def create(connection: duckdb.DuckDBPyConnection, found: Source, max_rejected: int) -> Table:
    """Creates the view `data`.

    Raises:
        DataError: There are no rows, or too many of them cannot be read.
    """
    try:
        table = (
            _parquet(connection, found)
            if found.format is Format.PARQUET
            else _csv(connection, found, max_rejected)
        )
    except duckdb.Error as error:
        raise DataError(_why(found, error)) from error
    if not table.rows:
        raise DataError(f"{found.files[0]} has columns, but no rows.")
    return table


def _parquet(connection: duckdb.DuckDBPyConnection, found: Source) -> Table:
    connection.execute(f"CREATE VIEW {query.TABLE} AS FROM {engine.scan(found)}")
    return Table(parquet_file.rows(found.files), [])


def _csv(connection: duckdb.DuckDBPyConnection, found: Source, max_rejected: int) -> Table:
    columns = csv_types.infer(
        connection,
        engine.scan(found, rejects=rejected.SKIP),
        engine.scan(found, rejects=rejected.options(max_rejected)),
        found.columns,
        comma=found.delimiter != ",",
    )
    rows = columns.rows
    lines = rejected.collect(connection)
    total = _rows_in(found, rows + len(lines)) - rows
    if lines:
        rejected.check(lines, total, rows, max_rejected)
    if total != len(lines):
        raise DataError(
            f"{found.files[0]}: {total + rows:,} rows are in the files, but {rows:,} were read and "
            f"{len(lines):,} rejected: look for stray quotes."
        )
    typed = engine.scan(found, columns.types, rejects=rejected.SKIP if lines else "")
    computed = ", ".join(
        f"{value} AS {engine.identifier(name)}" for name, value in columns.computed.items()
    )
    select = f"SELECT * REPLACE ({computed})" if computed else "SELECT *"
    connection.execute(f"CREATE VIEW {query.TABLE} AS {select} FROM {typed}")
    return Table(rows, lines)


def _rows_in(found: Source, expected: int) -> int:
    """Counts the rows of CSV files without DuckDB; one by one only if the lines do not add up."""
    if csv_file.count_lines(found.files, len(found.columns)) == expected:
        return expected
    return csv_file.count_records(found.files, found.delimiter, len(found.columns))


def _why(found: Source, error: duckdb.Error) -> str:
    if found.format is Format.CSV:
        for path in found.files:
            if csv_file.mixes_line_ends(path):
                return (
                    f"{path} mixes lines that end in CR LF with lines that end in LF: convert it, "
                    "for example with dos2unix."
                )
    return f"Cannot read {found.files[0]}: {engine.message(error)}"
