"""Converts the features that a transform returns to Arrow columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from millrace.errors import ModuleError

_ARROW = {tf.float32: pa.float32(), tf.int64: pa.int64(), tf.string: pa.binary()}


class Features:
    """Converts tensors to record batches.

    One value per row becomes a plain column, a fixed number of values a fixed-size list, and a
    sparse or ragged tensor a list.

    Attributes:
        schema: The Arrow schema of every batch.
    """

    def __init__(self, spec: Mapping[str, Any]) -> None:
        """Prepares for features as `TFTransformOutput.transformed_feature_spec()` describes them.

        Raises:
            ModuleError: A feature is sparse or ragged in more than two dimensions.
        """
        self._sizes: dict[str, int | None] = {}
        fields = []
        for name, feature in sorted(spec.items()):
            if isinstance(feature, tf.io.FixedLenFeature):
                size = int(np.prod(feature.shape, dtype=np.int64))
            elif isinstance(feature, tf.io.VarLenFeature) or (
                isinstance(feature, tf.io.RaggedFeature) and not feature.partitions
            ):
                size = None
            else:
                raise ModuleError(
                    f'preprocessing_fn returned "{name}" sparse or ragged in more than two'
                    " dimensions: return it dense."
                )
            self._sizes[name] = size
            value = _ARROW[feature.dtype]
            kind = (
                pa.list_(value) if size is None else value if size == 1 else pa.list_(value, size)
            )
            fields.append(pa.field(name, kind))
        self.schema = pa.schema(fields)

    def batch(self, tensors: Mapping[str, Any], rows: int) -> pa.RecordBatch:
        """Returns the features of a batch of rows.

        Raises:
            ModuleError: A feature has another number of rows.
        """
        columns = []
        for name, size in self._sizes.items():
            tensor = tensors[name]
            column = self._list(name, tensor) if size is None else self._dense(name, tensor, size)
            if len(column) != rows:
                raise ModuleError(
                    f'preprocessing_fn returned {len(column)} rows of "{name}" for {rows} raw rows.'
                )
            columns.append(column)
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _dense(self, name: str, tensor: tf.Tensor, size: int) -> pa.Array:
        kind = self.schema.field(name).type
        flat = pa.array(tensor.numpy().reshape(-1), kind if size == 1 else kind.value_type)
        return flat if size == 1 else pa.FixedSizeListArray.from_arrays(flat, size)

    def _list(self, name: str, tensor: tf.SparseTensor | tf.RaggedTensor) -> pa.Array:
        values = self.schema.field(name).type.value_type
        if isinstance(tensor, tf.RaggedTensor):
            offsets = tensor.row_splits.numpy().astype(np.int32)
            return pa.ListArray.from_arrays(
                pa.array(offsets), pa.array(tensor.flat_values.numpy(), values)
            )
        rows = int(tensor.dense_shape[0])
        lengths = np.bincount(tensor.indices.numpy()[:, 0], minlength=rows)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(tensor.values.numpy(), values))
