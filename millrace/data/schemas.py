"""Reads and writes TensorFlow Metadata's schema: `schema.pbtxt`."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from millrace.errors import DataError

FILE = "schema.pbtxt"
# tfx-bsl, and so TFT, makes no tensors for features in these stages.
_IGNORED_STAGES = frozenset(
    {
        schema_pb2.ALPHA,
        schema_pb2.DEBUG_ONLY,
        schema_pb2.DEPRECATED,
        schema_pb2.DISABLED,
        schema_pb2.PLANNED,
        schema_pb2.VALIDATION_DERIVED,
    }
)


def ignored(feature: schema_pb2.Feature) -> bool:
    """Returns whether later steps ignore a feature, such as a column without any value."""
    return feature.lifecycle_stage in _IGNORED_STAGES


def required(feature: schema_pb2.Feature) -> bool:
    """Returns whether a feature has a value in every row."""
    return not ignored(feature) and feature.presence.min_fraction == 1


def save(root: Path, schema: schema_pb2.Schema) -> None:
    """Writes a schema into an artifact's folder."""
    root.mkdir(parents=True, exist_ok=True)
    (root / FILE).write_text(text_format.MessageToString(schema, as_utf8=True), encoding="utf-8")


def load(root: Path) -> schema_pb2.Schema:
    """Reads the schema of an artifact.

    Raises:
        DataError: The schema is missing or damaged.
    """
    return read(root / FILE)


def read(path: Path) -> schema_pb2.Schema:
    """Reads a schema from a file in protobuf's text format.

    Raises:
        DataError: There is no such file, or it does not hold a schema.
    """
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), schema_pb2.Schema())
    except FileNotFoundError:
        raise DataError(f"There is no schema {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read the schema {path}: {error}") from error
    except text_format.ParseError as error:
        raise DataError(f"{path} is not a schema in protobuf's text format: line {error}") from None
