"""Counts the values of a label in bounded memory."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from millrace.data import examples
from millrace.errors import DataError, ParameterError, nearest

KEPT = 10_000  # the most distinct values that are counted; more cannot be classes


@dataclasses.dataclass
class Labels:
    """The values of a label in some rows.

    Attributes:
        rows: Rows with a value.
        missing: Rows without one; NaN and infinite values count as missing.
        counts: How often each value occurs; if not complete, among some of the rows only.
        complete: Whether `counts` holds all values.
        low: The minimum of numbers.
        high: The maximum of numbers.
    """

    rows: int = 0
    missing: int = 0
    counts: collections.Counter[Any] = dataclasses.field(default_factory=collections.Counter)
    complete: bool = True
    low: float | None = None
    high: float | None = None

    def add(self, values: pa.Array) -> None:
        """Counts a batch of values."""
        if pa.types.is_floating(values.type):
            values = pc.if_else(pc.is_finite(values), values, None)
        self.missing += values.null_count
        values = values.drop_null()
        self.rows += len(values)
        if not pa.types.is_string(values.type) and not pa.types.is_large_string(values.type):
            self._extend(*pc.min_max(values).as_py().values())
        if self.complete:
            counted = values.value_counts()
            keys, numbers = counted.field(0).to_pylist(), counted.field(1).to_pylist()
            self._count(dict(zip(keys, numbers, strict=True)))

    @classmethod
    def merge(cls, parts: Iterable[Labels]) -> Labels:
        """Returns the merged counts of all parts."""
        whole = cls()
        for part in parts:
            whole.rows += part.rows
            whole.missing += part.missing
            whole.complete = whole.complete and part.complete
            whole._extend(part.low, part.high)
            whole._count(part.counts)
        return whole

    @property
    def are_text(self) -> bool:
        """Whether the values are text."""
        return any(isinstance(value, str) for value in self.counts)

    def _count(self, counts: dict[Any, int]) -> None:
        self.counts.update(counts)
        self.complete = self.complete and len(self.counts) <= KEPT

    def _extend(self, low: float | None, high: float | None) -> None:
        if low is not None and high is not None:
            self.low = low if self.low is None else min(self.low, low)
            self.high = high if self.high is None else max(self.high, high)


def count(root: Path, split: str, label: str) -> Labels:
    """Counts the values of the label in a split.

    Raises:
        ParameterError: There is no such column.
        DataError: The column is neither numbers nor text.
    """
    schema = examples.schema(root, split)
    if label not in schema.names:
        raise ParameterError(
            f'There is no column "{label}" to predict.{nearest(label, schema.names)}'
        )
    kind = schema.field(label).type
    if not (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_null(kind)
    ):
        raise DataError(f'The label "{label}" is {kind}; it must be a number or text.')
    labels = Labels()
    for batch in examples.read(root, split, [label]):
        labels.add(batch.column(0))
    return labels
