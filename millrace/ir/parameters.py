"""Checks the parameters of a run against the pipeline's declarations."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from millrace import redact
from millrace.errors import ParameterError, nearest
from millrace.ir import spec as ir

_KINDS = {
    "STRING": "text",
    "NUMBER_INTEGER": "a whole number",
    "NUMBER_DOUBLE": "a number",
    "BOOLEAN": "true or false",
    "LIST": 'a list as JSON, such as ["a", "b"]',
    "STRUCT": 'an object as JSON, such as {"key": 1}',
}
_DEEPEST = 30  # lineage and KFP store values as protobuf, whose nesting is limited to 100
_BOOLEANS = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}


def of_command_line(pairs: Iterable[str], declared: Mapping[str, ir.Parameter]) -> dict[str, Any]:
    """Returns the values of `name=value` texts, converted to the types that the pipeline declares.

    Raises:
        ParameterError: A text is not of that form, is given twice, or is not of its type.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        name = name.strip()
        if not sign or not name:
            raise ParameterError(f"A parameter is given as name=value, and {pair!r} is not.")
        if name in values:
            raise ParameterError(f'The parameter "{name}" is given twice.')
        values[name] = _parse(declared[name], text) if name in declared else text
    return values


def of_file(path: Path) -> dict[str, Any]:
    """Returns the parameters in a JSON or YAML file: an object of names and values.

    Raises:
        ParameterError: It cannot be read, or is not such an object.
    """
    try:
        text = path.read_text(encoding="utf-8")
        # JSON with tabs is not YAML.
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise ParameterError(f"Cannot read {path}: {error.strerror}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ParameterError(
            f"{path} is neither JSON nor YAML: {' '.join(str(error).split())}"
        ) from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ParameterError(f"{path} must hold an object of parameter names and values.")
    return values


def checked(pipeline: ir.Pipeline, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of all parameters, defaults included; optional ones may be absent.

    Raises:
        ParameterError: One is unknown, missing or of the wrong type.
    """
    declared = pipeline.root.parameters
    for name in values:
        if name not in declared:
            raise ParameterError(
                f'The pipeline "{pipeline.name}" has no parameter "{name}".'
                f"{nearest(name, declared)}\n{listed(declared.values())}"
            )
    result = {
        name: check(parameter, values[name]) if name in values else parameter.default
        for name, parameter in declared.items()
        if name in values or parameter.default is not ir.MISSING
    }
    missing = [
        parameter
        for name, parameter in declared.items()
        if parameter.required and name not in result
    ]
    if missing:
        example = " ".join(f"--param {parameter.name}=…" for parameter in missing)
        raise ParameterError(f'The pipeline "{pipeline.name}" needs {example}\n{listed(missing)}')
    return result


def check(parameter: ir.Parameter, value: Any) -> Any:
    """Returns a value as its parameter declares it.

    Raises:
        ParameterError: It is of another type, holds what JSON does not have, or is none of the
            values that the parameter takes.
    """
    return literal(parameter, check_type(parameter, value))


def check_type(parameter: ir.Parameter, value: Any) -> Any:
    """Returns a value as the type that its parameter declares.

    Raises:
        ParameterError: It is of another type, or holds values that JSON does not have.
    """
    value = _typed(parameter, value)
    if problem := _problem(value):
        raise ParameterError(f'The parameter "{parameter.name}" {problem}.')
    return value


def literal(parameter: ir.Parameter, value: Any) -> Any:
    """Returns a value that is one of those that its parameter declares, if it declares any.

    Raises:
        ParameterError: It is another.
    """
    if parameter.literals and value not in parameter.literals:
        choices = ", ".join(json.dumps(one, ensure_ascii=False) for one in parameter.literals)
        raise ParameterError(
            f'The parameter "{parameter.name}" must be one of {choices}, and is {value!r}.'
        )
    return value


def _typed(parameter: ir.Parameter, value: Any) -> Any:
    kind = parameter.type
    if kind == "NUMBER_INTEGER" and _is_number(value) and float(value).is_integer():
        return int(value)
    if kind == "NUMBER_DOUBLE" and _is_number(value):
        return float(value)
    python: dict[str, type] = {"STRING": str, "BOOLEAN": bool, "LIST": list, "STRUCT": dict}
    if kind in python and isinstance(value, python[kind]):
        return value
    raise _wrong(parameter, value)


def listed(parameters: Iterable[ir.Parameter]) -> str:
    """Returns one line for each parameter, the required ones first."""
    lines = []
    for parameter in sorted(parameters, key=lambda one: not one.required):
        kind = parameter.type.removeprefix("NUMBER_").lower()
        is_optional = parameter.default is not ir.MISSING
        default = f", default {_short(shown(parameter))}" if is_optional else ""
        what = f": {parameter.description}" if parameter.description else ""
        lines.append(f"  {parameter.name} ({kind}{default}){what}")
    return "\n".join(lines) if lines else "  It takes none."


def shown(parameter: ir.Parameter) -> Any:
    """Returns the default of a parameter, with secrets hidden; None if it has none."""
    if parameter.default is ir.MISSING:
        return None
    return redact.parameters({parameter.name: parameter.default})[parameter.name]


def _parse(parameter: ir.Parameter, text: str) -> Any:
    """Parses a value from the command line."""
    if parameter.type == "STRING":
        return text
    try:
        if parameter.type == "BOOLEAN":
            return _BOOLEANS[text.strip().lower()]
        if parameter.type in ("LIST", "STRUCT"):
            return _typed(parameter, json.loads(text))
        if _digits(text):
            return _typed(parameter, int(text))
        return _typed(parameter, float(text))  # 1e6 is an integer too
    except (ValueError, KeyError, RecursionError, ParameterError):
        raise _wrong(parameter, text) from None


def _problem(value: Any, depth: int = 0) -> str:
    """Returns why a value is not JSON; empty if it is."""
    if isinstance(value, (list, dict)):
        if depth == _DEEPEST:
            return f"has more than {_DEEPEST} nested lists and objects"
        for key in value if isinstance(value, dict) else ():
            if not isinstance(key, str):
                return f"has a key that is not text: write {key!r} in quotes"
        items = value.values() if isinstance(value, dict) else value
        return next(filter(None, (_problem(item, depth + 1) for item in items)), "")
    if value is None or isinstance(value, (str, bool)) or _is_number(value):
        return ""
    kind = type(value).__name__
    return f"holds {_short(str(value))}, a {kind}, which is not JSON: quote it to make it text"


def _digits(text: str) -> bool:
    return text.strip().lstrip("+-").isdigit()


def _is_number(value: Any) -> bool:
    """Returns whether a value is a number that JSON and protobuf can represent: a double."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return abs(value) <= sys.float_info.max


def _wrong(parameter: ir.Parameter, value: Any) -> ParameterError:
    what = f"\n{listed([parameter])}" if parameter.description else ""
    return ParameterError(
        f'The parameter "{parameter.name}" must be {_KINDS.get(parameter.type, parameter.type)},'
        f" and is {_short(redact.parameters({parameter.name: value})[parameter.name])}.{what}"
    )


def _short(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
