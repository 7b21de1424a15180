"""Turns columns of values into columns of lists, the Arrow layout that TFX's libraries share.

A value becomes a list of one, a missing value a missing list; a column of lists stays as it is.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def to_lists(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Returns a batch as TFX's libraries read it; only columns with missing values are copied."""
    return pa.RecordBatch.from_arrays(
        [to_list(column) for column in batch.columns], names=batch.schema.names
    )


def to_list(column: pa.Array) -> pa.Array:
    """Returns a column with each value as a list."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return column
    if not column.null_count:
        return pa.ListArray.from_arrays(
            pa.array(np.arange(len(column) + 1, dtype=np.int32)), column
        )
    missing = column.is_null().to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(column) + 1, np.int32)
    np.cumsum(~missing, out=offsets[1:])
    # A missing offset stands for a missing list.
    return pa.ListArray.from_arrays(
        pa.array(offsets, mask=np.append(missing, False)), column.drop_null()
    )
