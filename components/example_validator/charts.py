"""Prepares a column that has changed for the page: its scores, and both histograms."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from millrace.components.example_validator import findings
from millrace.components.example_validator.comparisons import Comparison
from millrace.components.example_validator.distributions import Column
from millrace.report import numbers

_BINS_SHOWN = 15
_LABEL_WIDTH = 30
_PERCENT = 100
_STATISTICS = {"mean": "mean", "std. dev.": "std_dev", "min": "min", "max": "max"}


@dataclasses.dataclass(frozen=True)
class Bar:
    """A bin: its label, and the counts and the widths (of 100) of both bars."""

    label: str
    counts: tuple[str, str]
    widths: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Chart:
    """A column that has changed.

    Attributes:
        column: Its name.
        split: The split.
        other: What it was compared with.
        summary: A label, and its value then and now.
        scores: The measure, its value, its threshold, and whether it is exceeded.
        bars: The bins, in their order.
        more: How many bins are not shown.
    """

    column: str
    split: str
    other: str
    summary: list[tuple[str, str, str]]
    scores: list[tuple[str, str, str, bool]]
    bars: list[Bar]
    more: int


def make(split: str, comparison: Comparison) -> Chart:
    """Returns what the page shows of a comparison."""
    bins = comparison.shown
    bars: list[Bar] = []
    if bins is not None:
        shares = bins.shares()
        widest = max(float(part.max()) for part in shares) or 1.0
        order: Sequence[int] = range(len(bins.labels))
        if "quantiles" not in comparison.histograms:
            order = sorted(order, key=lambda at: -float(shares[0][at] + shares[1][at]))
        bars = [
            Bar(
                _short(bins.labels[at]),
                (numbers.count(round(bins.previous[at])), numbers.count(round(bins.current[at]))),
                (
                    round(_PERCENT * float(shares[0][at]) / widest, 2),
                    round(_PERCENT * float(shares[1][at]) / widest, 2),
                ),
            )
            for at in order
            if bins.previous[at] or bins.current[at]
        ]
    return Chart(
        column=comparison.column,
        split=split,
        other=findings.OTHERS[comparison.kind],
        summary=_summary(comparison),
        scores=[
            (
                findings.MEASURES[score.measure],
                numbers.number(score.value, 3),
                "–" if score.threshold is None else numbers.number(score.threshold, 3),
                score.exceeded,
            )
            for score in sorted(comparison.scores, key=lambda score: not score.exceeded)
        ],
        bars=bars[:_BINS_SHOWN],
        more=max(0, len(bars) - _BINS_SHOWN),
    )


def _summary(comparison: Comparison) -> list[tuple[str, str, str]]:
    before, now = comparison.previous, comparison.current
    rows = [
        ("rows", numbers.count(before.rows), numbers.count(now.rows)),
        ("missing", _missing(before), _missing(now)),
    ]
    if before.is_numeric and now.is_numeric:
        rows += [
            (label, _statistic(before, field), _statistic(now, field))
            for label, field in _STATISTICS.items()
        ]
    return rows


def _missing(column: Column) -> str:
    return (
        f"{numbers.count(column.missing)} ({numbers.percent(column.missing / (column.rows or 1))})"
    )


def _statistic(column: Column, field: str) -> str:
    if not column.values or column.feature is None:
        return "–"
    return numbers.number(getattr(column.feature.num_stats, field))


def _short(label: str) -> str:
    shown = label if len(label) <= _LABEL_WIDTH else f"{label[: _LABEL_WIDTH - 1]}…"
    return shown or "(empty)"
