"""Columns that tell the label by themselves: most often a copy of it that no new row will have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.data import examples
from millrace.problem import Kind, Problem

_ROWS = 10_000  # that are looked at
_PER_VALUE = 10  # rows, on average: of fewer, each value may have a single class by accident
_FEWEST = 20  # rows of other classes than the most frequent, or rows with both numbers
_SAME = 1 - 1e-9  # squared correlation: the label but for its unit


def find(root: Path, splits: Sequence[str], names: Sequence[str], posed: Problem) -> list[str]:
    """Returns the columns, of those named, from which alone the label can be computed.

    Of a classification, each value of such a column, and its absence, comes with one class only;
    of a regression, it is the label in another unit.
    """
    batches = list(_first(root, splits, [*names, posed.label]))
    table = pa.Table.from_batches(batches).combine_chunks()
    label = table.column(posed.label)
    tells = _tells_number if posed.kind is Kind.REGRESSION else _tells_class
    return [name for name in names if tells(table.column(name), label)]


def _first(root: Path, splits: Sequence[str], names: list[str]) -> Iterator[pa.RecordBatch]:
    rows = 0
    for split in splits:
        for batch in examples.read(root, split, names, batch_rows=_ROWS):
            yield batch.slice(0, _ROWS - rows)
            rows = min(_ROWS, rows + batch.num_rows)
            if rows == _ROWS:
                return


def _tells_class(values: pa.ChunkedArray, label: pa.ChunkedArray) -> bool:
    value, label = _codes(values), _codes(label)
    different = len(np.unique(value))
    if different * _PER_VALUE > len(value):
        return False
    if len(label) - np.bincount(label).max() < _FEWEST:
        return False
    pairs = np.unique(value.astype(np.int64) * (int(label.max()) + 1) + label)
    return len(pairs) == different


def _tells_number(values: pa.ChunkedArray, label: pa.ChunkedArray) -> bool:
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        return False
    x, y = (_numbers(column) for column in (values, label))
    both = np.isfinite(x) & np.isfinite(y)
    if np.count_nonzero(both) < _FEWEST:
        return False
    x, y = _standard(x[both]), _standard(y[both])
    return bool(np.mean(x * y) ** 2 > _SAME)


def _standard(values: np.ndarray) -> np.ndarray:
    values = values - values.mean()
    return values / (values.std() or 1.0)


def _codes(values: pa.ChunkedArray) -> np.ndarray:
    encoded = values.combine_chunks().dictionary_encode()
    codes: np.ndarray = pc.fill_null(encoded.indices, -1).to_numpy() + 1
    return codes


def _numbers(values: pa.ChunkedArray) -> np.ndarray:
    numbers: np.ndarray = pc.fill_null(values.cast(pa.float64()), float("nan")).to_numpy()
    return numbers
