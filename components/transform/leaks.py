"""Finds columns that leak the label: usually a copy of it that new rows will not have.

All rows are read, but a column is dropped at the first rows that contradict it.
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from millrace.data import examples
from millrace.ml.arrays import Array
from millrace.ml.features import absent_as_null, cast
from millrace.ml.moments import Moments
from millrace.ml.problem import Kind, Problem

_PER_VALUE = 10  # rows per value on average: with fewer, a value may have a single class by chance
_MOST_VALUES = 10_000
_FEWEST = 20  # rows of other classes than the most frequent, or rows with both numbers
_ROUNDING = 1e-9  # of the label's variance, if a column is the label in another unit
_DROP = 1e-6  # of the labels' distances from their median: smaller decreases are rounding


def find(root: Path, splits: Sequence[str], names: Sequence[str], posed: Problem) -> list[str]:
    """Returns those of the named columns that determine the label by themselves.

    For a classification, each value of such a column, and its absence, comes with one class only;
    for a regression, the column is the label in another unit wherever it has a value.
    """
    suspects = _suspects(root, splits, names, posed) if names else {}
    groups = [
        (path, group)
        for split in splits
        for path in examples.shards(root, split)
        for group in range(pq.read_metadata(path).num_row_groups)
    ]
    # In random order, since in a sorted table only distant rows contradict a column.
    for position in np.random.default_rng(0).permutation(len(groups)):
        if not suspects:
            break
        path, group = groups[position]
        with contextlib.closing(pq.ParquetFile(path)) as file:
            rows = file.read_row_group(group, columns=[*suspects, posed.label])
        label = rows.column(posed.label).combine_chunks()  # without a sentinel for missing
        suspects = {
            name: suspect
            for name, suspect in suspects.items()
            if suspect.agrees(_column(rows, name), label)
        }
    return [name for name, suspect in suspects.items() if suspect.confirmed()]


def _suspects(
    root: Path, splits: Sequence[str], names: Sequence[str], posed: Problem
) -> Mapping[str, _Classes | _Line]:
    """Returns every column, or none if the label does not allow such a finding."""
    labels = (
        batch.column(0) for split in splits for batch in examples.read(root, split, [posed.label])
    )
    if posed.kind is Kind.REGRESSION:
        whole = Moments(1)
        for values in labels:
            whole.add(_numbers(values))
        return {name: _Line(_ROUNDING * float(whole.products[0, 0])) for name in names}
    counts: collections.Counter[Any] = collections.Counter()
    for values in labels:
        counted = values.value_counts()
        counts.update(
            dict(zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True))
        )
    if counts.total() - max(counts.values()) < _FEWEST:
        return {}
    most = min(counts.total() // _PER_VALUE, _MOST_VALUES)
    return {name: _Classes(most) for name in names}


class _Classes:
    """The hypothesis that each of a column's few values has one class."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._class: dict[Any, Any] = {}

    def agrees(self, values: pa.Array, label: pa.Array) -> bool:
        """Adds rows, and returns whether none has contradicted it yet."""
        encoded, classes = (column.dictionary_encode() for column in (values, label))
        if len(encoded.dictionary) > self._most:
            return False
        code = pc.fill_null(encoded.indices, len(encoded.dictionary)).to_numpy().astype(np.int64)
        pairs = np.unique(code * len(classes.dictionary) + classes.indices.to_numpy())
        value_of = [*encoded.dictionary.to_pylist(), None]
        class_of = classes.dictionary.to_pylist()
        for pair in pairs.tolist():
            value, found = value_of[pair // len(class_of)], class_of[pair % len(class_of)]
            if self._class.setdefault(value, found) != found:
                return False
        return len(self._class) <= self._most

    def confirmed(self) -> bool:
        """Returns whether all rows together confirm it."""
        return True


class _Line:
    """The hypothesis that a column is the label in another unit: all rows lie on one line.

    Next to a few labels of a larger magnitude, all others would seem to be on the line. So the
    label must also be monotonic in the column.
    """

    def __init__(self, most: float) -> None:
        """Sets the largest sum of squared distances from the line."""
        self._most = most
        self._moments = Moments(2)

    def agrees(self, values: pa.Array, label: pa.Array) -> bool:
        """Adds rows, and returns whether none has contradicted it yet."""
        if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
            return False
        x, y = (_numbers(column) for column in (values, label))
        both = np.isfinite(x) & np.isfinite(y)
        x, y = x[both], y[both]
        self._moments.add(x, y)
        falls = self._moments.products[0, 1] < 0.0
        return self._distances() <= self._most and _in_order(-x if falls else x, y)

    def confirmed(self) -> bool:
        """Returns whether all rows together confirm it."""
        (xx, _), (_, yy) = self._moments.products
        return bool(
            self._moments.number >= _FEWEST and xx > 0.0 and self._distances() <= _ROUNDING * yy
        )

    def _distances(self) -> float:
        """Returns the sum of the squared distances of the label from the line."""
        (xx, xy), (_, yy) = self._moments.products
        return float(yy - (xy * xy / xx if xx else 0.0))


def _in_order(x: Array, y: Array) -> bool:
    """Returns whether y never falls as x grows, apart from rounding."""
    if not len(y):
        return True
    y = y[np.lexsort((y, x))]
    apart = np.abs(y - np.median(y))
    return bool(np.all(np.maximum.accumulate(y) - y <= _DROP * (apart + np.median(apart))))


def _column(rows: pa.Table, name: str) -> pa.Array:
    return absent_as_null(rows.column(name).combine_chunks())


def _numbers(values: pa.Array) -> Array:
    numbers: Array = pc.fill_null(cast(values, pa.float64()), np.nan).to_numpy()
    return numbers
