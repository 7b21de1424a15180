"""Slices: the rows that share the values of one column or of several."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from millrace.errors import ParameterError, nearest
from millrace.ml.arrays import Array
from millrace.ml.metrics import Groups

Value = str | int | float | None


def specs(slice_columns: Sequence[Any], schema: pa.Schema) -> list[tuple[str, ...]]:
    """Returns the columns of each way to slice, without repetition.

    Raises:
        ParameterError: An entry is neither a column of the examples nor a list of columns.
    """
    result: list[tuple[str, ...]] = []
    for entry in slice_columns:
        columns = [entry] if isinstance(entry, str) else entry
        if not isinstance(columns, list) or not columns:
            raise ParameterError(
                f"slice_columns: {entry!r} must be a column, or a list of columns to cross."
            )
        for column in columns:
            _check(column, schema)
        spec = tuple(dict.fromkeys(columns))
        if spec not in result:
            result.append(spec)
    return result


@dataclasses.dataclass(frozen=True)
class Slicing:
    """The slices of all rows by one column or a cross of several.

    Attributes:
        columns: The columns.
        values: Their values in each slice.
        groups: The slice of each row.
    """

    columns: tuple[str, ...]
    values: list[tuple[Value, ...]]
    groups: Groups


class Encoder:
    """Encodes columns as small integers, batch by batch."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._codes: dict[str, list[Array]] = {column: [] for column in columns}
        self._values: dict[str, dict[Value, int]] = {column: {} for column in columns}

    def add(self, batch: pa.RecordBatch) -> None:
        """Adds the columns of a batch."""
        for column, parts in self._codes.items():
            values = batch.column(batch.schema.get_field_index(column)).dictionary_encode()
            known = self._values[column]
            codes = [
                known.setdefault(_plain(value), len(known))
                for value in values.dictionary.to_pylist()
            ]
            index = values.indices
            if index.null_count:
                codes.append(known.setdefault(None, len(known)))
                index = index.fill_null(len(codes) - 1)
            table = np.array(codes or [0], np.int32)
            parts.append(table[index.to_numpy(zero_copy_only=False)])

    def slicing(self, columns: tuple[str, ...]) -> Slicing:
        """Returns the slices by one column, or by all that occur of a cross."""
        values = [list(self._values[column]) for column in columns]
        codes = [np.concatenate(self._codes[column]) for column in columns]
        if len(columns) == 1:
            return Slicing(
                columns, [(value,) for value in values[0]], Groups(codes[0], len(values[0]))
            )
        crossed = np.zeros(len(codes[0]), np.int64)
        for code, value in zip(codes, values, strict=True):
            # Renumbered after each column, so that a cross of many columns does not overflow.
            crossed = np.unique(crossed * len(value) + code, return_inverse=True)[1].reshape(-1)
        _, first = np.unique(crossed, return_index=True)
        rows = [
            tuple(value[code[row]] for code, value in zip(codes, values, strict=True))
            for row in first
        ]
        return Slicing(columns, rows, Groups(crossed, len(rows)))


def label(columns: Sequence[str], values: Sequence[Value]) -> str:
    """Returns a slice's name, such as `carrier = AA, origin = JFK`."""
    return ", ".join(
        f"{column} = {show(value)}" for column, value in zip(columns, values, strict=True)
    )


def show(value: Value) -> str:
    """Returns a value as visible text."""
    return "missing" if value is None else str(value) or '""'


def _check(column: Any, schema: pa.Schema) -> None:
    if not isinstance(column, str) or column not in schema.names:
        hint = nearest(column, schema.names) if isinstance(column, str) else ""
        raise ParameterError(f'slice_columns: "{column}" is not a column of the examples.{hint}')
    kind = schema.field(column).type
    if pa.types.is_nested(kind):
        raise ParameterError(
            f'slice_columns: "{column}" is {kind}; rows can be sliced by single values only.'
        )


def _plain(value: Any) -> Value:
    """Returns a value that JSON can hold and that equals itself."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    plain: Value = value
    return plain
