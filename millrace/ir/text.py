"""Formats JSON values as text, as KFP's backend does.

See PbValueToText in
https://github.com/kubeflow/pipelines/blob/master/backend/src/v2/metadata/converter.go.
"""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

from millrace.values import whole

_ESCAPED = str.maketrans(
    {sign: f"\\u{ord(sign):04x}" for sign in ("<", ">", "&", "\u2028", "\u2029")}
)


def text_of(value: Any) -> str:
    """Returns a value as text, for commands and parameters of type STRING.

    Numbers are written as the shortest decimal, without an exponent or `.0`; null is empty text;
    lists and objects are compact JSON with sorted keys.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _decimal(value)
    return _json(value)


def _decimal(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'+' if value > 0 else '-'}Inf"
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _json(value: Any) -> str:
    """Returns JSON as Go's encoding/json writes it."""
    text = json.dumps(whole(value), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.translate(_ESCAPED)


def printable(text: str) -> str:
    """Returns a text without the control characters that XML and terminals reject."""
    return "".join(
        sign if sign.isprintable() or sign in "\n\t" else "\N{REPLACEMENT CHARACTER}"
        for sign in text
    )
