"""Checks what the user says about the columns of CSV files."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence

from millrace.components.example_gen.csv_types import Hints
from millrace.components.example_gen.source import Format, Source
from millrace.errors import ParameterError, nearest

_TYPES = {
    "text": "VARCHAR",
    "integer": "BIGINT",
    "decimal": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "zoned timestamp": "TIMESTAMPTZ",
}
NAMES = {kind: name for name, kind in _TYPES.items()}


def check(
    found: Source,
    column_types: Mapping[str, str],
    missing_values: Sequence[str],
    decimal: str,
    date_formats: Sequence[str],
) -> Hints:
    """Returns the hints.

    Raises:
        ParameterError: One is invalid, names no column, or is given for files other than CSV.
    """
    given = {
        "column_types": column_types,
        "missing_values": missing_values,
        "decimal": decimal,
        "date_formats": date_formats,
    }
    for name, value in given.items():
        if value and found.format is not Format.CSV:
            raise ParameterError(
                f'"{name}" is for CSV files, and {found.files[0]} is {found.format.value}: its '
                'columns have types of their own, which "query" can change with CAST.'
            )
    for column, kind in column_types.items():
        if column not in found.columns:
            raise ParameterError(
                f'"column_types" names "{column}", which is no column of '
                f"{found.files[0]}.{nearest(column, found.columns)}"
            )
        if kind not in _TYPES:
            raise ParameterError(
                f'"column_types" gives "{column}" the type {kind!r}: choose one of '
                f"{', '.join(_TYPES)}."
            )
    if not all(isinstance(value, str) for value in missing_values):
        raise ParameterError(
            f'"missing_values" is {list(missing_values)!r}: give texts, such as ["?", "-999"].'
        )
    if decimal not in ("", ".", ","):
        raise ParameterError(f'"decimal" is {decimal!r}: give "." or ",".')
    for one in date_formats:
        _check_format(one)
    return Hints(
        types={column: _TYPES[kind] for column, kind in column_types.items()},
        marks=missing_values or None,
        decimal=decimal,
        date_formats=date_formats,
    )


def _check_format(text: object) -> None:
    """Raises ParameterError unless a date survives being written in a format and read back."""
    day = datetime.datetime(2013, 1, 31)
    try:
        # Python 3.13 warns of formats without a year.
        assert isinstance(text, str)
        assert re.search("%[YyGcxDF]", text)
        known = datetime.datetime.strptime(day.strftime(text), text) == day
    except (AssertionError, ValueError):
        known = False
    if not known:
        raise ParameterError(
            f'"date_formats" has {text!r}, which does not tell day, month and year: write it as '
            'in "%d.%m.%Y" or "%Y/%m/%d %H:%M".'
        )
