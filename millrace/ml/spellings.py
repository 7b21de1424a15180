"""Finds classes that differ only in case or blanks, such as `Yes`, `yes` and `Yes `."""

from __future__ import annotations

import collections
import unicodedata
from collections.abc import Mapping
from typing import Any

_SHOWN = 8


def alike(counts: Mapping[Any, int]) -> dict[str, str]:
    """Returns the most frequent spelling for each other spelling of the same class.

    Args:
        counts: How often each class occurs.
    """
    groups: dict[str, list[str]] = collections.defaultdict(list)
    for value in sorted(value for value in counts if isinstance(value, str)):
        plain = unicodedata.normalize("NFKC", value).casefold()
        groups[" ".join(plain.split())].append(value)
    mapping: dict[str, str] = {}
    for values in groups.values():
        kept = max(values, key=lambda value: (counts[value], value == value.strip()))
        mapping |= {value: kept for value in values if value != kept}
    return mapping


def advice(label: str, counts: Mapping[Any, int]) -> str:
    """Returns which classes are alike, and a query that makes them one; an empty text if none are.

    Args:
        label: The label's name.
        counts: How often each class occurs.
    """
    mapping = alike(counts)
    if not mapping:
        return ""
    kept = sorted(set(mapping.values()))
    spellings = [value for each in kept for value in (each, *_spelled(mapping, each))]
    shown = ", ".join(f"{value!r} ({counts[value]:,} rows)" for value in spellings[:_SHOWN])
    more = f" and {len(spellings) - _SHOWN} more" if len(spellings) > _SHOWN else ""
    column = '"' + label.replace('"', '""') + '"'
    whens = " ".join(f"WHEN {_text(old)} THEN {_text(new)}" for old, new in mapping.items())
    return (
        f'"{label}" has classes that differ only in case or blanks: {shown}{more}. If they are the'
        f" same, make them one with a query: SELECT * REPLACE (CASE {column} {whens} ELSE {column}"
        f" END AS {column}) FROM data"
    )


def _spelled(mapping: Mapping[str, str], kept: str) -> list[str]:
    return [old for old, new in mapping.items() if new == kept]


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
