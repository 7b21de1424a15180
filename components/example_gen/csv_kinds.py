"""The kinds of text in the columns of CSV files, and the type of a column of such kinds.

A column's type depends on all of its values, so that neither the order of the rows nor the number
of files matters, and nothing is rounded:

    BIGINT       whole numbers that fit 64 bits
    DOUBLE       these, decimal numbers with or without an exponent, inf, infinity
    BOOLEAN      true, false
    DATE         2013-01-31
    TIMESTAMP    2013-01-31 10:00, 2013-01-31T10:00:00.5
    TIMESTAMPTZ  2013-01-31 10:00:00Z, and with an offset such as +01:00
    VARCHAR      everything else, and a column without any value

Digits are text if a number would not keep what they say: 01234 among whole numbers, +41 where no
number is negative, 1E5 where no number has a decimal point, and versions, which write 1.1 and 1.10.

Where the delimiter is not a comma, 1,5 and 1.234,5 are DOUBLE too, and 1.234 means 1234 in their
column. A column that is ambiguous by itself is read as the other columns suggest: 1,5 can only have
a decimal comma, and 1.5 only a decimal point; 1,234,567 implies decimal points.

    the others have   neither   commas     points    both
    1.234             1.234     1234       1.234     1.234
    1.234.567         VARCHAR   1234567    VARCHAR   VARCHAR
    1,234             VARCHAR   1.234      1234      VARCHAR
    1,234,567         1234567   VARCHAR    1234567   VARCHAR

Names such as 192.168.100.101, with the same number of points in every value, are not numbers.
Marks such as `?` are missing values in a column that is not text, and so are blanks and a few stray
words. A mark that stands in such a column is missing in the table's columns of text too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

TEXT = "VARCHAR"
INTEGER, DOUBLE = "BIGINT", "DOUBLE"
# What pandas, spreadsheets and databases write for a missing value.
MARKS = (
    "?", "-", "N/A", "n/a", "#N/A", "NULL", "null", "None", r"\N", "nan", "NaN", "NAN", "-nan",
)  # fmt: skip
# Kinds of text, besides the types.
NEGATIVE, PLUS, PADDED, EXPONENT, INFINITE = "-1", "+1", "01", "1e5", "inf"
COMMA, MISSING = "decimal comma", "missing"
THOUSAND, THOUSANDS = "1.234", "1.234.567"
COMMA_THOUSAND, COMMA_THOUSANDS = "1,234", "1,234,567"
# Kinds of columns: digits that stay text, and dates in the formats that the user gives.
CODES = "codes"
FORMATTED = {"DATE": "formatted date", "TIMESTAMP": "formatted time"}

_DAY = r"\d{4}-\d{2}-\d{2}"
_MINUTES = r"[ T]\d{2}:\d{2}"
_SECONDS = r":\d{2}(\.\d{1,6})?"
_FIRST = r"[1-9]\d{0,2}"
_GROUPS = _FIRST + r"(\.\d{3})"
_DECIMAL = r"(\d+\.\d*|\.\d+)([eE][+-]?\d+)?|\d+[eE][+-]\d+"
_INFINITY = r"(?i:inf|infinity)"

# A value is of the first kind that it matches, in this order.
_WHOLE_KINDS = {
    NEGATIVE: r" *-\d+ *",
    PLUS: r" *\+\d+ *",
    PADDED: r" *0\d+ *",
    INTEGER: r" *\d+ *",
}
_COMMA_KINDS = {
    THOUSAND: rf" *[+-]?{_GROUPS} *",
    THOUSANDS: rf" *[+-]?{_GROUPS}{{1,5}} *",
    COMMA_THOUSAND: rf" *[+-]?{_FIRST},\d{{3}} *",
    COMMA_THOUSANDS: rf" *[+-]?{_FIRST}(,\d{{3}}){{1,5}} *",
    COMMA: r" *[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+([eE][+-]?\d+)? *",
}
_OTHER_KINDS = {
    EXPONENT: r" *[+-]?\d+[eE]\d+ *",
    INFINITE: rf" *[+-]?{_INFINITY} *",
    DOUBLE: rf" *[+-]?({_DECIMAL}) *",
    "BOOLEAN": r"(?i:true|false)",
    "DATE": _DAY,
    "TIMESTAMP": _DAY + _MINUTES + f"({_SECONDS})?",
    # DuckDB before 2.0 does not accept a zone after minutes.
    "TIMESTAMPTZ": _DAY + _MINUTES + _SECONDS + r"(Z|[+-]\d{2}(:?\d{2})?)",
}
TYPES = (INTEGER, DOUBLE, "BOOLEAN", "DATE", "TIMESTAMP", "TIMESTAMPTZ", TEXT)
# What every value of a column of a type matches, if nothing in it is doubtful.
_SURE = {
    INTEGER: r" *-?(0|[1-9]\d*) *",
    DOUBLE: rf" *[+-]?(\d{{1,18}}|{_DECIMAL}|\d+[eE]\d+|{_INFINITY}) *",
    THOUSAND: rf" *[+-]?(\d{{1,18}}|{_GROUPS}) *",
    THOUSANDS: rf" *[+-]?(\d{{1,18}}|{_GROUPS}{{1,5}}) *",
    COMMA_THOUSAND: rf" *[+-]?(\d{{1,18}}|{_FIRST},\d{{3}}) *",
    COMMA_THOUSANDS: rf" *[+-]?(\d{{1,18}}|{_FIRST}(,\d{{3}}){{1,5}}) *",
    COMMA: (
        rf" *[+-]?(\d{{1,18}}|{_GROUPS}{{1,5}}|(\d+|\d{{1,3}}(\.\d{{3}})+),\d+([eE][+-]?\d+)?) *"
    ),
}
WHOLE = frozenset({NEGATIVE, PLUS, PADDED, INTEGER})
# The kinds of numbers that a column may hold if one of its values is of the kind named first.
_NUMBERS = {
    DOUBLE: {*WHOLE, THOUSAND, EXPONENT, INFINITE},
    COMMA: {*WHOLE, THOUSAND, THOUSANDS, COMMA_THOUSAND},
    INFINITE: {NEGATIVE, INTEGER, EXPONENT},
    THOUSAND: {NEGATIVE, INTEGER},
    THOUSANDS: {NEGATIVE, INTEGER, THOUSAND},
    COMMA_THOUSAND: {NEGATIVE, INTEGER},
    COMMA_THOUSANDS: {NEGATIVE, INTEGER, COMMA_THOUSAND},
}
_STRAY_SHARE = 0.05  # more values than these that are no numbers make a column text


def patterns(comma: bool) -> dict[str, str]:
    """Returns the pattern of each kind of value; a value is of the first kind that it matches.

    Args:
        comma: Whether a number may have a decimal comma.
    """
    return _WHOLE_KINDS | (_COMMA_KINDS if comma else {}) | _OTHER_KINDS


def sure_pattern(kind: str) -> str:
    """Returns what every value of a column of a kind matches, if none of them is doubtful."""
    return _SURE.get(kind) or _OTHER_KINDS[kind]


def of_column(counts: Mapping[str, int]) -> str:
    """Returns the kind of a column.

    Args:
        counts: How many of its values are of each kind.
    """
    kinds = {kind for kind, count in counts.items() if count} - {MISSING}
    if kinds and kinds <= {NEGATIVE, PLUS, INTEGER} and (NEGATIVE in kinds or PLUS not in kinds):
        return INTEGER
    for kind, others in _NUMBERS.items():
        if kind in kinds and kinds <= {kind, *others}:
            return DOUBLE if kind == INFINITE else kind
    if kinds and kinds <= {*WHOLE, EXPONENT}:
        return CODES
    return kinds.pop() if len(kinds) == 1 else TEXT


def without_strays(counts: Mapping[str, int]) -> str:
    """Returns the kind of a column if its few values of text are left out.

    It is TEXT if they are not few, or the others are no numbers.
    """
    filled = sum(counts.values()) - counts.get(MISSING, 0)
    if not 0 < counts.get(TEXT, 0) <= _STRAY_SHARE * filled:
        return TEXT
    kind = of_column({**counts, TEXT: 0, INFINITE: 0})
    return kind if kind in {INTEGER, *_NUMBERS} else TEXT


def are_words(kind: str, strays: Iterable[str]) -> bool:
    """Returns whether stray values among numbers are no codes of which most have digits only."""
    return kind != INTEGER or not any(re.search(r"\d", stray) for stray in strays)


def resolve(kinds: Mapping[str, str], decimal: str = "") -> dict[str, str]:
    """Resolves ambiguous kinds of columns by the kinds of the others.

    Args:
        kinds: The kind of each column.
        decimal: The decimal mark, if it is known.
    """
    found = set(kinds.values())
    points = decimal == "." or bool(not decimal and found & {DOUBLE, COMMA_THOUSANDS})
    commas = decimal == "," or (not decimal and COMMA in found)
    only_commas, only_points = commas and not points, points and not commas
    become = {
        THOUSAND: THOUSANDS if only_commas else DOUBLE,
        THOUSANDS: THOUSANDS if only_commas else TEXT,
        COMMA_THOUSAND: COMMA if only_commas else COMMA_THOUSANDS if only_points else TEXT,
        COMMA_THOUSANDS: COMMA_THOUSANDS if only_points else TEXT,
    }
    return {name: become.get(kind, kind) for name, kind in kinds.items()}


def type_of(kind: str) -> str:
    """Returns the DuckDB type of the values of a kind."""
    if kind in (THOUSANDS, COMMA_THOUSANDS):
        return INTEGER
    others = {COMMA: DOUBLE, CODES: TEXT}
    others |= {formatted: plain for plain, formatted in FORMATTED.items()}
    return others.get(kind, kind)
