"""Reads the distribution of a column from TFDV's statistics, and bins two of them alike.

TFDV keeps a column of numbers as two histograms made from one sketch of its quantiles: ten buckets
of equal width and ten of (nearly) equal count. So the share of values up to each boundary of a
bucket is known, to about a hundredth, and nothing is known between two boundaries. It keeps a
column of text as the counts of its most frequent values.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from tensorflow_metadata.proto.v0 import statistics_pb2

from millrace.data import statistics as stored

Floats: TypeAlias = npt.NDArray[np.float64]
_LEAST_EXPECTED = 5.0
OTHER = "(other values)"


@dataclasses.dataclass(frozen=True)
class Bins:
    """The counts of two samples in the same bins.

    Attributes:
        labels: The value of each bin, or its range.
        previous: How many values of the earlier sample are in each.
        current: How many values of the later sample are in each.
    """

    labels: list[str]
    previous: Floats
    current: Floats

    def shares(self) -> tuple[Floats, Floats]:
        """Returns the counts as shares of each sample."""
        return self.previous / self.previous.sum(), self.current / self.current.sum()


@dataclasses.dataclass(frozen=True)
class Column:
    """The statistics of a column; one that a table does not have is missing in all of its rows."""

    rows: int
    feature: statistics_pb2.FeatureNameStatistics | None

    @property
    def is_numeric(self) -> bool:
        """Whether it is described as numbers."""
        return self.feature is not None and self.feature.HasField("num_stats")

    @property
    def is_categorical(self) -> bool:
        """Whether its values are counted."""
        return self.feature is not None and self.feature.HasField("string_stats")

    @functools.cached_property
    def missing(self) -> int:
        """The rows without a value; NaN and infinity are none."""
        if self.feature is None:
            return self.rows
        common = stored.common(self.feature)
        if not self.is_numeric:
            return int(common.num_missing)
        return min(self.rows, int(common.num_missing) + sum(stored.non_finite(self.feature)))

    @functools.cached_property
    def values(self) -> float:
        """The number of (finite) values."""
        if self.feature is None:
            return 0.0
        total = float(stored.common(self.feature).tot_num_values)
        return total - sum(stored.non_finite(self.feature)) if self.is_numeric else total

    @functools.cached_property
    def knots(self) -> tuple[Floats, Floats]:
        """Points of a numeric column, and the share of values up to each; sorted and distinct."""
        assert self.feature is not None
        found: dict[float, float] = {}
        for histogram in self.feature.num_stats.histograms:
            finite = [
                bucket
                for bucket in histogram.buckets
                if math.isfinite(bucket.low_value) and math.isfinite(bucket.high_value)
            ]
            total = sum(bucket.sample_count for bucket in finite)
            if not total or (histogram.type and len(finite) < len(histogram.buckets)):
                continue  # Its outermost finite values share a bucket with infinity.
            counted = 0.0
            for bucket in finite:
                counted += bucket.sample_count
                found[bucket.high_value] = max(
                    found.get(bucket.high_value, 0.0), min(1.0, counted / total)
                )
            found.setdefault(finite[0].low_value, 0.0)
        points = np.array(sorted(found), np.float64)
        shares = np.array([found[point] for point in points], np.float64)
        shares = np.maximum.accumulate(shares) if len(shares) else shares
        if len(shares):
            shares[-1] = 1.0
        return points, shares

    def bounds(self, points: Floats) -> tuple[Floats, Floats]:
        """Returns the least and the greatest share of values that may be up to each point."""
        knots, shares = self.knots
        after = np.searchsorted(knots, points, side="right")
        at = np.maximum(after - 1, 0)
        least = np.where(after > 0, shares[at], 0.0)
        known = (after == 0) | ((knots[at] == points) & (shares[at] > 0))
        most = np.where(known, least, shares[np.minimum(after, len(knots) - 1)])
        return least, most

    def cumulative(self, points: Floats) -> Floats:
        """Returns the share of values up to each point, as if they were even between knots."""
        knots, shares = self.knots
        after = np.searchsorted(knots, points, side="right")
        low = np.clip(after - 1, 0, len(knots) - 1)
        high = np.clip(after, 0, len(knots) - 1)
        width = knots[high] - knots[low]
        part = np.divide(points - knots[low], width, out=np.zeros_like(points), where=width > 0)
        between: Floats = shares[low] + part * (shares[high] - shares[low])
        return np.where(after == 0, 0.0, between)

    def quantiles(self, shares: Floats) -> Floats:
        """Returns the value below which each share of the values lies, even between knots."""
        knots, known = self.knots
        result: Floats = np.interp(shares, np.concatenate([[0.0], known]), [knots[0], *knots])
        return result

    @functools.cached_property
    def counts(self) -> dict[str, float]:
        """The counts of the most frequent values, the most frequent first."""
        if not self.is_categorical:
            return {}
        assert self.feature is not None
        buckets = self.feature.string_stats.rank_histogram.buckets
        return {bucket.label: bucket.sample_count for bucket in buckets}


def columns(statistics: statistics_pb2.DatasetFeatureStatistics) -> dict[str, Column]:
    """Returns the columns of a data set by their names."""
    rows = int(statistics.num_examples)
    return {".".join(feature.path.step): Column(rows, feature) for feature in statistics.features}


def values(previous: Column, current: Column) -> Bins:
    """Counts every value that TFDV lists for either sample."""
    labels = list(dict.fromkeys([*previous.counts, *current.counts]))
    return Bins(labels, _counts(previous.counts, labels), _counts(current.counts, labels))


def grouped_values(previous: Column, current: Column) -> Bins:
    """Counts values that are frequent enough to compare, and all others together.

    A value that only one sample lists counts in the other as it would if nothing had changed, up
    to the rarest value that is listed there.
    """
    every = values(previous, current)
    totals = previous.values, current.values
    shares = [every.previous / totals[0], every.current / totals[1]]
    counts = [every.previous.copy(), every.current.copy()]
    for number, column in enumerate((previous, current)):
        if column.values - sum(column.counts.values()) >= 1:
            least = min(column.counts.values(), default=math.inf)
            likely = np.minimum(shares[1 - number] * totals[number], least)
            counts[number] = np.where(counts[number] > 0, counts[number], likely)
    pooled = (counts[0] + counts[1]) / sum(totals)
    kept = np.flatnonzero(pooled * min(totals) >= _LEAST_EXPECTED)
    rest = [
        max(0.0, total - count[kept].sum()) for total, count in zip(totals, counts, strict=True)
    ]
    return Bins(
        [every.labels[number] for number in kept] + [OTHER],
        np.append(counts[0][kept], rest[0]),
        np.append(counts[1][kept], rest[1]),
    )


def quantile_bins(previous: Column, current: Column) -> Bins:
    """Counts numbers between the deciles of the earlier sample, and beyond them."""
    edges = _quantile_edges(previous)
    points = [np.nextafter(edges[0], -np.inf), *edges]
    labels = [f"below {edges[0]:.6g}", f"{edges[0]:.6g}"]
    labels += [f"above {low:.6g} to {high:.6g}" for low, high in itertools.pairwise(edges)]
    labels += [f"above {edges[-1]:.6g}"]
    if len(edges) > 1 and not any(
        column.cumulative(edges[:1])[0] for column in (previous, current)
    ):
        points = [points[0], *points[2:]]
        labels = [labels[0], f"{edges[0]:.6g} to {edges[1]:.6g}", *labels[3:]]
    counts = [
        np.diff(column.cumulative(np.array(points)), prepend=0.0, append=1.0) * column.values
        for column in (previous, current)
    ]
    return Bins(labels, counts[0], counts[1])


def aligned_bins(
    previous: Column, current: Column, kind: int = statistics_pb2.Histogram.STANDARD
) -> Bins:
    """Aligns the histograms of two samples as TFDV does before it compares them.

    The bins lie between all boundaries of either; a bucket is spread evenly over those it covers.
    Buckets of a single value are bins of their own, and infinity never matches. NaN counts as
    missing.
    """
    parts = [_parts(column, kind) for column in (previous, current)]
    edges = np.unique(
        [edge for ranges, *_ in parts for low, high, _ in ranges for edge in (low, high)]
    )
    points = sorted({point for _, single, _ in parts for point in single})
    counts = []
    for number, (ranges, single, apart) in enumerate(parts):
        spread = np.zeros(max(0, len(edges) - 1))
        for low, high, count in ranges:
            first, last = int(np.searchsorted(edges, low)), int(np.searchsorted(edges, high))
            spread[first:last] += count * np.diff(edges[first : last + 1]) / (high - low)
        mismatched = [0.0, 0.0]
        mismatched[number] = apart
        counts.append(
            np.concatenate([spread, [single.get(point, 0.0) for point in points], mismatched])
        )
    labels = [f"{low:.6g} to {high:.6g}" for low, high in itertools.pairwise(edges)]
    labels += [f"{point:.6g}" for point in points]
    labels += ["infinity (previous)", "infinity (current)"]
    kept = [at for at, _ in enumerate(labels) if counts[0][at] or counts[1][at] or at < len(edges)]
    return Bins([labels[at] for at in kept], counts[0][kept], counts[1][kept])


def _quantile_edges(column: Column) -> Floats:
    """Returns the boundaries of TFDV's deciles, or deciles of the finite values."""
    assert column.feature is not None
    for histogram in column.feature.num_stats.histograms:
        if histogram.type == statistics_pb2.Histogram.QUANTILES:
            edges = np.unique([[one.low_value, one.high_value] for one in histogram.buckets])
            if len(edges) and np.isfinite(edges).all():
                return edges
    return np.unique(column.quantiles(np.linspace(0, 1, 11)))


def _parts(
    column: Column, kind: int
) -> tuple[list[tuple[float, float, float]], dict[float, float], float]:
    """Returns a histogram's ranges, its single values, and its count of infinite values."""
    assert column.feature is not None
    ranges: list[tuple[float, float, float]] = []
    single: dict[float, float] = {}
    infinite = 0.0
    for histogram in column.feature.num_stats.histograms:
        if histogram.type != kind:
            continue
        for bucket in histogram.buckets:
            low, high, count = bucket.low_value, bucket.high_value, bucket.sample_count
            if not (math.isfinite(low) and math.isfinite(high)):
                infinite += count
            elif low == high:
                single[low] = single.get(low, 0.0) + count
            else:
                ranges.append((low, high, count))
    return ranges, single, infinite


def _counts(counts: dict[str, float], labels: list[str]) -> Floats:
    return np.array([counts.get(label, 0.0) for label in labels], np.float64)
