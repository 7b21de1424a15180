"""SQL over columns of text: the kinds of their values, and their values in another type."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from millrace.components.example_gen import csv_kinds
from millrace.components.example_gen.csv_kinds import TEXT
from millrace.components.example_gen.engine import literal

# Casts double the cost, so only types that a pattern cannot prove are cast.
_SURE_INTEGER = r"-?([1-9]\d{0,17}|0)"
_CASTS = dict.fromkeys(csv_kinds.WHOLE, csv_kinds.INTEGER) | {
    kind: kind for kind in ("DATE", "TIMESTAMP", "TIMESTAMPTZ")
}


def all_surely(kind: str, column: str) -> str:
    """Returns SQL that is true for a column of which every value is surely of a kind."""
    if kind == TEXT:
        # Numbers, dates and most marks come before a colon. The codes among them, and texts
        # with few strays, are looked at one by one.
        return f"count(*) FILTER ({column} < ':') * 20 < count({column})"
    matches = f"regexp_full_match({column}, {literal(csv_kinds.sure_pattern(kind))})"
    if kind in _CASTS:
        fits = f"({matches} AND TRY_CAST({column} AS {_CASTS[kind]}) IS NOT NULL)"
        sure = f"WHEN regexp_full_match({column}, {literal(_SURE_INTEGER)}) THEN true"
        first = sure if kind == csv_kinds.INTEGER else ""
        matches = f"CASE {first} WHEN {column} IS NOT NULL THEN {fits} END"
    return f"bool_and({matches})"


def kind_of(column: str, patterns: Mapping[str, str], marks: Sequence[str]) -> str:
    """Returns SQL for the kind of a value.

    Args:
        column: The column, as SQL.
        patterns: The pattern of each kind; a value is of the first that it matches.
        marks: The marks of missing values.
    """
    cases = [
        f"WHEN {column} IS NULL THEN NULL",
        f"WHEN {is_mark(column, marks)} THEN {literal(csv_kinds.MISSING)}",
    ]
    for kind, pattern in patterns.items():
        test = f"regexp_full_match({column}, {literal(pattern)})"
        if kind in _CASTS:
            test += f" AND TRY_CAST({column} AS {_CASTS[kind]}) IS NOT NULL"
        cases.append(f"WHEN {test} THEN {literal(kind)}")
    return f"CASE {' '.join(cases)} ELSE {literal(TEXT)} END"


def is_mixed(column: str) -> str:
    """Returns SQL that is true if decimals differ in length, and some end in a zero after others.

    Programs print numbers as 1.0, 1.5 and 1.25, or as 1.00, 1.50 and 1.25. Versions have 1.1 and
    1.10.
    """
    places = f"CASE WHEN contains({column}, '.') THEN length({column}) - strpos({column}, '.') END"
    zero = f"ends_with({column}, '0') AND contains({column}, '.') AND NOT ends_with({column}, '.0')"
    return f"coalesce(bool_or({zero}) AND min({places}) <> max({places}), false)"


def parsed(column: str, formats: Sequence[str]) -> str:
    """Returns SQL for the time that a text is in one of some formats; NULL if it is in none."""
    return f"try_strptime(trim({column}), [{texts(formats)}])"


def cast(column: str, kind: str, formats: Sequence[str] = ()) -> str:
    """Returns SQL that converts a column of text to a kind; NULL where it is not of it.

    Args:
        column: The column, as SQL.
        kind: The kind of the column.
        formats: How dates are written, for the kinds of dates in given formats.
    """
    if kind in csv_kinds.FORMATTED.values():
        return f"CAST({parsed(column, formats)} AS {csv_kinds.type_of(kind)})"
    value = column
    if kind in (csv_kinds.COMMA, csv_kinds.THOUSANDS):
        value = f"replace(replace({column}, '.', ''), ',', '.')"
    elif kind == csv_kinds.COMMA_THOUSANDS:
        value = f"replace({column}, ',', '')"
    whole = kind in (csv_kinds.INTEGER, csv_kinds.THOUSANDS, csv_kinds.COMMA_THOUSANDS)
    target = "BIGINT" if whole else "DOUBLE" if kind == csv_kinds.COMMA else kind
    converted = f"TRY_CAST({value} AS {target})"
    if whole:  # DuckDB rounds 1.5
        pattern = literal(r" *[+-]?\d+ *")
        return f"CASE WHEN regexp_full_match({value}, {pattern}) THEN {converted} END"
    return converted


def is_mark(column: str, marks: Sequence[str]) -> str:
    """Returns SQL that is true for blanks and for marks of missing values."""
    # A long IN becomes a join, which loses the order of the rows.
    pattern = "|".join(re.escape(mark) for mark in marks)
    return f"regexp_full_match({column}, {literal(f' *({pattern})? *')})"


def texts(values: Sequence[str]) -> str:
    """Returns texts as SQL, separated by commas."""
    return ", ".join(literal(text) for text in values)
