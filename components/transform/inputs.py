"""Converts raw rows to the inputs of `preprocessing_fn`, exactly as TFX does."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.tfxio.tensor_adapter import TensorAdapter, TensorAdapterConfig
from tfx_bsl.tfxio.tensor_representation_util import InferTensorRepresentationsFromMixedSchema

from millrace.data.lists import are_lists, to_list, to_value
from millrace.errors import DataError
from millrace.ml.features import absent_as_null, active_features, cast, single_valued

_VALUES = {
    schema_pb2.FLOAT: pa.float32(),
    schema_pb2.INT: pa.int64(),
    schema_pb2.BYTES: pa.binary(),
}


class RawInputs:
    """Converts batches of raw rows to tensors according to the schema.

    A required feature becomes a dense tensor of its shape, an optional one a `tf.SparseTensor`. The
    label has no sentinel for missing values: the empty text is a class.

    Attributes:
        schema: The schema.
        label: The label.
        config: The equivalent configuration for TFX's own readers.
        specs: The type of each tensor.
    """

    def __init__(self, schema: schema_pb2.Schema, label: str) -> None:
        self.schema = schema
        self.label = label
        self._features = active_features(schema)
        if not self._features:
            raise DataError("The schema has no feature in use, so there is nothing to transform.")
        self._arrow_schema = pa.schema(
            [pa.field(feature.name, pa.list_(_VALUES[feature.type])) for feature in self._features]
        )
        self.config = TensorAdapterConfig(
            self._arrow_schema, InferTensorRepresentationsFromMixedSchema(schema)
        )
        self._adapter = TensorAdapter(self.config)
        self.specs: dict[str, tf.TypeSpec] = self._adapter.OriginalTypeSpecs()

    def present(self, schema: pa.Schema) -> list[str]:
        """Returns the columns to read of examples of an Arrow schema.

        Raises:
            DataError: One is text and the schema says a number, or vice versa.
        """
        types = {feature.name: feature.type for feature in self._features}
        for field in schema:
            value = field.type.value_type if are_lists(field.type) else field.type
            number = pa.types.is_integer(value) or pa.types.is_floating(value)
            text = types.get(field.name, schema_pb2.BYTES) == schema_pb2.BYTES
            if field.name in types and not pa.types.is_null(value) and number == text:
                said = schema_pb2.FeatureType.Name(types[field.name])
                raise DataError(f'"{field.name}" is {value}, and the schema says {said}.')
        return [name for name in schema.names if name in types]

    def tensors(self, batch: pa.RecordBatch) -> dict[str, Any]:
        """Returns a batch as eager tensors by feature."""
        tensors: dict[str, Any] = self._adapter.ToBatchTensors(self.lists(batch))
        return tensors

    def lists(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Returns a batch with a list in each cell, in the layout of TFX's readers.

        Raises:
            DataError: A column does not agree with the schema.
        """
        columns = [self._column(batch, feature) for feature in self._features]
        return pa.RecordBatch.from_arrays(columns, schema=self._arrow_schema)

    def _column(self, batch: pa.RecordBatch, feature: schema_pb2.Feature) -> pa.Array:
        index = batch.schema.get_field_index(feature.name)
        kind = _VALUES[feature.type]
        required = feature.HasField("shape")
        if index < 0 and required:
            raise DataError(
                f'The examples lack the column "{feature.name}", which the schema requires.'
            )
        values = batch.column(index) if index >= 0 else pa.nulls(batch.num_rows, kind)
        if single_valued(feature):
            values = to_value(values, feature.name)
        if required and values.null_count:
            raise DataError(
                f'"{feature.name}" is missing in {values.null_count} of {batch.num_rows} rows, and'
                " the schema requires it in every row."
            )
        try:
            if are_lists(values.type):
                return values.cast(pa.list_(kind))
            values = cast(values, kind)
            kept = required or feature.name == self.label
            return to_list(values if kept else absent_as_null(values))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            name = schema_pb2.FeatureType.Name(feature.type)
            raise DataError(
                f'"{feature.name}" is {values.type}, and the schema says {name}: {error}'
            ) from error
