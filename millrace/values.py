"""JSON values that went through protobuf, whose numbers are all doubles."""

from __future__ import annotations

from typing import Any


def whole(value: Any) -> Any:
    """Turns whole floats back into the integers that they were, within lists and objects too."""
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
