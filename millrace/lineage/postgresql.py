"""Works around MLMD's limits on PostgreSQL.

- MLMD writes text with a backslash as invalid SQL, which allows SQL injection.
- It indexes text, of which an index takes at most 2,704 bytes; structs are stored as text.

A property's value that does not fit goes into `proto_value`, which has neither problem, as
google.protobuf.StringValue or Struct. In names and addresses, a backslash becomes %5C.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import struct_pb2, wrappers_pb2
from google.protobuf.message import Message

from millrace.lineage.mlmd import pb

_TEXT = 2_000  # bytes
_STRUCT = 1_400  # bytes, before base64
_TEXTS = {"name", "type", "uri", "external_id", "version", "description"}  # of nodes and types


def fit(argument: Any) -> Any:
    """Returns an argument of MLMD's client in a form to send; changes messages in place."""
    if isinstance(argument, str):
        return argument.replace("\\", "%5C")
    if isinstance(argument, (list, tuple)):
        return type(argument)(map(fit, argument))
    if isinstance(argument, pb.Event):
        for step in argument.path.steps:
            if step.HasField("key"):
                step.key = fit(step.key)
    elif isinstance(argument, Message):
        _fit_node(argument)
    return argument


def _fit_node(node: Any) -> None:
    """Changes an execution, artifact or context, or a type of them."""
    for name in _TEXTS.intersection(node.DESCRIPTOR.fields_by_name):
        if "\\" in getattr(node, name):
            setattr(node, name, fit(getattr(node, name)))
    properties = getattr(node, "custom_properties", {})
    for name in list(properties):
        _fit_value(properties[name])
        if "\\" in name:
            properties[fit(name)].CopyFrom(properties[name])
            del properties[name]


def _fit_value(value: Any) -> None:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        text = value.string_value
        if "\\" in text or len(text.encode()) > _TEXT:
            value.proto_value.Pack(wrappers_pb2.StringValue(value=text))
    elif kind == "struct_value" and value.struct_value.ByteSize() > _STRUCT:
        content = struct_pb2.Struct()
        content.CopyFrom(value.struct_value)
        value.proto_value.Pack(content)
