"""Profiles each column for the default transform, in one pass over the raw rows."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from tensorflow_metadata.proto.v0 import schema_pb2

from millrace.data import examples
from millrace.data.lists import are_lists
from millrace.ml.arrays import Array
from millrace.ml.features import absent_as_null, active_features, single_valued
from millrace.ml.moments import Moments
from millrace.ml.problem import are_written_numbers

LARGEST = 3.4e38  # about the largest finite float32
LEVELS = 32  # an integer column with at most this many values is also made a category
_DATE = re.compile(
    r"(\d{4}([-/.])\d{1,2}\2\d{1,2}|\d{1,2}([-/.])\d{1,2}\3(\d{4}|\d{2})"
    r"|\d{1,2}\.?[ -][^\W\d]{3,9}\.?,?[ -]\d{2,4}|[^\W\d]{3,9}\.? \d{1,2},? \d{4})([T ].*)?"
)
_FAR = 100  # standard deviations from zero: float32 then keeps fewer than 17 bits of the deviation
_FARTHEST = 2.0**62  # so that the difference of two integers fits 64 bits
_SAMPLE = 100  # distinct texts, all of which must match


@dataclasses.dataclass(frozen=True)
class Column:
    """The profile of a raw column.

    Attributes:
        name: Its name.
        type: The schema's type: INT, FLOAT or BYTES.
        rows: All rows.
        present: Rows with a value; for numbers, a finite float32.
        distinct: The number of distinct values: exact for few, within some percent for many.
        example: A value, as text.
        low: The smallest number.
        high: The largest number.
        deviation: The standard deviation of the numbers.
        offset: About the mean of numbers far from zero relative to their deviation, else 0.
        characters: The mean length of a text in bytes.
        spaces: The mean number of spaces in a text.
        dates: Whether its texts are dates.
        written_numbers: Whether its texts are numbers with units or thousands separators.
        levels: The values of an integer column with few values.
    """

    name: str
    type: int
    rows: int
    present: int
    distinct: int
    example: str = ""
    low: float = 0.0
    high: float = 0.0
    deviation: float = 0.0
    offset: float = 0.0
    characters: float = 0.0
    spaces: float = 0.0
    dates: bool = False
    written_numbers: bool = False
    levels: tuple[int, ...] = ()


def columns(
    root: Path, splits: Sequence[str], schema: schema_pb2.Schema, label: str
) -> list[Column]:
    """Profiles every feature of the schema but the label and those that cannot be used."""
    known = examples.schema(root, splits[0])
    features = [
        feature
        for feature in active_features(schema)
        if feature.name != label and not unfit(feature, known)
    ]
    summaries = [
        _TextSummary() if feature.type == schema_pb2.BYTES else _NumberSummary()
        for feature in features
    ]
    names = [feature.name for feature in features]
    rows = 0
    for batch in _batches(root, splits, names):
        rows += batch.num_rows
        for feature, summary in zip(features, summaries, strict=True):
            values = batch.column(batch.schema.get_field_index(feature.name))
            summary.add(values if feature.HasField("shape") else absent_as_null(values))
    return [
        summary.column(feature, rows) for feature, summary in zip(features, summaries, strict=True)
    ]


def unfit(feature: schema_pb2.Feature, known: pa.Schema) -> str:
    """Returns why a feature cannot be used, whatever its values; an empty text if it can.

    Args:
        feature: The feature.
        known: The schema of the examples.
    """
    if feature.name not in known.names:
        return "the examples do not have it"
    if are_lists(known.field(feature.name).type):
        return "it holds lists"
    if not single_valued(feature):
        return "the schema lets it hold lists"
    return ""


def _batches(root: Path, splits: Sequence[str], names: list[str]) -> Iterable[pa.RecordBatch]:
    for split in splits:
        yield from examples.read(root, split, names)


class _Distinct:
    """Estimates the number of distinct values from their smallest hashes.

    Source: Bar-Yossef et al., Counting Distinct Elements in a Data Stream, 2002.
    """

    KEPT = 2048

    def __init__(self) -> None:
        self._smallest = np.empty(0, np.uint64)
        self._values = np.empty(0, object)  # hashes that are kept

    def add(self, values: Array) -> None:
        hashes, first = np.unique(pd.util.hash_array(values, categorize=False), return_index=True)
        hashes = np.concatenate([self._smallest, hashes[: self.KEPT]])
        known = np.concatenate([self._values, values[first[: self.KEPT]]])
        self._smallest, first = (each[: self.KEPT] for each in np.unique(hashes, return_index=True))
        self._values = known[first]

    def number(self) -> int:
        if len(self._smallest) < self.KEPT:
            return len(self._smallest)
        return round((self.KEPT - 1) * 2.0**64 / float(self._smallest[-1]))

    def some(self, most: int) -> list[Any]:
        """Returns distinct values from all over the column, independent of the order of rows."""
        return list(self._values[:most])


class _NumberSummary:
    """Summarizes a column of numbers, batch by batch."""

    def __init__(self) -> None:
        self._present = 0
        self._low: Any = np.inf
        self._high: Any = -np.inf
        self._moments = Moments(1)
        self._distinct = _Distinct()
        self._levels: set[int] | None = set()

    def add(self, values: pa.Array) -> None:
        numbers = values.drop_null().to_numpy(zero_copy_only=False)
        if numbers.dtype.kind == "f":
            numbers = numbers[np.abs(numbers) <= LARGEST]  # false for NaN, too
        if not len(numbers):
            return
        self._present += len(numbers)
        self._low = min(self._low, numbers.min())
        self._high = max(self._high, numbers.max())
        self._moments.add(numbers)
        self._distinct.add(numbers)
        if self._levels is not None:
            # A column with few values in all has few in this batch.
            few = numbers.dtype.kind == "i" and self._distinct.number() <= LEVELS
            self._levels = self._levels | set(np.unique(numbers).tolist()) if few else None

    def column(self, feature: schema_pb2.Feature, rows: int) -> Column:
        levels = tuple(sorted(self._levels or ())) if feature.type == schema_pb2.INT else ()
        return Column(
            feature.name,
            feature.type,
            rows,
            self._present,
            self._distinct.number(),
            example=str(self._low).removesuffix(".0"),
            low=float(self._low),
            high=float(self._high),
            deviation=float(self._moments.deviations[0]),
            offset=self._offset(feature),
            levels=levels if len(levels) > 2 else (),
        )

    def _offset(self, feature: schema_pb2.Feature) -> float:
        mean, deviation = float(self._moments.mean[0]), float(self._moments.deviations[0])
        if not deviation or not _FAR * deviation < abs(mean) < _FARTHEST:
            return 0.0
        return float(round(mean)) if feature.type == schema_pb2.INT else float(np.float32(mean))


class _TextSummary:
    """Summarizes a column of text, batch by batch."""

    def __init__(self) -> None:
        self._present = self._bytes = self._spaces = 0
        self._distinct = _Distinct()

    def add(self, values: pa.Array) -> None:
        texts = values.drop_null().cast(pa.binary())
        if not len(texts):
            return
        self._present += len(texts)
        self._bytes += pc.sum(pc.binary_length(texts)).as_py()
        self._spaces += pc.sum(pc.count_substring(texts, " ")).as_py()
        different = texts.dictionary_encode().dictionary
        self._distinct.add(different.to_numpy(zero_copy_only=False))

    def column(self, feature: schema_pb2.Feature, rows: int) -> Column:
        number = max(self._present, 1)
        sample = [text.decode(errors="replace") for text in self._distinct.some(_SAMPLE)]
        return Column(
            feature.name,
            feature.type,
            rows,
            self._present,
            self._distinct.number(),
            example=next(iter(sample), ""),
            characters=self._bytes / number,
            spaces=self._spaces / number,
            dates=bool(sample) and all(map(_DATE.fullmatch, sample)),
            written_numbers=are_written_numbers(sample),
        )
