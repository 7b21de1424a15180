"""Splits rows by time: train comes before eval, and eval before test, with gaps between them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import duckdb

from millrace.components.example_gen import query
from millrace.components.example_gen.engine import identifier, literal
from millrace.errors import DataError, ParameterError, nearest

_MOMENTS = ("DATE", "TIMESTAMP", "TIME")
_GAP = re.compile(r"\d+ (second|minute|hour|day|week|month|year)s?")


@dataclasses.dataclass(frozen=True)
class TimeSplit:
    """How rows are split by time.

    Attributes:
        column: The column with the time of a row.
        tests: For each split, SQL that is true for the rows in it, over `column`.
        begins: The time of the first row of each split, in the order of time.
        left_out: The number of rows in the gaps.
    """

    column: str
    tests: dict[str, str]
    begins: dict[str, str]
    left_out: int


def split(
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    types: Mapping[str, str],
    column: str,
    gap: str,
    parts: Mapping[str, float],
) -> TimeSplit:
    """Returns how to split rows so that none is later than a row of the next split.

    Rows of the same time stay together. After the end of each split, rows are left out for as long
    as the gap: what they were measured from may reach into the split before.

    Args:
        connection: DuckDB, with the table of the source.
        sql: The user's query.
        types: The DuckDB types of its columns.
        column: The column with the time: a date, a timestamp, or a number.
        gap: How long the gap is, such as `7 days`, or a number for a column of numbers.
        parts: How many parts of the rows each split gets.

    Raises:
        ParameterError: There is no such column, or the gap does not fit it.
        DataError: A row has no time.
    """
    if column not in types:
        raise ParameterError(
            f'"time_column" names "{column}", which is not a column.{nearest(column, types)}'
        )
    step = _step(gap, column, types[column])
    order = sorted(parts, key=lambda name: ({"train": 0, "test": 2}.get(name, 1), name))
    whole, before, shares = sum(parts.values()), 0.0, []
    for name in order[:-1]:
        before += parts[name]
        shares.append(before / whole)
    value = identifier(column)
    quantiles = ", ".join(f"CAST(quantile_disc({value}, {share!r}) AS VARCHAR)" for share in shares)
    without, *found = _row(
        connection, f"SELECT count(*) - count({value}), {quantiles or 'NULL'} FROM ({sql}\n)"
    )
    if without:
        raise DataError(
            f'{without:,} of the rows have no "{column}" to split them by: leave them out with '
            f"query: SELECT * FROM data WHERE {value} IS NOT NULL"
        )
    bounds = [f"CAST({literal(bound)} AS {types[column]})" for bound in found[: len(shares)]]
    tests = {}
    for number, name in enumerate(order):
        after = [f"{value} > {bounds[number - 1]}{step}"] if number else []
        until = [f"{value} <= {bounds[number]}"] if number < len(bounds) else []
        tests[name] = " AND ".join([*after, *until]) or "true"
    left = f"count(*) FILTER (NOT ({' OR '.join(f'({test})' for test in tests.values())}))"
    begins = ", ".join(f"CAST(min({value}) FILTER ({tests[name]}) AS VARCHAR)" for name in order)
    left_out, *found = _row(connection, f"SELECT {left}, {begins} FROM ({sql}\n)")
    return TimeSplit(column, tests, dict(zip(order, found, strict=True)), left_out)


def _step(gap: str, column: str, kind: str) -> str:
    """Returns SQL that adds the gap to a time."""
    if not gap:
        return ""
    if kind.startswith(_MOMENTS):
        if _GAP.fullmatch(gap.strip()):
            return f" + INTERVAL {literal(gap.strip())}"
        raise ParameterError(f'"time_gap" is {gap!r}: give a duration such as "7 days".')
    try:
        number = float(gap)
    except ValueError:
        number = -1.0
    if kind == "VARCHAR" or not 0 <= number < float("inf"):
        raise ParameterError(
            f'"time_gap" is {gap!r}, and "{column}" is of type {kind}: '
            + (
                "only dates, times and numbers can have a gap; see date_formats."
                if kind == "VARCHAR"
                else "give a number."
            )
        )
    return f" + {number!r}"


def _row(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    try:
        ((*found,),) = connection.execute(sql).fetchall()
    except duckdb.Error as error:
        raise query.failure(error) from error
    return tuple(found)
