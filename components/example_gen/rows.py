"""Streams the rows of the user's query in the types of examples, with the split of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import duckdb
import pyarrow as pa

from millrace.components.example_gen import canonical, engine, query
from millrace.components.example_gen.time_split import TimeSplit
from millrace.data import examples as data
from millrace.errors import ParameterError, nearest


def stream(
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    types: Mapping[str, str],
    key_columns: Sequence[str],
    shares: Sequence[float],
    by_time: TimeSplit | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yields the rows, with one more column per split: whether a row is in it.

    Args:
        connection: DuckDB, with the table of the source.
        sql: The user's query.
        types: The DuckDB types of its columns.
        key_columns: The columns that decide the split; all of them if empty.
        shares: How many parts of the rows each split gets, in the order of their names.
        by_time: How the rows are split by time instead.

    Raises:
        ParameterError: A key column is not among the columns.
        DataError: A column is of a type that examples cannot hold, or DuckDB fails.
    """
    held = {name: canonical.held(name, kind) for name, kind in types.items()}
    for name in key_columns:
        if name not in held:
            raise ParameterError(
                f'"key_columns" names "{name}", which is not a column.{nearest(name, held)}'
            )
    values = ", ".join(
        f"{canonical.value(name, kind)} AS {engine.identifier(name)}"
        for name, kind in types.items()
    )
    names = ", ".join(engine.identifier(name) for name in held)
    row_key = canonical.key(list(held), held)
    key = canonical.key(key_columns, held) if key_columns else row_key
    key_name = _new_name(held)
    inner = f"SELECT *, {key} AS {key_name} FROM (SELECT {values} FROM ({sql}\n))"
    splits = canonical.membership(key_name, shares)
    if by_time:
        flags = [f"{key_name}{number}" for number, _ in enumerate(by_time.tests)]
        tests = [by_time.tests[name] for name in sorted(by_time.tests)]
        marked = ", ".join(f"{test} AS {flag}" for test, flag in zip(tests, flags, strict=True))
        inner, splits = f"SELECT {values}, {marked} FROM ({sql}\n)", flags
    # Joins and GROUP BY return rows in a different order on every run.
    order = "" if query.keeps_order(connection, sql) else f" ORDER BY {row_key}"
    selected = f"SELECT {names}, {', '.join(splits)} FROM ({inner}){order}"
    try:
        yield from engine.stream(connection, selected, data.BATCH_ROWS)
    except duckdb.Error as error:
        raise query.failure(error) from error


def _new_name(names: Iterable[str]) -> str:
    """Returns a name that no column has; SQL ignores case."""
    taken = {name.lower() for name in names}
    name = "key"
    while any(other.startswith(name) for other in taken):
        name += "_"
    return name
