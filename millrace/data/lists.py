"""Converts columns of values to columns of lists, the Arrow layout of TFX's libraries.

A value becomes a list of one, a missing value a missing list; columns of lists stay as they are.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.errors import DataError


def to_lists(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Returns a batch in the layout of TFX's libraries; copies only columns with missing values."""
    return pa.RecordBatch.from_arrays(
        [to_list(column) for column in batch.columns], names=batch.schema.names
    )


def are_lists(kind: pa.DataType) -> bool:
    """Returns whether a column of a type holds lists."""
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def to_value(column: pa.Array, name: str) -> pa.Array:
    """Returns a column with the value of each list; an empty list is a missing value.

    Raises:
        DataError: A list has more than one value.
    """
    if not are_lists(column.type):
        return column
    lengths = pc.fill_null(pc.list_value_length(column), 0)
    longest = pc.max(lengths).as_py() or 0
    if longest > 1:
        raise DataError(
            f'"{name}" holds lists of up to {longest:,} values, and the schema says it holds one.'
        )
    rows = np.cumsum(lengths.to_numpy()) - 1
    return column.flatten().take(pa.array(rows, mask=lengths.to_numpy() == 0))


def to_list(column: pa.Array) -> pa.Array:
    """Returns a column with each value as a list."""
    if are_lists(column.type):
        return column
    if not column.null_count:
        return pa.ListArray.from_arrays(
            pa.array(np.arange(len(column) + 1, dtype=np.int32)), column
        )
    missing = column.is_null().to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(column) + 1, np.int32)
    np.cumsum(~missing, out=offsets[1:])
    # A missing offset means a missing list.
    return pa.ListArray.from_arrays(
        pa.array(offsets, mask=np.append(missing, False)), column.drop_null()
    )
