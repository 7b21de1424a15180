"""Prepares the training curves for the report."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

from millrace.components.trainer.fitting import Curves

_COLORS = {"train": "var(--accent)", "eval": "var(--second)"}

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Chart:
    """A metric on both splits.

    Attributes:
        name: The metric.
        series: Name, color and points of each line.
        x_range: The first and last step.
        y_range: The least and greatest value.
    """

    name: str
    series: list[tuple[str, str, list[Point]]]
    x_range: Point
    y_range: Point


def charts(curves: Curves) -> list[Chart]:
    """Returns a chart for every metric, the loss first."""
    by_split = {"train": curves.train, "eval": curves.eval}
    names = sorted({*curves.train, *curves.eval}, key=lambda name: (name != "loss", name))
    drawn = []
    for name in names:
        series = [
            (split, _COLORS[split], points)
            for split, measured in by_split.items()
            if (points := _finite(measured.get(name, [])))
        ]
        if not series:
            continue
        values = [value for _, _, points in series for _, value in points]
        drawn.append(Chart(name, series, (0.0, float(curves.steps)), (min(values), max(values))))
    return drawn


def _finite(points: Iterable[tuple[int, float]]) -> list[Point]:
    return [(float(step), value) for step, value in points if math.isfinite(value)]
