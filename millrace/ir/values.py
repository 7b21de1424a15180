"""Converts values to the types that parameters declare, as KFP's backend does.

See resolveInputParameter and TextToPbValue in
https://github.com/kubeflow/pipelines/blob/master/backend/src/v2/metadata/converter.go.
"""

from __future__ import annotations

import json
import re
from typing import Any

from millrace.errors import MillraceError, ParameterError
from millrace.ir import parameters
from millrace.ir import spec as ir
from millrace.ir.text import text_of
from millrace.values import whole

_BOOLEANS = dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True)
_BOOLEANS |= dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False)


def typed(parameter: ir.Parameter, value: Any) -> Any:
    """Returns a value as the type that an input declares; loops and selectors pass text.

    Raises:
        ParameterError: It is not of that type, or none of the declared values.
    """
    if parameter.type == "TASK_FINAL_STATUS" or value is None:
        return value
    if parameter.type == "STRING":
        return parameters.literal(parameter, text_of(value))
    if isinstance(value, str):
        return parsed(parameter, value)
    return parameters.check(parameter, value)


def parsed(parameter: ir.Parameter, text: str) -> Any:
    """Returns the value of an output parameter that a component wrote as text.

    Raises:
        ParameterError: It is not of the declared type.
    """
    if parameter.type == "STRING":
        return parameters.literal(parameter, text)
    try:
        value = parameters.check_type(parameter, _read(parameter.type, text.strip()))
    except (MillraceError, ValueError, KeyError, RecursionError):
        raise ParameterError(
            f'"{parameter.name}" must be {parameter.type}, and is {text[:80]!r}.'
        ) from None
    return parameters.literal(parameter, whole_within(value))


def whole_within(value: Any) -> Any:
    """Returns a value with whole floats in its lists and objects as integers."""
    return whole(value) if isinstance(value, (list, dict)) else value


def _read(kind: str, text: str) -> Any:
    if kind == "BOOLEAN":
        return _BOOLEANS[text]
    if kind == "NUMBER_INTEGER" and re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    if kind.startswith("NUMBER_"):
        return float(text)
    return json.loads(text)


def shown(value: Any) -> str:
    """Returns a value for an error message: JSON, cut if it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
