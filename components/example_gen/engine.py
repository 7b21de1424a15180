"""Sets up DuckDB to read the given files and nothing else.

A user's query runs in an engine that can open no other file, write none, load no extension and see
no Python variable; nor can the query change any of that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from millrace.components.example_gen.source import Format, Source

# DuckDB 2.0 reads a typed CSV column as text if a query only needs its text, so that 007 in a
# BIGINT column casts to "007" in one query and to "7" in another.
_HARMFUL_OPTIMIZERS = {"type_pushdown"}
# The bounds of a column in a Parquet file exclude NaN. By default DuckDB takes them for the bounds
# of all values, so that isnan(x) is false, and `WHERE x > 100` drops whole groups with NaN.
_TAKES_NAN = tuple(map(int, duckdb.__version__.split(".")[:2])) >= (1, 4)
_WITH_NAN = ", can_have_nan = true" if _TAKES_NAN else ""
# It skips the columns that a query does not need, and so misses the bad text in them.
_BLIND_OPTIMIZER = "unused_columns"
NULL_TEXTS = ("", "NA")
# An eighth of DuckDB's own choice: as fast, and memory no longer grows with a larger file.
_BUFFER_BYTES = 4 << 20
# A quarter of DuckDB's default read-ahead: memory stays flat on a busy machine too.
_BUFFERED_BYTES = 256 << 10
_NO_OBJECTS = (
    "json_read expected records, but got non-record JSON instead",
    "it holds other values than objects",
)


def connect(source: Source, scratch: Path) -> duckdb.DuckDBPyConnection:
    """Returns a connection that may read the files of a source and no other.

    Args:
        source: The files.
        scratch: A folder for data that does not fit into memory, such as that of a large sort.
    """
    connection = duckdb.connect(config={"python_enable_replacements": "false"})
    _disable(connection, _HARMFUL_OPTIMIZERS)
    for setting in (
        "TimeZone = 'UTC'",
        "enable_progress_bar = false",
        "preserve_insertion_order = true",
        f"streaming_buffer_size = '{_BUFFERED_BYTES}B'",
        f"temp_directory = {literal(str(scratch))}",
        f"allowed_paths = {_list(str(path) for path in source.files)}",
        "enable_external_access = false",
    ):
        connection.execute(f"SET {setting}")
    return connection


def read_whole_lines(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes every query skip the same bad lines, whichever columns it needs."""
    _disable(connection, _HARMFUL_OPTIMIZERS | {_BLIND_OPTIMIZER})


def keep_order(connection: duckdb.DuckDBPyConnection) -> None:
    """Keeps the rows in the order of the source for every operator, in a single thread."""
    connection.execute("SET threads = 1")


def lock(connection: duckdb.DuckDBPyConnection) -> None:
    """Keeps every later statement from changing a setting."""
    connection.execute("SET lock_configuration = true")


def scan(
    source: Source,
    types: Mapping[str, str] | None = None,
    rejects: str = "",
    missing: Sequence[str] = NULL_TEXTS,
) -> str:
    """Returns the SQL that reads a source.

    Args:
        source: The files to read.
        types: The DuckDB type of each column of CSV files; text if not given.
        rejects: Options of `read_csv` for lines that cannot be read.
        missing: What stands for a missing value in every column of CSV files.
    """
    files = _list(str(path) for path in source.files)
    hive = f"hive_partitioning = {bool(source.partitions)}"
    if source.format is Format.JSON:
        # Every row decides about the types, and no object becomes a map.
        return (
            f"read_json({files}, records = true, sample_size = -1, maximum_depth = -1, "
            f"map_inference_threshold = -1, field_appearance_threshold = 0, "
            f"union_by_name = true, {hive})"
        )
    if source.format is Format.PARQUET:
        union = f"union_by_name = {not source.same_types}"
        return f"read_parquet({files}, {union}, {hive}{_WITH_NAN})"
    columns = ", ".join(
        f"{literal(name)}: {literal((types or {}).get(name, 'VARCHAR'))}" for name in source.columns
    )
    header = source.header
    return (
        f"read_csv({files}, columns = {{{columns}}}, delim = {literal(header.delimiter)}, "
        f"quote = '\"', escape = '\"', nullstr = {_list(missing)}, "
        f"header = {header.line > 0}, skip = {header.skipped}, auto_detect = false, "
        f"{hive}, buffer_size = {_BUFFER_BYTES}{rejects})"
    )


def stream(
    connection: duckdb.DuckDBPyConnection, query: str, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    """Yields the result of a query as it is computed."""
    relation = connection.sql(query)
    reader = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader
    yield from reader(batch_rows)


def identifier(name: str) -> str:
    """Returns a column's name as SQL."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def literal(text: str) -> str:
    """Returns a text as SQL."""
    escaped = text.replace("'", "''")
    return f"'{escaped}'"


def message(error: Exception) -> str:
    """Returns DuckDB's message in one line, without the query and further candidates."""
    lines = re.split(r"\n\s*\n|\n\s*(?:LINE \d|Candidate|Possible)", str(error))[0]
    lines = re.split(r"\bTry setting ", lines)[0]
    text = re.sub(r"^(\w+ )*Error: ", "", " ".join(lines.split()))
    text = text.replace(*_NO_OBJECTS)
    text = text if text.endswith((".", "?", "!")) else text + "."
    near = re.search(r"Candidate bindings: (\"[^\"]*\")", str(error))
    return f"{text} Did you mean {near[1]}?" if near else text


def _disable(connection: duckdb.DuckDBPyConnection, optimizers: set[str]) -> None:
    known = {name for (name,) in connection.execute("FROM duckdb_optimizers()").fetchall()}
    names = ",".join(sorted(optimizers & known))
    connection.execute(f"SET disabled_optimizers = {literal(names)}")


def _list(texts: Iterable[str]) -> str:
    return f"[{', '.join(literal(text) for text in texts)}]"
