"""Makes records fit MLMD's tables on PostgreSQL, which it serves less well than SQLite and MySQL.

- It writes a text with a backslash as SQL that is not valid, and that would let the text speak SQL:
  in values, and in the names of types, nodes and ports, where it is written `%5C`.
- It indexes text, and an index takes no more than 2,704 bytes of it; structs are text to it.

What does not fit goes into `proto_value`, which is neither: as google.protobuf.StringValue or
Struct.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf import wrappers_pb2

from millrace.errors import StoreError

_TEXT = 2_000  # bytes
_STRUCT = 1_400  # bytes, before base64


def fit(nodes: Iterable[Any]) -> None:
    """Changes executions, artifacts and contexts so that they can be written."""
    for node in nodes:
        if "\\" in getattr(node, "name", ""):
            raise StoreError(
                f'The name "{node.name}" has a backslash, which PostgreSQL cannot hold.'
            )
        if "\\" in getattr(node, "uri", ""):
            node.uri = address(node.uri)
        for value in node.custom_properties.values():
            _fit_value(value)


def address(text: str) -> str:
    """Return a URI, or the name of a type or port, as PostgreSQL holds it."""
    return text.replace("\\", "%5C")


def fit_events(events: Iterable[Any]) -> None:
    """Change events so that they can be written: their paths hold the names of ports."""
    for event in events:
        for step in event.path.steps:
            if step.HasField("key"):
                step.key = address(step.key)


def _fit_value(value: Any) -> None:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        text = value.string_value
        if "\\" in text or len(text.encode()) > _TEXT:
            value.proto_value.Pack(wrappers_pb2.StringValue(value=text))
    elif kind == "struct_value" and value.struct_value.ByteSize() > _STRUCT:
        content = type(value.struct_value)()
        content.CopyFrom(value.struct_value)
        value.proto_value.Pack(content)
