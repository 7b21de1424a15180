"""Prepares each column for the page: the numbers of all splits, and a small chart."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from tensorflow_metadata.proto.v0 import statistics_pb2

from millrace.data import statistics as stored
from millrace.report import numbers

WIDTH, HEIGHT = 100, 30
_TOP_VALUES = 5
_LABEL_WIDTH = 22
_MANY_MISSING = 0.5
_MANY_DISTINCT, _DISTINCT_SHARE = 100, 0.5
_KINDS = {
    statistics_pb2.FeatureNameStatistics.INT: "integer",
    statistics_pb2.FeatureNameStatistics.FLOAT: "decimal",
    statistics_pb2.FeatureNameStatistics.STRING: "text",
}

_Feature: TypeAlias = statistics_pb2.FeatureNameStatistics


@dataclasses.dataclass(frozen=True)
class Card:
    """One column.

    Attributes:
        name: Its name.
        kind: Its type, in one word.
        warnings: Warnings.
        rows: A label, and a number for each split.
        paths: The outline of a chart for each split, in a box of WIDTH by HEIGHT.
        ends: The labels at both ends of a histogram.
        labels: The labels of the bars of the most frequent values.
    """

    name: str
    kind: str
    warnings: list[str]
    rows: list[tuple[str, list[str]]]
    paths: list[str]
    ends: tuple[str, str] | None
    labels: list[str]


def make(
    results: Mapping[str, statistics_pb2.DatasetFeatureStatisticsList],
) -> list[Card]:
    """Returns a card for each column, in the order of the columns."""
    by_name: dict[str, list[_Feature | None]] = {}
    for number, result in enumerate(results.values()):
        for feature in result.datasets[0].features:
            name = ".".join(feature.path.step)
            by_name.setdefault(name, [None] * len(results))[number] = feature
    return [_card(name, features, list(results)) for name, features in by_name.items()]


def _card(name: str, features: Sequence[_Feature | None], splits: Sequence[str]) -> Card:
    present = [feature for feature in features if feature is not None]
    kind = _KINDS.get(present[0].type, "other")
    ends: tuple[str, str] | None = None
    labels: list[str] = []
    if present[0].HasField("num_stats"):
        rows = _numeric_rows(features)
        paths, ends = _histogram(features)
    else:
        rows = _text_rows(features)
        paths, labels = _top_values(features)
    missing = [numbers.percent(_missing(feature)) if feature else "–" for feature in features]
    return Card(
        name=name,
        kind=kind,
        warnings=_warnings(features, splits),
        rows=[("missing", missing), *rows],
        paths=paths,
        ends=ends,
        labels=labels,
    )


def _missing(feature: _Feature) -> float:
    common = stored.common(feature)
    total = common.num_missing + common.num_non_missing
    return common.num_missing / total if total else 0.0


def _numeric_rows(features: Sequence[_Feature | None]) -> list[tuple[str, list[str]]]:
    def row(field: str) -> list[str]:
        return [
            numbers.number(getattr(feature.num_stats, field))
            if feature and _filled(feature)
            else "–"
            for feature in features
        ]

    labels = {
        "mean": "mean",
        "std_dev": "std. dev.",
        "min": "min",
        "median": "median",
        "max": "max",
    }
    return [(label, row(field)) for field, label in labels.items()]


def _text_rows(features: Sequence[_Feature | None]) -> list[tuple[str, list[str]]]:
    distinct = [
        numbers.count(feature.string_stats.unique) if feature else "–" for feature in features
    ]
    length = [
        numbers.number(feature.string_stats.avg_length, 3) if feature and _filled(feature) else "–"
        for feature in features
    ]
    return [("distinct", distinct), ("mean length", length)]


def _filled(feature: _Feature) -> bool:
    return bool(stored.common(feature).num_non_missing)


def _histogram(
    features: Sequence[_Feature | None],
) -> tuple[list[str], tuple[str, str] | None]:
    """Returns the outline of each split's histogram over the range of all, and that range."""
    buckets = [_finite_buckets(feature) if feature else [] for feature in features]
    everything = [bucket for part in buckets for bucket in part]
    if not everything:
        return [], None
    low = min(bucket[0] for bucket in everything)
    high = max(bucket[1] for bucket in everything)
    ends = (numbers.number(low), numbers.number(high))
    if not 0 < high - low < math.inf:
        return [f"M0 {HEIGHT}V0H{WIDTH}V{HEIGHT}" if part else "" for part in buckets], ends
    densities = [_densities(part) for part in buckets]
    top = max((value for part in densities for value in part), default=0) or 1
    scale = WIDTH / (high - low)
    paths = []
    for part, heights in zip(buckets, densities, strict=True):
        steps = [
            f"M{(start - low) * scale:.0f} {HEIGHT}V{HEIGHT * (1 - height / top):.1f}"
            f"H{(end - low) * scale:.0f}V{HEIGHT}"
            for (start, end, _), height in zip(part, heights, strict=True)
        ]
        paths.append("".join(steps))
    return paths, ends


def _finite_buckets(feature: _Feature) -> list[tuple[float, float, float]]:
    """Returns the buckets of the histogram of equal widths as (from, to, count)."""
    for histogram in feature.num_stats.histograms:
        if histogram.type == statistics_pb2.Histogram.STANDARD:
            return [
                (bucket.low_value, bucket.high_value, bucket.sample_count)
                for bucket in histogram.buckets
                if math.isfinite(bucket.low_value) and math.isfinite(bucket.high_value)
            ]
    return []


def _densities(buckets: Sequence[tuple[float, float, float]]) -> list[float]:
    total = sum(count for _, _, count in buckets) or 1
    return [count / total / ((end - start) or 1) for start, end, count in buckets]


def _top_values(features: Sequence[_Feature | None]) -> tuple[list[str], list[str]]:
    """Returns the bars of each split's share of the values that are most frequent in the first."""
    shares = [_shares(feature) if feature else {} for feature in features]
    values = list(dict.fromkeys(value for part in shares for value in part))[:_TOP_VALUES]
    top = max((part.get(value, 0) for part in shares for value in values), default=0) or 1
    row, bar = HEIGHT / _TOP_VALUES, HEIGHT / _TOP_VALUES / (len(features) + 1)
    paths = []
    for number, part in enumerate(shares):
        bars = [
            f"M0 {line * row + number * bar:.1f}h{WIDTH * part.get(value, 0) / top:.1f}v{bar:.1f}H0"
            for line, value in enumerate(values)
        ]
        paths.append("".join(bars))
    return paths, [_label(value, [part.get(value, 0) for part in shares]) for value in values]


def _shares(feature: _Feature) -> dict[str, float]:
    """Returns the share of each of the most frequent values, the most frequent first."""
    count = stored.common(feature).tot_num_values or 1
    ranks = feature.string_stats.rank_histogram.buckets
    return {bucket.label: bucket.sample_count / count for bucket in ranks}


def _label(value: str, shares: Sequence[float]) -> str:
    shown = value if len(value) <= _LABEL_WIDTH else f"{value[: _LABEL_WIDTH - 1]}…"
    return f"{shown or '(empty)'}  {numbers.percent(shares[0])}"


def _warnings(features: Sequence[_Feature | None], splits: Sequence[str]) -> list[str]:
    """Returns each warning once, with its splits unless it applies to all."""
    found: dict[str, list[str]] = {}
    for split, feature in zip(splits, features, strict=True):
        for warning in _of_split(feature):
            found.setdefault(warning, []).append(split)
    return [
        warning if len(where) == len(splits) else f"{warning} (in {', '.join(where)})"
        for warning, where in found.items()
    ]


def _of_split(feature: _Feature | None) -> list[str]:
    if feature is None:
        return ["not in the split"]
    common = stored.common(feature)
    if not common.num_non_missing:
        return ["no values"]
    found = []
    if _missing(feature) >= _MANY_MISSING:
        found.append("mostly missing")
    nans, infinite = stored.non_finite(feature)
    if nans:
        found.append("NaN among the values")
    if infinite:
        found.append("infinity among the values")
    if (
        feature.HasField("num_stats")
        and not nans
        and feature.num_stats.min == feature.num_stats.max
    ):
        found.append("one value only")
    if feature.HasField("string_stats"):
        distinct = feature.string_stats.unique
        if distinct == 1:
            found.append("one value only")
        if distinct > _MANY_DISTINCT and distinct >= _DISTINCT_SHARE * common.tot_num_values:
            found.append("nearly every value is different")
    return found
