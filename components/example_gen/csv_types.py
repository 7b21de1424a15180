"""Finds the type of every column of CSV files from all of their values.

DuckDB's own sniffer looks at the first rows only, and its reader takes a later 1.5 in a column of
integers for 2. Here a type is a pattern that every value matches, so that nothing is rounded, and
neither the order of the rows nor the number of files makes a difference:

    BIGINT       digits, with or without a sign, that fit 64 bits
    DOUBLE       these, decimal numbers with or without an exponent, inf, infinity, nan
    BOOLEAN      true, false
    DATE         2013-01-31
    TIMESTAMP    2013-01-31 10:00, 2013-01-31T10:00:00.5
    TIMESTAMPTZ  2013-01-31 10:00:00Z, and with an offset such as +01:00
    VARCHAR      everything else, and a column without any value
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import duckdb

from millrace.components.example_gen.engine import identifier, literal

TEXT = "VARCHAR"
_DAY = r"\d{4}-\d{2}-\d{2}"
_MINUTES = r"[ T]\d{2}:\d{2}"
_SECONDS = r":\d{2}(\.\d{1,6})?"
_PATTERNS = {
    "BIGINT": r" *[+-]?\d+ *",
    # Whole numbers of more digits are told apart by the cast to BIGINT: they stay exact, as text.
    "DOUBLE": (
        r" *[+-]?(\d{1,18}|(\d+\.\d*|\.\d+)([eE][+-]?\d+)?|\d+[eE][+-]?\d+"
        r"|(?i:inf|infinity|nan)) *"
    ),
    "BOOLEAN": r"(?i:true|false)",
    "DATE": _DAY,
    "TIMESTAMP": _DAY + _MINUTES + f"({_SECONDS})?",
    # DuckDB before 2.0 reads no zone after minutes.
    "TIMESTAMPTZ": _DAY + _MINUTES + _SECONDS + r"(Z|[+-]\d{2}(:?\d{2})?)",
}
# The casts are needed, and cost as much again, only for what may not be a number or a day.
_SURE_INTEGER = r"[+-]?\d{1,18}"
_CASTS = {"BIGINT", "DATE", "TIMESTAMP", "TIMESTAMPTZ"}
_COMPILED = {kind: re.compile(pattern, re.ASCII) for kind, pattern in _PATTERNS.items()}
_BITS = {kind: 1 << number for number, kind in enumerate((*_PATTERNS, TEXT))}
_SAMPLE_CELLS, _SAMPLE_ROWS = 50_000, 2_000


def infer(
    connection: duckdb.DuckDBPyConnection, sample: str, scan: str, columns: Sequence[str]
) -> tuple[dict[str, str], int]:
    """Returns the DuckDB type of every column, and the number of rows that can be read.

    Args:
        connection: DuckDB.
        sample: SQL that reads the columns as text, for columns that need another look.
        scan: SQL that reads the columns as text, and is read once to the end.
        columns: The names of the columns.
    """
    limit = min(_SAMPLE_ROWS, 1 + _SAMPLE_CELLS // len(columns))
    first_rows = connection.execute(f"FROM {sample} LIMIT {limit}").fetchall()
    guesses = {
        name: _guess({row[number] for row in first_rows}) for number, name in enumerate(columns)
    }
    tests = ", ".join(
        f"count({identifier(name)}), coalesce(bool_and({_test(kind, identifier(name))}), true)"
        for name, kind in guesses.items()
    )
    # DuckDB writes its table of rejected lines when the last row of a result is fetched.
    ((*found, rows),) = connection.execute(f"SELECT {tests}, count(*) FROM {scan}").fetchall()
    types = dict(guesses)
    for name, filled in zip(columns, found[0::2], strict=True):
        if not filled:
            types[name] = TEXT
    doubtful = [name for name, fits in zip(columns, found[1::2], strict=True) if not fits]
    if doubtful:
        kinds = ", ".join(f"bit_or({_kinds(identifier(name))})" for name in doubtful)
        ((*bits,),) = connection.execute(f"SELECT {kinds} FROM {sample}").fetchall()
        types |= {name: _common(each) for name, each in zip(doubtful, bits, strict=True)}
    return types, rows


def _guess(values: set[str | None]) -> str:
    """Returns the type of a few values, without looking whether they can be cast."""
    bits = 0
    for value in values - {None}:
        bits |= next(
            (_BITS[kind] for kind, pattern in _COMPILED.items() if pattern.fullmatch(value)),
            _BITS[TEXT],
        )
    return _common(bits) if bits else next(iter(_PATTERNS))


def _test(kind: str, column: str) -> str:
    """Returns SQL that is false for a value that is not of a type."""
    if kind == TEXT:
        return "true"
    matches = f"regexp_full_match({column}, {literal(_PATTERNS[kind])})"
    if kind not in _CASTS:
        return matches
    fits = f"({matches} AND TRY_CAST({column} AS {kind}) IS NOT NULL)"
    sure = f"WHEN regexp_full_match({column}, {literal(_SURE_INTEGER)}) THEN true"
    first = sure if kind == "BIGINT" else ""
    return f"CASE {first} WHEN {column} IS NOT NULL THEN {fits} END"


def _kinds(column: str) -> str:
    """Returns SQL for the type of a value, as a bit."""
    cases = [f"WHEN {column} IS NULL THEN 0"]
    cases += [f"WHEN {_test(kind, column)} THEN {_BITS[kind]}" for kind in _PATTERNS]
    return f"CASE {' '.join(cases)} ELSE {_BITS[TEXT]} END"


def _common(bits: int) -> str:
    """Returns the type that holds values of all the types that are given as bits."""
    if bits == _BITS["BIGINT"] | _BITS["DOUBLE"]:
        return "DOUBLE"
    return next((kind for kind, bit in _BITS.items() if bits == bit), TEXT)
