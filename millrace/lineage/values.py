"""Converts JSON values to MLMD properties and back, as KFP's backend does.

| JSON | in the metadata of an artifact | as a parameter, in the structs `inputs` and `outputs` |
|---|---|---|
| text | string_value | string |
| number | double_value | number |
| true, false | int_value 1, 0 | bool |
| list | struct_value {"list": [...]} | list |
| object | struct_value {"struct": {...}} | struct |

See StructValueToMLMDValue in KFP's backend/src/v2/metadata/converter.go. MLMD keeps six decimals
and 15 digits of a double_value, without NaN and infinity. A struct's numbers are doubles; a larger
integer is kept as text. Values that this would change are also kept in `exact`, an object as JSON
text. So is metadata whose names are reserved, `exact` and `display_name`, or have a backslash.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from typing import Any

from google.protobuf import struct_pb2, wrappers_pb2

from millrace.lineage.mlmd import pb
from millrace.values import whole

EXACT, NAME = "exact", "display_name"
_INT32 = 2**31  # MySQL's and PostgreSQL's int_value
_WHOLE = 2**53  # a double's whole numbers


def set_metadata(artifact: pb.Artifact, values: Mapping[str, Any]) -> None:
    """Sets the metadata of an artifact, without None."""
    exact = {}
    for name, value in values.items():
        if value is None:
            continue
        value = clean(value)
        name = clean(name)
        if name in (EXACT, NAME) or "\\" in name:  # which PostgreSQL cannot hold in a name
            exact[name] = value
            continue
        target, held = artifact.custom_properties[name], _held(value)
        if isinstance(held, bool):
            target.int_value = int(held)
        elif isinstance(held, (int, float)):
            target.double_value = float(held)
        else:
            _set(target, name, held)
        if _stored(target) != value:
            exact[name] = value
    _keep(artifact, exact)


def metadata(artifact: pb.Artifact) -> dict[str, Any]:
    """Returns the metadata of an artifact as the step gave it, in the order of its names."""
    found = {
        name: plain(value, is_flag=True)
        for properties in (artifact.properties, artifact.custom_properties)
        for name, value in properties.items()
        if name != NAME
    }
    exact = _exact(artifact)
    if exact or isinstance(found.get(EXACT), dict):  # an object, as earlier versions wrote
        del found[EXACT]
    return dict(sorted({**found, **exact}.items()))


def set_property(node: Any, name: str, value: Any) -> None:
    """Sets a property of an execution or a context, unless it is None."""
    if value is None:
        return
    target, value = node.custom_properties[name], _held(value)
    if isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int) and -_INT32 <= value < _INT32:
        target.int_value = value
    elif isinstance(value, (int, float)) and math.isfinite(value) and _decimal(value) == value:
        target.double_value = float(value)
    else:
        _set(target, name, value)


def set_struct(node: Any, name: str, values: Mapping[str, Any]) -> None:
    """Sets a property to a struct of parameters."""
    values = clean(values)
    struct = node.custom_properties[name].struct_value
    struct.Clear()
    struct.SetInParent()
    struct.update(_held(values))
    kept = {key: value for key, value in _exact(node).items() if key != name}
    _keep(node, kept if _object(struct) == values else {**kept, name: values})


def struct(node: Any, name: str) -> dict[str, Any]:
    """Returns a struct of parameters, empty if there is none."""
    if name not in node.custom_properties:
        return {}
    exact = _exact(node).get(name)
    if isinstance(exact, dict):
        return dict(sorted(exact.items()))
    value = node.custom_properties[name]
    content = value.struct_value
    if value.HasField("proto_value"):
        content = struct_pb2.Struct()
        value.proto_value.Unpack(content)
    return _object(content)


def text(node: Any, name: str) -> str:
    """Returns a property that is text, empty if there is none."""
    found = plain(node.custom_properties[name]) if name in node.custom_properties else None
    return found if isinstance(found, str) else ""


def plain(value: pb.Value, is_flag: bool = False) -> Any:
    """Returns a property as JSON; `is_flag` says that the integers 0 and 1 are false and true."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "int_value":
        flag = is_flag and value.int_value in (0, 1)
        return bool(value.int_value) if flag else int(value.int_value)
    if kind == "proto_value":
        return _packed(value.proto_value)
    if kind == "struct_value":
        return _unwrapped(value.struct_value)
    return _number(value.double_value) if kind == "double_value" else getattr(value, kind)


def _set(target: pb.Value, name: str, value: Any) -> None:
    value = _held(clean(value))
    if isinstance(value, str):
        target.string_value = value
    elif isinstance(value, dict):
        target.struct_value.update({"struct": value})
    elif isinstance(value, list):
        target.struct_value.update({"list": value})
    elif isinstance(value, (int, float)):
        target.struct_value.update({"number": value})
    else:
        raise TypeError(f"{name}: {type(value).__name__} is not a JSON value: {value!r}")


def _held(value: Any) -> Any:
    """Returns a JSON value with the numbers that doubles cannot hold as text."""
    if isinstance(value, dict):
        return {key: _held(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_held(item) for item in value]
    return str(value) if isinstance(value, int) and abs(value) > sys.float_info.max else value


def _keep(node: Any, exact: Mapping[str, Any]) -> None:
    """Sets the exact values that MLMD's own types would change."""
    if exact:
        node.custom_properties[EXACT].string_value = json.dumps(exact, ensure_ascii=False)
    elif EXACT in node.custom_properties:
        del node.custom_properties[EXACT]


def _exact(node: Any) -> dict[str, Any]:
    """Returns the exact values of properties, by name."""
    try:
        found = json.loads(text(node, EXACT) or "{}")
    except ValueError:  # another writer's property
        return {}
    return found if isinstance(found, dict) else {}


def _stored(value: pb.Value) -> Any:
    """Returns the value that MLMD returns for a property."""
    is_double = value.WhichOneof("value") == "double_value"
    return _decimal(value.double_value) if is_double else plain(value, is_flag=True)


def _decimal(value: float) -> float:
    """Returns a double as MLMD stores it, which writes six decimals and reads 15 digits."""
    return float(f"{float(f'{float(value):f}'):.15g}")


def _unwrapped(value: struct_pb2.Struct) -> Any:
    content = _object(value)
    if len(content) == 1 and next(iter(content)) in ("list", "struct", "number"):
        return next(iter(content.values()))
    return content


def _object(value: struct_pb2.Struct) -> dict[str, Any]:
    return {name: _json(item) for name, item in sorted(value.fields.items())}


def _json(value: struct_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        return _number(value.number_value)
    if kind == "struct_value":
        return _object(value.struct_value)
    if kind == "list_value":
        return [_json(item) for item in value.list_value.values]
    return None if kind in (None, "null_value") else getattr(value, kind)


def _number(value: float) -> int | float:
    """Converts a whole float back to int, unless a double may have rounded it."""
    return whole(value) if abs(value) <= _WHOLE else value


def _packed(value: Any) -> Any:
    if value.Is(wrappers_pb2.StringValue.DESCRIPTOR):
        content = wrappers_pb2.StringValue()
        value.Unpack(content)
        return content.value
    if value.Is(struct_pb2.Struct.DESCRIPTOR):
        content = struct_pb2.Struct()
        value.Unpack(content)
        return _unwrapped(content)
    return None


def clean(value: Any) -> Any:
    """Returns a JSON value that protobuf and every database accept."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, Mapping):
        return {clean(str(key)): clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
