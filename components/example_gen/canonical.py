"""Maps columns to the types of examples, and computes the key of a row, which decides its split.

A row's key is the MD5 of its canonical text: the texts of its columns in their order, or of the key
columns, joined by the ASCII unit separator (0x1F), in UTF-8. The text of a value is

    NULL      nothing
    integer   its digits; a boolean's are 0 or 1
    double    its digits as an integer if it is whole and below 1e15, so that rows stay put when a
              column of integers gets decimals; else the shortest decimal that parses to the same
              value, as Python's repr writes it; nan, inf, -inf
    string    itself; dates and times are ISO 8601, with Z if they have a time zone
    binary    hexadecimal digits in lower case
    list      the texts of its items joined by the ASCII record separator (0x1E)

In order of their names, the first split takes the keys below its share of 2^128, the next those
below the sum of both shares, and so on. None of this is specific to DuckDB, so another engine puts
the same row into the same split.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction

from millrace.components.example_gen.engine import identifier
from millrace.errors import DataError

_KEY_BITS = 128
_SEPARATOR, _ITEM_SEPARATOR = "chr(31)", "chr(30)"
_WHOLE_BELOW = "1e15"
_ZONED = "TIMESTAMP WITH TIME ZONE"

_INTEGERS = {
    "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT",
    "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT",
}  # fmt: skip
_DOUBLES = {"FLOAT", "DOUBLE"}
_TIMESTAMPS = {"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"}
_TEXTS = {
    "VARCHAR", "UUID", "DATE", "TIME", "TIME_NS", "TIME WITH TIME ZONE", "INTERVAL", "BIT", "JSON",
    "NULL", '"NULL"',
}  # fmt: skip


def held(name: str, kind: str) -> str:
    """Returns the type in examples for a DuckDB type: BIGINT, DOUBLE, VARCHAR, BLOB, or a list.

    Raises:
        DataError: Examples cannot hold it.
    """
    if item := re.fullmatch(r"(.*)\[\d*\]", kind, re.DOTALL):
        inner = held(name, item[1])
        if not inner.endswith("[]"):
            return f"{inner}[]"
    elif kind in _INTEGERS:
        return "BIGINT"
    elif kind in _DOUBLES or kind.startswith("DECIMAL"):
        return "DOUBLE"
    elif kind in _TEXTS | _TIMESTAMPS | {_ZONED} or kind.startswith("ENUM"):
        return "VARCHAR"
    elif kind == "BLOB":
        return "BLOB"
    raise DataError(
        f'Column "{name}" is of type {kind}, which examples cannot hold: select its parts as '
        'columns of their own with "query", or leave it out: '
        f"SELECT * EXCLUDE ({identifier(name)}) FROM data"
    )


def value(name: str, kind: str) -> str:
    """Returns SQL for a column in its type in examples."""
    column = identifier(name)
    if kind in _TIMESTAMPS:
        return _iso(f"CAST({column} AS TIMESTAMP)")
    if kind == _ZONED:
        return _iso(f"make_timestamp(epoch_us({column}))") + " || 'Z'"
    target = held(name, kind)
    return column if target == kind else f"CAST({column} AS {target})"


def key(names: Sequence[str], types: Mapping[str, str]) -> str:
    """Returns SQL for the key of a row, over columns of the types that `held` gives."""
    texts = ", ".join(f"coalesce({_text(identifier(name), types[name])}, '')" for name in names)
    return f"md5(concat_ws({_SEPARATOR}, {texts}))"


def membership(key_column: str, shares: Sequence[float]) -> list[str]:
    """Returns for each share SQL that is true for the keys in it."""
    exact = [Fraction(str(share)) for share in shares]
    bounds = [_bound(sum(exact[:index], Fraction()) / sum(exact)) for index in range(len(exact))]
    tests = [f"{key_column} >= '{bound}'" for bound in bounds]
    return [
        f"{test} AND {key_column} < '{after}'"
        for test, after in zip(tests, bounds[1:], strict=False)
    ] + tests[-1:]


def _bound(share: Fraction) -> str:
    return f"{int(share * 2**_KEY_BITS):032x}"


def _text(value: str, kind: str) -> str:
    if kind.endswith("[]"):
        items = f"[coalesce({_text('item', kind[:-2])}, '') FOR item IN {value}]"
        return f"array_to_string({items}, {_ITEM_SEPARATOR})"
    if kind == "BLOB":
        return f"lower(hex({value}))"
    if kind == "DOUBLE":
        whole = f"{value} = trunc({value}) AND abs({value}) < {_WHOLE_BELOW}"
        return (
            f"CASE WHEN {whole} THEN CAST(CAST({value} AS BIGINT) AS VARCHAR) "
            f"WHEN isnan({value}) THEN 'nan' ELSE CAST({value} AS VARCHAR) END"
        )
    return value if kind == "VARCHAR" else f"CAST({value} AS VARCHAR)"


def _iso(timestamp: str) -> str:
    """Returns SQL for text such as 2013-01-31T10:00:00, with microseconds only if there are any."""
    micros = f"strftime({timestamp}, '.%f')"
    fraction = f"CASE WHEN microsecond({timestamp}) % 1000000 = 0 THEN '' ELSE {micros} END"
    return f"strftime({timestamp}, '%Y-%m-%dT%H:%M:%S') || {fraction}"
