"""Numbers as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.report import numbers

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (0.5, "0.5"),
        (0.12345, "0.1235"),
        (0.99996, "0.99996"),
        (-0.9999999, "-0.9999999"),
        (1.00004, "1"),
        (9.99996, "10"),
        (999.96, "1,000"),
        (9999.9, "10,000"),
        (12345.6, "12,346"),
        (1e-9, "1e-09"),
    ],
)
def test_a_number(value: float | None, text: str) -> None:
    assert numbers.number(value) == text


def test_a_number_of_fewer_digits() -> None:
    assert numbers.number(999.9, 3) == "1,000"
    assert numbers.number(0.9996, 2) == "0.9996"


@pytest.mark.parametrize(
    ("value", "limit", "text"),
    [
        (45210.3, 50000, "45,210"),
        (109557, 1000, "109,557"),
        (5164, 5000, "5,164"),
        (45210.3, 45210, "45,210.3"),
        (-45210.34, -45210.3, "-45,210.34"),
        (0.54999, 0.55, "0.54999"),
        (3e20, 1, "3e+20"),
    ],
)
def test_a_number_looks_the_same_beside_a_limit(value: float, limit: float, text: str) -> None:
    assert numbers.against(value, limit) == text


@given(FINITE, FINITE)
def test_a_number_lies_on_its_side_of_a_limit(value: float, limit: float) -> None:
    shown = float(numbers.against(value, limit).replace(",", ""))
    assert (shown < limit, shown > limit) == (value < limit, value > limit)


@pytest.mark.parametrize(
    ("value", "text"), [(0.0123, "12 ms"), (1.25, "1.2 s"), (99.9, "99.9 s"), (754, "12:34 min")]
)
def test_a_duration(value: float, text: str) -> None:
    assert numbers.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1500, "1.5 kB"),
        (142_736, "143 kB"),
        (999_700, "1 MB"),
        (2.555e9, "2.56 GB"),
        (3e15, "3e+03 TB"),
    ],
)
def test_a_size(value: float, text: str) -> None:
    assert numbers.size(value) == text
