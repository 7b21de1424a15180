"""The curves of a training as the report draws them."""

from __future__ import annotations

import dataclasses

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
        y_range: The least and greatest value, with a margin.
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
            (split, _COLORS[split], [(float(step), value) for step, value in measured[name]])
            for split, measured in by_split.items()
            if measured.get(name)
        ]
        values = [value for _, _, points in series for _, value in points]
        margin = 0.05 * (max(values) - min(values)) or 0.05 * abs(values[0]) or 1.0
        drawn.append(
            Chart(
                name,
                series,
                (0.0, float(curves.steps)),
                (min(values) - margin, max(values) + margin),
            )
        )
    return drawn
