"""Prepares a column that has changed for the page: its scores, and both histograms."""

from __future__ import annotations

import dataclasses

from millrace.components.example_validator import findings
from millrace.components.example_validator.comparisons import Comparison
from millrace.report import numbers

_BINS_SHOWN = 15
_LABEL_WIDTH = 30
_PERCENT = 100


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
        facts: A label, and its value then and now.
        scores: The measure, its value, its threshold, and whether it is exceeded.
        bars: The bins, in their order.
        more: How many bins are not shown.
    """

    column: str
    split: str
    other: str
    facts: list[tuple[str, str, str]]
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
        order = range(len(bins.labels))
        if "quantiles" not in comparison.histograms:
            order = sorted(order, key=lambda at: -float(shares[0][at] + shares[1][at]))  # type: ignore[assignment]
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
        facts=_facts(comparison),
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


def _facts(comparison: Comparison) -> list[tuple[str, str, str]]:
    both = comparison.previous, comparison.current
    facts = [
        ("rows", *(numbers.count(one.rows) for one in both)),
        (
            "missing",
            *(
                f"{numbers.count(one.missing)} ({numbers.percent(one.missing / (one.rows or 1))})"
                for one in both
            ),
        ),
    ]
    for label, field in (
        ("mean", "mean"),
        ("std. dev.", "std_dev"),
        ("min", "min"),
        ("max", "max"),
    ):
        if all(one.is_numeric for one in both):
            facts.append(
                (
                    label,
                    *(
                        numbers.number(getattr(one.feature.num_stats, field))  # type: ignore[union-attr]
                        if one.values
                        else "–"
                        for one in both
                    ),
                )
            )
    return facts  # type: ignore[return-value]


def _short(label: str) -> str:
    shown = label if len(label) <= _LABEL_WIDTH else f"{label[: _LABEL_WIDTH - 1]}…"
    return shown or "(empty)"
