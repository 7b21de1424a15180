"""Summarizes the transformed features for the report: sources, ranges and histograms."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow_transform as tft
from tensorflow_metadata.proto.v0 import schema_pb2

from millrace.data.lists import are_lists
from millrace.ml.arrays import Array
from millrace.ml.moments import Moments
from millrace.ml.problem import Kind, Problem

_BARS = 24
_SAMPLE = 4096  # values of a feature that are kept for its histogram
_TOKENS = 4
_COARSE = 0.01  # of the label's standard deviation: the largest harmless step of float32
_NO_TOKEN = tft.analyzers.get_empy_vocabulary_dummy_value("string")[1]
_WIDTH, _HEIGHT = 120, 22


@dataclasses.dataclass(frozen=True)
class Row:
    """A feature, as a row of the report's table.

    Attributes:
        name: The feature.
        sources: The raw columns that it is computed from.
        kind: Its type, in a few words.
        path: Its histogram or frequencies, as an SVG path.
        range: Its minimum, mean and maximum; None where it has none.
        remark: Values of a category, most frequent first.
    """

    name: str
    sources: Sequence[str]
    kind: str
    path: str
    range: tuple[float | None, float | None, float | None]
    remark: str


@dataclasses.dataclass
class _ValueSummary:
    """Extremes and moments of a feature's values, and a sample of them."""

    low: float = np.inf
    high: float = -np.inf
    moments: Moments = dataclasses.field(default_factory=lambda: Moments(1))
    sample: Array = dataclasses.field(default_factory=lambda: np.empty(0))
    stride: int = 1

    @property
    def number(self) -> int:
        """The number of values."""
        return self.moments.number

    @property
    def mean(self) -> float:
        """Their mean."""
        return float(self.moments.mean[0])

    @property
    def deviation(self) -> float:
        """Their standard deviation."""
        return float(self.moments.deviations[0])

    def add(self, values: Array) -> None:
        finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        if not len(finite):
            return
        self.low = min(self.low, float(finite.min()))
        self.high = max(self.high, float(finite.max()))
        self.moments.add(finite)
        self.sample = np.concatenate([self.sample, finite[:: self.stride]])
        while len(self.sample) > _SAMPLE:
            self.sample, self.stride = self.sample[::2], 2 * self.stride


class FeatureSummary:
    """Summarizes the transformed batches of all splits.

    Attributes:
        spec: The features, as TensorFlow's feature specs.
        problem: The prediction problem.
    """

    def __init__(self, output: tft.TFTransformOutput, problem: Problem) -> None:
        self.spec = output.transformed_feature_spec()
        self.problem = problem
        self._output = output
        self._sizes = _sizes(output.transformed_metadata.schema)
        self._summaries: dict[str, _ValueSummary] = {}
        self._kinds: dict[str, str] = {}
        self._labels: dict[str, collections.Counter[int]] = {}

    @property
    def number(self) -> int:
        """The number of features, without the label."""
        return len(self.spec) - 1

    def add(self, split: str, batch: pa.RecordBatch) -> None:
        """Adds a batch."""
        for field, column in zip(batch.schema, batch.columns, strict=True):
            self._kinds[field.name] = _kind(field.type)
            values = column.flatten() if are_lists(field.type) else column
            if not pa.types.is_binary(values.type):
                found = self._summaries.setdefault(field.name, _ValueSummary())
                found.add(values.to_numpy(zero_copy_only=False))
        if self.problem.kind is not Kind.REGRESSION:
            position = batch.schema.get_field_index(self.problem.label)
            counted = self._labels.setdefault(split, collections.Counter())
            for item in pc.value_counts(batch.column(position)).to_pylist():
                counted[int(item["values"])] += item["counts"]

    def classes(self) -> list[tuple[str, dict[str, int]]]:
        """Returns the rows of each class in each split."""
        return [
            (str(value), {split: counted[index] for split, counted in self._labels.items()})
            for index, value in enumerate(self.problem.classes)
        ]

    def precision_warnings(self) -> list[str]:
        """Returns a warning if float32, which models compute in, is too coarse for the label."""
        found, label = self._summaries[self.problem.label], self.problem.label
        step = float(np.spacing(np.float32(max(abs(found.low), abs(found.high)))))
        if self.problem.kind is not Kind.REGRESSION or step <= _COARSE * found.deviation:
            return []
        offset = np.format_float_positional(np.float32(found.low), trim="-")
        column = '"' + label.replace('"', '""') + '"'
        return [
            f'the label "{label}" is learned and predicted in steps of {step:g}, which is what'
            f" float32 has at {found.high:.6g}, but its standard deviation is only"
            f" {found.deviation:.3g}. Subtract an offset with a query: SELECT * REPLACE"
            f" ({column} - {offset} AS {column}) FROM data"
        ]

    def rows(self, sources: Mapping[str, Sequence[str]]) -> list[Row]:
        """Returns a row for each feature, and the label's last."""
        names = sorted(name for name in self.spec if name != self.problem.label)
        return [self._row(name, sources.get(name, ())) for name in [*names, self.problem.label]]

    def _row(self, name: str, sources: Sequence[str]) -> Row:
        found, size = self._summaries.get(name, _ValueSummary()), self._sizes.get(name)
        kind, remark = self._kinds[name], ""
        if name == self.problem.label:
            kind = "label"
        elif size is not None:
            kind, remark = f"category of {size:,}", self._tokens(name, sources)
        limits: tuple[float | None, float | None, float | None] = (None, None, None)
        if found.number:
            mean = None if size is not None else found.mean
            limits = found.low, mean, found.high
        return Row(name, sources, kind, _outline(_bars(found.sample, size)), limits, remark)

    def _tokens(self, name: str, sources: Sequence[str]) -> str:
        """Returns the first tokens of the vocabulary that a category seems to belong to."""
        for vocabulary in (f"{name}_vocabulary", name, *sources):
            if self._output.vocabulary_file_by_name(vocabulary):
                tokens = self._output.vocabulary_by_name(vocabulary)
                if tokens == [_NO_TOKEN]:
                    return "every value is rare"
                shown = ", ".join(token.decode(errors="replace") for token in tokens[:_TOKENS])
                return shown + (", …" if len(tokens) > _TOKENS else "")
        return ""


def _sizes(schema: schema_pb2.Schema) -> dict[str, int]:
    """Returns how many values each category has."""
    return {
        feature.name: int(feature.int_domain.max) + 1
        for feature in schema.feature
        if feature.int_domain.is_categorical and feature.int_domain.HasField("max")
    }


def _bars(sample: Array, size: int | None) -> Array:
    """Returns a histogram, or the frequencies of a category's values in falling order."""
    if size is None:
        counts: Array = np.histogram(sample, _BARS)[0]
        return counts
    counts = np.sort(np.unique(sample, return_counts=True)[1])[::-1]
    return counts[:_BARS]


def _outline(counts: Array) -> str:
    width = _WIDTH / max(len(counts), _BARS)
    heights = _HEIGHT * counts / max(counts.max(initial=0), 1)
    bars = (
        f"M{position * width:.1f} {_HEIGHT}v-{height:.1f}h{width - 0.8:.1f}v{height:.1f}z"
        for position, height in enumerate(heights)
        if height
    )
    return "".join(bars)


def _kind(type_: pa.DataType) -> str:
    names: dict[Any, str] = {pa.float32(): "number", pa.int64(): "whole number"}
    if pa.types.is_fixed_size_list(type_):
        return f"{type_.list_size} × {_kind(type_.value_type)}"
    if pa.types.is_list(type_):
        return f"list of {_kind(type_.value_type)}"
    return names.get(type_, "text")
