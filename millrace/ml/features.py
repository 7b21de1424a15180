"""Converts raw columns to the inputs of a model's `raw_features` signature.

The signature has one dense input of shape [rows, 1] for every single-valued feature of the schema
except the label. An optional feature that is missing in a row has a sentinel value:

    float32  NaN
    int64    the smallest 64-bit integer
    string   the empty string

As the signature cannot tell such a value from a missing one, nothing else does either: it counts as
missing in the rows that Transform learns from and in the tf.Examples for `serving_default`.

Inside the model such inputs become the `tf.SparseTensor`s that `preprocessing_fn` expects, by
operations that TFLite supports. An input has its column's name if TensorFlow accepts it, else one
from `input_names`.
"""

from __future__ import annotations

import dataclasses
import keyword
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tensorflow_metadata.proto.v0 import schema_pb2

from millrace.data import schemas
from millrace.data.lists import to_value
from millrace.errors import DataError
from millrace.ml.arrays import Array

if TYPE_CHECKING:
    import tensorflow as tf


SOURCES_FILE = "sources.json"  # in the transform graph: the source columns of each feature
INT_MISSING = np.iinfo(np.int64).min
_DTYPES = {schema_pb2.FLOAT: "float32", schema_pb2.INT: "int64", schema_pb2.BYTES: "string"}
_ARROW = {"float32": pa.float32(), "int64": pa.int64(), "string": pa.binary()}
_FILL = {"float32": np.float32("nan"), "int64": INT_MISSING, "string": b""}
_LEGAL = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_LONGEST = 128  # characters; names become parts of file names


@dataclasses.dataclass(frozen=True)
class RawFeature:
    """One input of the `raw_features` signature.

    Attributes:
        dtype: float32, int64 or string.
        required: Whether every row has a value; else the input may hold the sentinel.
        input: The name of the input, which is the column's own unless TensorFlow cannot take it.
    """

    dtype: str
    required: bool
    input: str


def raw_spec(schema: schema_pb2.Schema, label: str) -> dict[str, RawFeature]:
    """Returns the inputs of `raw_features` by column, in the schema's order.

    List features are left out, since the signature takes one value per row.
    """
    columns = [
        feature
        for feature in active_features(schema)
        if feature.name != label and single_valued(feature)
    ]
    names = input_names(feature.name for feature in columns)
    return {
        feature.name: RawFeature(
            _DTYPES[feature.type], feature.HasField("shape"), names[feature.name]
        )
        for feature in columns
    }


def active_features(schema: schema_pb2.Schema) -> list[schema_pb2.Feature]:
    """Returns the features of a schema that are in use: typed, and not in an ignored stage."""
    return [
        feature
        for feature in schema.feature
        if feature.type in _DTYPES and not schemas.ignored(feature)
    ]


def single_valued(feature: schema_pb2.Feature) -> bool:
    """Returns whether the schema limits a feature to one value per row."""
    if feature.HasField("shape"):
        return all(dimension.size == 1 for dimension in feature.shape.dim)
    return bool(feature.value_count.max == 1)


def input_names(columns: Iterable[str]) -> dict[str, str]:
    """Returns for each column a name that TensorFlow accepts as an argument of a signature.

    An ASCII identifier stays as it is. In other names, accents are dropped, everything else that is
    not a letter or digit becomes `_`, and very long names are cut. Where two names would differ in
    case only, which TensorFlow ignores, a number is added. The result depends on the set of
    columns, not on their order.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for column in sorted(columns, key=lambda name: (not _legal(name), name)):
        base = column if _legal(column) else _transliterate(column)
        name, number = base, 2
        while name.lower() in taken:
            name, number = f"{base}_{number}", number + 1
        names[column] = name
        taken.add(name.lower())
    return names


def absent_as_null(values: pa.Array) -> pa.Array:
    """Returns an optional feature's values, with null for the sentinel."""
    if pa.types.is_floating(values.type):
        stands = pc.is_nan(values)
    elif pa.types.is_integer(values.type):
        stands = pc.equal(values, INT_MISSING)
    elif _is_text(values.type):
        stands = pc.equal(pc.binary_length(values), 0)
    else:
        return values
    return pc.if_else(stands, None, values) if pc.any(stands).as_py() else values


def cast(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Casts values to a type; integers are rounded to what a floating-point type can hold."""
    return pc.cast(values, kind, safe=not pa.types.is_floating(kind))


def to_numpy(batch: pa.RecordBatch, spec: Mapping[str, RawFeature]) -> dict[str, Array]:
    """Returns a batch of raw rows as the inputs of `raw_features`, by input name.

    Each is of shape [rows, 1]. An optional column that the batch lacks is missing in every row.

    Raises:
        DataError: A required column is missing or has missing values, or a column is of another
            type.
    """
    result = {}
    for column, feature in spec.items():
        index = batch.schema.get_field_index(column)
        if index >= 0:
            values = _cast(to_value(batch.column(index), column), column, feature)
        elif feature.required:
            raise DataError(f'The rows lack the column "{column}", which the model needs.')
        else:
            values = pa.nulls(batch.num_rows, _ARROW[feature.dtype])
        result[feature.input] = _dense(values, column, feature)
    return result


def to_tensors(inputs: Mapping[str, tf.Tensor], spec: Mapping[str, RawFeature]) -> dict[str, Any]:
    """Returns the inputs of `raw_features` as `preprocessing_fn` takes them: sparse if optional."""
    return {
        column: inputs[feature.input] if feature.required else _sparse(inputs[feature.input])
        for column, feature in spec.items()
    }


def without_absent(features: Mapping[str, Any], spec: Mapping[str, RawFeature]) -> dict[str, Any]:
    """Returns parsed tf.Examples without the sentinel values."""
    import tensorflow as tf

    return {
        column: tf.sparse.retain(values, _present(values.values))
        if column in spec and not spec[column].required
        else values
        for column, values in features.items()
    }


def _legal(name: str) -> bool:
    # TensorFlow passes inputs as keyword arguments to a method.
    return (
        len(name) <= _LONGEST
        and bool(_LEGAL.fullmatch(name))
        and not keyword.iskeyword(name)
        and name != "self"
    )


def _transliterate(name: str) -> str:
    plain = (
        unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore").decode()
    )
    plain = re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_")[:_LONGEST].rstrip("_")
    return plain if _legal(plain) else f"column_{plain}".rstrip("_")


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_string(kind)
    )


def _cast(values: pa.Array, column: str, feature: RawFeature) -> pa.Array:
    if feature.dtype == "string" and not (_is_text(values.type) or pa.types.is_null(values.type)):
        raise DataError(f'"{column}" is {values.type}, and the schema says it is text.')
    try:
        return cast(values, _ARROW[feature.dtype])
    except pa.ArrowInvalid as error:
        raise DataError(
            f'"{column}" is {values.type} and cannot be read as {feature.dtype}: {error}'
        ) from error


def _dense(values: pa.Array, column: str, feature: RawFeature) -> Array:
    if values.null_count and feature.required:
        raise DataError(
            f'"{column}" is missing in {values.null_count} of {len(values)} rows, and the model was'
            " made from data in which it never is."
        )
    if values.null_count:
        values = pc.fill_null(values, pa.scalar(_FILL[feature.dtype], values.type))
    dense: Array = values.to_numpy(zero_copy_only=False).reshape(-1, 1)
    return dense


def _sparse(values: tf.Tensor) -> tf.SparseTensor:
    import tensorflow as tf

    where = tf.where(_present(values))
    shape = tf.stack([tf.shape(values, out_type=tf.int64)[0], tf.constant(1, tf.int64)])
    return tf.SparseTensor(where, tf.gather_nd(values, where), shape)


def _present(values: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    if values.dtype.is_floating:
        return tf.equal(values, values)  # NaN is not equal to itself
    return tf.not_equal(values, tf.constant(INT_MISSING if values.dtype == tf.int64 else ""))
