"""Infers the types of the columns of CSV files from all of their values.

DuckDB's own sniffer samples the first rows only, and its reader rounds a later 1.5 in a column of
integers to 2. Here a type is a pattern that every value matches, so nothing is rounded, and neither
the order of the rows nor the number of files matters:

    BIGINT       digits, with or without a sign, that fit 64 bits
    DOUBLE       these, decimal numbers with or without an exponent, inf, infinity, nan
    BOOLEAN      true, false
    DATE         2013-01-31
    TIMESTAMP    2013-01-31 10:00, 2013-01-31T10:00:00.5
    TIMESTAMPTZ  2013-01-31 10:00:00Z, and with an offset such as +01:00
    VARCHAR      everything else, and a column without any value

Where the delimiter is not a comma, 1,5 and 1.234,5 are DOUBLE too, and 1.234 means 1234 in their
column. A column that is ambiguous by itself is read as the other columns suggest: 1,5 can only have
a decimal comma, and 1.5 only a decimal point; 1,234,567 implies decimal points.

    the others have   neither   commas     points    both
    1.234             1.234     1234       1.234     1.234
    1.234.567         VARCHAR   1234567    VARCHAR   VARCHAR
    1,234             VARCHAR   1.234      1234      VARCHAR
    1,234,567         1234567   VARCHAR    1234567   VARCHAR

Names such as 192.168.100.101, with the same number of points in every value, are not numbers. The
texts in `MISSING` are missing values in a column whose other values are not VARCHAR, and text in
one whose other values are.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

import duckdb

from millrace.components.example_gen.engine import identifier, literal

TEXT = "VARCHAR"
_DAY = r"\d{4}-\d{2}-\d{2}"
_MINUTES = r"[ T]\d{2}:\d{2}"
_SECONDS = r":\d{2}(\.\d{1,6})?"
_PATTERNS = {
    "BIGINT": r" *[+-]?\d+ *",
    # The cast to BIGINT decides about longer integers: those that do not fit remain exact text.
    "DOUBLE": (
        r" *[+-]?(\d{1,18}|(\d+\.\d*|\.\d+)([eE][+-]?\d+)?|\d+[eE][+-]?\d+"
        r"|(?i:inf|infinity|nan)) *"
    ),
    "BOOLEAN": r"(?i:true|false)",
    "DATE": _DAY,
    "TIMESTAMP": _DAY + _MINUTES + f"({_SECONDS})?",
    # DuckDB before 2.0 does not accept a zone after minutes.
    "TIMESTAMPTZ": _DAY + _MINUTES + _SECONDS + r"(Z|[+-]\d{2}(:?\d{2})?)",
}
MISSING = ("?", "-", "N/A", "n/a", "#N/A", "NULL", "null", "None", r"\N")
# Kinds beyond DuckDB's types. A value with one point or comma may be a decimal number.
_COMMA, _MISSING = "decimal comma", "missing"
_THOUSAND, _THOUSANDS = "1.234", "1.234.567"
_COMMA_THOUSAND, _COMMA_THOUSANDS = "1,234", "1,234,567"
_POINTLESS = "1e5"
_FIRST = r"[1-9]\d{0,2}"
_GROUPS = _FIRST + r"(\.\d{3})"
_COMMA_PATTERNS = {
    _THOUSAND: rf" *[+-]?(\d{{1,18}}|{_GROUPS}) *",
    _THOUSANDS: rf" *[+-]?(\d{{1,18}}|{_GROUPS}{{1,5}}) *",
    _COMMA_THOUSAND: rf" *[+-]?(\d{{1,18}}|{_FIRST},\d{{3}}) *",
    _COMMA_THOUSANDS: rf" *[+-]?(\d{{1,18}}|{_FIRST}(,\d{{3}}){{1,5}}) *",
    _COMMA: (
        rf" *[+-]?(\d{{1,18}}|{_GROUPS}{{1,5}}|(\d+|\d{{1,3}}(\.\d{{3}})+),\d+([eE][+-]?\d+)?) *"
    ),
    _POINTLESS: r" *[+-]?(\d{1,18}|\d+[eE][+-]?\d+|(?i:inf|infinity|nan)) *",
}
# The kinds of values that columns of a kind may hold, besides whole numbers and their own.
_NUMBERS = {
    "DOUBLE": {_THOUSAND, _POINTLESS},
    _COMMA: {_THOUSAND, _THOUSANDS, _COMMA_THOUSAND},
    _THOUSAND: set[str](),
    _THOUSANDS: {_THOUSAND},
    _COMMA_THOUSAND: set[str](),
    _COMMA_THOUSANDS: {_COMMA_THOUSAND},
    _POINTLESS: set[str](),
}
_NOTES = {
    _COMMA: "with decimal commas, so that 1,5 is 1.5",
    _THOUSANDS: "as whole numbers, so that 1.234 is 1234 and 1.234.567 is 1234567",
    _COMMA_THOUSANDS: "as whole numbers, so that 1,234 is 1234 and 1,234,567 is 1234567",
    TEXT: (
        "as text, since 1,234 may be 1234 or 1.234 (in the query, replace(x, ',', '')::BIGINT "
        "makes it the one and replace(x, ',', '.')::DOUBLE the other)"
    ),
}
_NAMED = 20
_NAME_POINTS = 3
_MISSING_PATTERN = "|".join(re.escape(text) for text in MISSING)
# Casts double the cost, so only types that a pattern cannot prove are cast.
_SURE_INTEGER = r"[+-]?\d{1,18}"
_CASTS = {"BIGINT", "DATE", "TIMESTAMP", "TIMESTAMPTZ"}
_BITS = {
    kind: 1 << number for number, kind in enumerate((*_PATTERNS, *_COMMA_PATTERNS, _MISSING, TEXT))
}
_SAMPLE_CELLS, _SAMPLE_ROWS = 50_000, 2_000


@dataclasses.dataclass(frozen=True)
class Columns:
    """How to read the columns.

    Attributes:
        types: The DuckDB type to read each column as.
        computed: SQL for the columns that DuckDB can only read as text.
        rows: The number of readable rows.
        notes: Messages about numbers with decimal commas or thousands separators.
    """

    types: dict[str, str]
    computed: dict[str, str]
    rows: int
    notes: list[str]


def infer(
    connection: duckdb.DuckDBPyConnection,
    scan: str,
    columns: Sequence[str],
    comma: bool = False,
) -> Columns:
    """Returns how to read every column.

    Args:
        connection: DuckDB.
        scan: SQL that reads the columns as text.
        columns: The names of the columns.
        comma: Whether a number may have a decimal comma.
    """
    # A value is of the first kind that it matches, in this order.
    patterns = {"BIGINT": _PATTERNS["BIGINT"]} | (_COMMA_PATTERNS if comma else {}) | _PATTERNS
    limit = min(_SAMPLE_ROWS, 1 + _SAMPLE_CELLS // len(columns))
    first_rows = connection.execute(f"FROM {scan} LIMIT {limit}").fetchall()
    kinds = {
        name: _guess({row[number] for row in first_rows}, patterns)
        for number, name in enumerate(columns)
    }
    tests = ", ".join(
        f"count({identifier(name)}), "
        f"coalesce(bool_and({_test(kind, identifier(name), patterns)}), true)"
        for name, kind in kinds.items()
    )
    # DuckDB writes its table of rejected lines when the last row of a result is fetched.
    ((*found, rows),) = connection.execute(f"SELECT {tests}, count(*) FROM {scan}").fetchall()
    for name, filled in zip(columns, found[0::2], strict=True):
        if not filled:
            kinds[name] = TEXT
    doubtful = [name for name, fits in zip(columns, found[1::2], strict=True) if not fits]
    missing: set[str] = set()
    if doubtful:
        tests = ", ".join(f"bit_or({_kinds(identifier(name), patterns)})" for name in doubtful)
        ((*bits,),) = connection.execute(f"SELECT {tests} FROM {scan}").fetchall()
        kinds |= {name: _common(each) for name, each in zip(doubtful, bits, strict=True)}
        missing = {
            name for name, each in zip(doubtful, bits, strict=True) if each & _BITS[_MISSING]
        }
    found, kinds = kinds, _resolve(kinds)
    if grouped := [name for name, kind in kinds.items() if kind == _THOUSANDS]:
        kinds |= dict.fromkeys(_names(connection, scan, grouped), TEXT)
    missing = {name for name in missing if kinds[name] != TEXT}
    computed = {
        name: _computed(kind, identifier(name), name in missing)
        for name, kind in kinds.items()
        if kind in _COMMA_PATTERNS or name in missing
    }
    return Columns(
        {name: TEXT if name in computed else kind for name, kind in kinds.items()},
        computed,
        rows,
        _notes(found, kinds),
    )


def _resolve(kinds: Mapping[str, str]) -> dict[str, str]:
    """Resolves ambiguous kinds of columns by the kinds of the others."""
    found = set(kinds.values())
    points = bool(found & {"DOUBLE", _COMMA_THOUSANDS})
    only_commas, only_points = _COMMA in found and not points, points and _COMMA not in found
    become = {
        _THOUSAND: _THOUSANDS if only_commas else "DOUBLE",
        _THOUSANDS: _THOUSANDS if only_commas else TEXT,
        _COMMA_THOUSAND: _COMMA if only_commas else _COMMA_THOUSANDS if only_points else TEXT,
        _COMMA_THOUSANDS: _COMMA_THOUSANDS if only_points else TEXT,
        _POINTLESS: "DOUBLE",
    }
    return {name: become.get(kind, kind) for name, kind in kinds.items()}


def _names(connection: duckdb.DuckDBPyConnection, scan: str, columns: Sequence[str]) -> list[str]:
    """Returns the columns whose values all have the same number of points, at least three."""
    tests = []
    for column in map(identifier, columns):
        points = f"length({column}) - length(replace({column}, '.', ''))"
        points = f"CASE WHEN {_is_value(column)} THEN {points} END"
        tests.append(f"min({points}) >= {_NAME_POINTS} AND min({points}) = max({points})")
    ((*found,),) = connection.execute(f"SELECT {', '.join(tests)} FROM {scan}").fetchall()
    return [name for name, same in zip(columns, found, strict=True) if same]


def _notes(found: Mapping[str, str], kinds: Mapping[str, str]) -> list[str]:
    notes = []
    for kind, note in _NOTES.items():
        names = [
            f'"{name}"'
            for name, each in kinds.items()
            if each == kind and (kind != TEXT or found[name] in (_COMMA_THOUSAND, _COMMA_THOUSANDS))
        ]
        if names:
            more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
            notes.append(f"Read {note}: {', '.join(names[:_NAMED])}{more}.")
    return notes


def _computed(kind: str, column: str, missing: bool) -> str:
    """Returns SQL that converts a column of text to a kind."""
    if kind == _COMMA:
        value = f"CAST(replace(replace({column}, '.', ''), ',', '.') AS DOUBLE)"
    elif kind == _THOUSANDS:
        value = f"CAST(replace({column}, '.', '') AS BIGINT)"
    elif kind == _COMMA_THOUSANDS:
        value = f"CAST(replace({column}, ',', '') AS BIGINT)"
    else:
        value = f"CAST({column} AS {kind})"
    return f"CASE WHEN {_is_value(column)} THEN {value} END" if missing else value


def _is_value(column: str) -> str:
    """Returns SQL that is false for the texts of missing values."""
    return f"{column} NOT IN ({', '.join(literal(text) for text in MISSING)})"


def _guess(values: set[str | None], patterns: Mapping[str, str]) -> str:
    """Returns the type of a few values, without checking that they can be cast."""
    bits = 0
    for value in {value for value in values if value is not None}.difference(MISSING):
        matches = (kind for kind in patterns if re.fullmatch(patterns[kind], value, re.ASCII))
        bits |= _BITS[next(matches, TEXT)]
    return _common(bits) if bits else next(iter(_PATTERNS))


def _test(kind: str, column: str, patterns: Mapping[str, str]) -> str:
    """Returns SQL that is false for a value that is not of a type."""
    if kind == TEXT:
        return "true"
    matches = f"regexp_full_match({column}, {literal(patterns[kind])})"
    if kind not in _CASTS:
        return matches
    fits = f"({matches} AND TRY_CAST({column} AS {kind}) IS NOT NULL)"
    sure = f"WHEN regexp_full_match({column}, {literal(_SURE_INTEGER)}) THEN true"
    first = sure if kind == "BIGINT" else ""
    return f"CASE {first} WHEN {column} IS NOT NULL THEN {fits} END"


def _kinds(column: str, patterns: Mapping[str, str]) -> str:
    """Returns SQL for the kind of a value, as a bit."""
    patterns = {**patterns, _MISSING: _MISSING_PATTERN}
    cases = [f"WHEN {column} IS NULL THEN 0"]
    cases += [f"WHEN {_test(kind, column, patterns)} THEN {_BITS[kind]}" for kind in patterns]
    return f"CASE {' '.join(cases)} ELSE {_BITS[TEXT]} END"


def _common(bits: int) -> str:
    """Returns the kind of a column from the kinds of its values, given as bits."""
    if bits != _BITS[_MISSING]:
        bits &= ~_BITS[_MISSING]
    for kind, others in _NUMBERS.items():
        allowed = sum(_BITS[each] for each in {"BIGINT", kind, *others})
        if bits & _BITS[kind] and not bits & ~allowed:
            return kind
    return next((kind for kind in _PATTERNS if bits == _BITS[kind]), TEXT)
