"""Compares every column with its statistics in another span, and tells drift from noise.

A column has changed where a measure exceeds a threshold, which is the larger of two numbers: an
effect that is large enough to matter, and what chance alone would exceed once in 1 / ALPHA
validations. The latter shrinks with the number of rows, and grows with that of comparisons
(Bonferroni).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from statistics import NormalDist
from typing import Any

import numpy as np

from millrace.components.example_validator import distributions, measures
from millrace.components.example_validator.distributions import Bins, Column

ALPHA = 0.001
MEASURES_PER_COLUMN = 5
# Effects that matter. A population stability index of 0.1, a usual limit for a moderate change, is
# a shift by a third of a standard deviation, or a Jensen–Shannon divergence of 0.02.
_SHARE, _ZERO_SHARE = 0.02, 0.1
_DIVERGENCE = 0.02
_DISTANCE = 0.05
_SHIFT = 0.3
_SPREAD = math.log(1.5)
_SKETCH_ERROR = 0.01
# The standard error of the logarithm of the range between the quartiles, times the square root of
# the rows: 1.2 for a normal distribution, 1.6 for Cauchy's, 2.9 for a log-normal one with sigma 2.
_SPREAD_ERROR = 3.0
_MIN_ROWS_FOR_SPREAD = 20


@dataclasses.dataclass(frozen=True)
class Score:
    """One measure of a column's change.

    Attributes:
        measure: Its name.
        value: Its value.
        threshold: What it may be; None for a measure that decides nothing.
        bins: The name of the histograms that it is computed from, if any.
        asked_by: Who set the threshold: `schema`, or `default`.
    """

    measure: str
    value: float
    threshold: float | None = None
    bins: str = ""
    asked_by: str = ""

    @property
    def exceeded(self) -> bool:
        """Whether the column has changed by this measure."""
        return self.threshold is not None and self.value > self.threshold


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A column in two spans.

    Attributes:
        kind: `drift` from an earlier span, or `skew` from serving.
        column: The column's name.
        previous: Its statistics in the other span.
        current: Its statistics.
        histograms: The counts of both in the same bins, by the name of the bins.
        scores: Its measures.
        note: Why there are none.
    """

    kind: str
    column: str
    previous: Column
    current: Column
    histograms: dict[str, Bins]
    scores: list[Score]
    note: str = ""

    @property
    def exceeded(self) -> list[Score]:
        """The measures by which the column has changed."""
        return [score for score in self.scores if score.exceeded]

    @property
    def shown(self) -> Bins | None:
        """The histograms that show the change best."""
        for name in ("quantiles", "grouped_values", "values"):
            if name in self.histograms:
                return self.histograms[name]
        return None

    def to_json(self) -> dict[str, Any]:
        """Returns all that the scores were computed from."""
        return {
            "kind": self.kind,
            "column": self.column,
            "note": self.note,
            "previous": _summary(self.previous),
            "current": _summary(self.current),
            "histograms": {
                name: {
                    "bins": bins.labels,
                    "previous": bins.previous.tolist(),
                    "current": bins.current.tolist(),
                }
                for name, bins in self.histograms.items()
            },
            "scores": [
                dataclasses.asdict(score)
                | {"exceeded": score.exceeded, "formula": measures.FORMULAS[score.measure]}
                for score in self.scores
            ],
        }


def compare(
    kind: str, name: str, previous: Column, current: Column, comparisons: int, by_default: bool
) -> Comparison:
    """Compares a column in two spans.

    Args:
        kind: `drift` or `skew`.
        name: The column's name.
        previous: The column in the other span.
        current: The column.
        comparisons: How many measures decide in the whole validation.
        by_default: Whether its distribution is to be held against default thresholds; a share of
            missing values always is.
    """
    z = NormalDist().inv_cdf(1 - ALPHA / (2 * max(1, comparisons)))
    scores: list[Score] = []
    histograms: dict[str, Bins] = {}
    note = ""
    if previous.rows and current.rows:
        scores.append(_missing(previous, current, z))
    if not (previous.values and current.values):
        note = "no data" if previous.rows and current.rows else "no rows"
    elif previous.is_numeric and current.is_numeric:
        if len(previous.knots[0]) and len(current.knots[0]):
            scores += _numeric(previous, current, z, histograms)
    elif previous.is_categorical and current.is_categorical:
        scores += _categorical(previous, current, z, histograms)
    else:
        note = "numbers in one span and text in the other"
    if not by_default:
        scores = [
            score
            if score.measure == "missing_share"
            else dataclasses.replace(score, threshold=None, asked_by="")
            for score in scores
        ]
    return Comparison(kind, name, previous, current, histograms, scores, note)


def _missing(previous: Column, current: Column, z: float) -> Score:
    shares = previous.missing / previous.rows, current.missing / current.rows
    pooled = (previous.missing + current.missing) / (previous.rows + current.rows)
    noise = _proportion_noise(pooled, previous.rows, current.rows, z)
    return Score(
        "missing_share", abs(shares[0] - shares[1]), max(_SHARE, noise), asked_by="default"
    )


def _numeric(
    previous: Column, current: Column, z: float, histograms: dict[str, Bins]
) -> Iterator[Score]:
    n, m = previous.values, current.values
    quantiles = histograms["quantiles"] = distributions.quantile_bins(previous, current)
    aligned = histograms["aligned"] = distributions.aligned_bins(previous, current)
    apart = math.sqrt(1 / n + 1 / m)
    # The first term of Kolmogorov's distribution, at a probability of that of z.
    noise = apart * math.sqrt(-math.log(math.erfc(z / math.sqrt(2)) / 2) / 2) + _SKETCH_ERROR
    yield Score(
        "kolmogorov_smirnov",
        measures.kolmogorov_smirnov(previous, current),
        max(_DISTANCE, noise),
        asked_by="default",
    )
    yield from _moments(previous, current, z)
    if aligned.previous.sum() and aligned.current.sum():
        yield Score("jensen_shannon_divergence", measures.jensen_shannon(aligned), bins="aligned")
    psi = measures.population_stability_index(quantiles)
    yield Score("population_stability_index", psi, bins="quantiles")
    yield Score("chi_square", measures.chi_square(quantiles), bins="quantiles")
    yield Score("wasserstein", measures.wasserstein(previous, current))


def _moments(previous: Column, current: Column, z: float) -> Iterator[Score]:
    """Yields what follows from the exact mean, deviation and number of zeros."""
    assert previous.feature is not None
    assert current.feature is not None
    a, b = previous.feature.num_stats, current.feature.num_stats
    n, m = previous.values, current.values
    apart = math.sqrt(1 / n + 1 / m)
    zeros = (a.num_zeros + b.num_zeros) / (n + m)
    yield Score(
        "zero_share",
        abs(a.num_zeros / n - b.num_zeros / m),
        max(_ZERO_SHARE, _proportion_noise(zeros, n, m, z)),
        asked_by="default",
    )
    if not all(map(math.isfinite, (a.mean, b.mean, a.std_dev, b.std_dev))) or n + m <= 2:
        return
    scale = max(a.std_dev, b.std_dev)
    if not scale or not math.isfinite(b.mean - a.mean):
        return
    pooled = scale * math.sqrt(
        (n * (a.std_dev / scale) ** 2 + m * (b.std_dev / scale) ** 2) / (n + m)
    )
    yield Score(
        "mean_shift",
        abs(b.mean - a.mean) / pooled,
        max(_SHIFT, _student(z, n + m - 2) * apart),
        asked_by="default",
    )
    spread = _spread_change(previous, current)
    if spread is not None:
        yield Score(
            "spread_change", spread, max(_SPREAD, z * _SPREAD_ERROR * apart), asked_by="default"
        )


def _spread_change(previous: Column, current: Column) -> float | None:
    """Returns the change of the spread that two measures of it agree on.

    A few outliers change the standard deviation only, and a column of few values the range between
    quantiles only.
    """
    assert previous.feature is not None
    assert current.feature is not None
    if min(previous.values, current.values) < _MIN_ROWS_FOR_SPREAD:
        return None
    deviations = [one.num_stats.std_dev for one in (previous.feature, current.feature)]
    ranges = [
        float(np.diff(column.quantiles(np.array([0.25, 0.75])))[0])
        for column in (previous, current)
    ]
    if min(*deviations, *ranges) <= 0:
        return None
    changes = [math.log(pair[1]) - math.log(pair[0]) for pair in (deviations, ranges)]
    return min(map(abs, changes)) if changes[0] * changes[1] > 0 else 0.0


def _categorical(
    previous: Column, current: Column, z: float, histograms: dict[str, Bins]
) -> Iterator[Score]:
    every = histograms["values"] = distributions.values(previous, current)
    grouped = histograms["grouped_values"] = distributions.grouped_values(previous, current)
    if grouped.previous.sum() and grouped.current.sum():
        noise = _divergence_noise(len(grouped.labels) - 1, previous.values, current.values, z)
        yield Score(
            "jensen_shannon_divergence",
            measures.jensen_shannon(grouped),
            max(_DIVERGENCE, noise),
            "grouped_values",
            "default",
        )
        psi = measures.population_stability_index(grouped)
        yield Score("population_stability_index", psi, bins="grouped_values")
        yield Score("chi_square", measures.chi_square(grouped), bins="grouped_values")
    if every.previous.sum() and every.current.sum():
        yield Score("infinity_norm", measures.infinity_norm(every), bins="values")


def _proportion_noise(pooled: float, n: float, m: float, z: float) -> float:
    """Returns the difference of two shares that chance exceeds, with the continuity correction."""
    return z * math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m)) + (1 / n + 1 / m) / 2


def _divergence_noise(freedom: int, n: float, m: float, z: float) -> float:
    """Returns the Jensen–Shannon divergence that chance exceeds.

    For large samples 8 ln 2 · nm / (n + m) times it follows a chi-square distribution, whose
    quantile is Wilson and Hilferty's.
    """
    if freedom < 1:
        return 0.0
    part = 2 / (9 * freedom)
    quantile = freedom * (1 - part + z * math.sqrt(part)) ** 3
    return quantile * (1 / n + 1 / m) / (8 * math.log(2))


def _student(z: float, freedom: float) -> float:
    """Returns the quantile of Student's t for that of the normal distribution (Wallace)."""
    factor = (8 * freedom + 3) / (8 * freedom + 1)
    return math.sqrt(freedom * math.expm1(min(700.0, (z * factor) ** 2 / freedom)))


def _summary(column: Column) -> dict[str, Any]:
    found: dict[str, Any] = {
        "rows": column.rows,
        "missing": column.missing,
        "values": column.values,
    }
    if column.is_numeric and column.values:
        assert column.feature is not None
        numbers = column.feature.num_stats
        found["zeros"] = int(numbers.num_zeros)
        for field in ("mean", "std_dev", "min", "max"):
            value = getattr(numbers, field)
            found[field] = value if math.isfinite(value) else None
        knots, shares = column.knots
        found["cumulative"] = {"values": knots.tolist(), "shares": shares.tolist()}
    return found
