"""Ticks at round numbers, for any range of data."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.report.axis import axis

NUMBERS = st.floats(-1e12, 1e12, allow_subnormal=False).filter(lambda x: x == 0 or abs(x) > 1e-9)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0, 1, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0.6654, 0.6723, ["0.664", "0.666", "0.668", "0.670", "0.672", "0.674"]),
        (30, 600, ["0", "200", "400", "600"]),
        (0, 1234567, ["0", "250,000", "500,000", "750,000", "1,000,000", "1,250,000"]),
        (-3, 7, ["-5.0", "-2.5", "0.0", "2.5", "5.0", "7.5"]),
        (2, 2, ["1.0", "1.5", "2.0", "2.5", "3.0"]),
        (0, 0, ["-0.50", "-0.25", "0.00", "0.25", "0.50"]),
        (0, 3e-12, ["0", "1e-12", "2e-12", "3e-12"]),
    ],
)
def test_labels(low: float, high: float, labels: list[str]) -> None:
    assert [label for _, label in axis(low, high).ticks] == labels


@given(NUMBERS, NUMBERS, st.integers(2, 12))
def test_any_range(a: float, b: float, most: int) -> None:
    low, high = min(a, b), max(a, b)
    made = axis(low, high, most)
    values = [value for value, _ in made.ticks]
    step = values[1] - values[0]
    assert 2 <= len(values) <= most + 1
    assert made.low <= low + 1e-5 * step
    assert made.high >= high - 1e-5 * step
    for value, following in itertools.pairwise(values):
        assert math.isclose(following - value, step, rel_tol=1e-3)
    labels = [label for _, label in made.ticks]
    assert len(set(labels)) == len(labels)
    for value, label in made.ticks:
        assert math.isclose(float(label.replace(",", "")), value, abs_tol=0.01 * step)
    assert made.at(made.low) == 0
    assert made.at(made.high) == 1
