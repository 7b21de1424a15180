"""JSON values that went through protobuf, whose numbers are all doubles."""

from __future__ import annotations

from typing import Any

_EXACT = 2**53


def whole(value: Any) -> Any:
    """Returns a JSON value with whole floats as integers, within lists and objects too.

    Beyond what a double holds exactly, a float stays one.
    """
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT
    return int(value) if is_whole else value
