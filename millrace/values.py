"""Converts JSON values from protobuf, where all numbers are doubles."""

from __future__ import annotations

from typing import Any

_EXACT = 2**53


def whole(value: Any) -> Any:
    """Returns a JSON value with whole floats as integers, also in lists and objects.

    Floats beyond the exact range of doubles stay floats.
    """
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT
    return int(value) if is_whole else value
