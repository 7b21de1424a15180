"""Bounds on metrics: valid ones, and the values that keep them."""

from __future__ import annotations

import pytest

from millrace.errors import ParameterError
from millrace.ml import bounds
from millrace.ml.bounds import Bound
from millrace.ml.problem import Kind


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        (
            {"acu": {"lower_bound": 0.5}},
            'thresholds: "acu" is not a metric of a binary problem. Did you mean "auc"? There are ',
        ),
        (
            {"accuracy": {"lower_bound": 0.5}},
            'Did you mean "binary_accuracy"?',
        ),
        (
            {"root_mean_squared_error": {"upper_bound": 1}},
            'thresholds: "root_mean_squared_error" is not a metric of a binary problem.',
        ),
        (
            {"auc": {"lowerbound": 0.5}},
            'thresholds: "auc" has no bound "lowerbound". Did you mean "lower_bound"? '
            "There are lower_bound, upper_bound, min_change, max_change.",
        ),
        (
            {"auc": {"lower_bound": "0.5"}},
            """thresholds: "lower_bound" of "auc" must be a number, and is '0.5'.""",
        ),
        (
            {"auc": {"lower_bound": True}},
            'thresholds: "lower_bound" of "auc" must be a number, and is True.',
        ),
        (
            {"auc": {"lower_bound": float("nan")}},
            'thresholds: "lower_bound" of "auc" must be a number, and is nan.',
        ),
        (
            {"auc": 0.6},
            'thresholds: "auc" must hold bounds, such as {"lower_bound": 0.6}, and is 0.6.',
        ),
        (
            {"auc": {}},
            'thresholds: "auc" must hold bounds, such as {"lower_bound": 0.6}, and is {}.',
        ),
        (
            {"auc": {"lower_bound": 0.9, "upper_bound": 0.8}},
            'thresholds: no model can reach "auc": lower_bound 0.9 is above upper_bound 0.8.',
        ),
        (
            {"binary_crossentropy": {"min_change": -0.1}},
            'thresholds: "binary_crossentropy" is better when it is smaller, so "min_change" would '
            'ask for a worse model. Use "max_change".',
        ),
        (
            {"auc": {"max_change": 0.1}},
            'thresholds: "auc" is better when it is larger, so "max_change" would ask for a worse '
            'model. Use "min_change".',
        ),
    ],
)
def test_bad_thresholds(thresholds: dict, message: str) -> None:
    with pytest.raises(ParameterError) as raised:
        bounds.parse(thresholds, Kind.BINARY)
    assert message in str(raised.value)


def test_a_limit_is_itself_allowed() -> None:
    for rule in bounds.RULES:
        assert Bound("auc", rule, 0.5).holds(0.5)
    assert not Bound("auc", "lower_bound", 0.5).holds(0.499)
    assert not Bound("auc", "upper_bound", 0.5).holds(0.501)
    assert not Bound("auc", "min_change", -0.01).holds(-0.02)
    assert not Bound("auc", "max_change", 0.01).holds(0.02)


@pytest.mark.parametrize("limit", [2e-7, 0.75, 2e9, -3.0])
def test_the_tolerance_is_relative_to_the_limit(limit: float) -> None:
    lower, upper = Bound("auc", "lower_bound", limit), Bound("auc", "upper_bound", limit)
    for sign, bound in ((-1, lower), (1, upper)):
        rounded = limit + sign * abs(limit) * 9e-8
        assert not bound.holds(rounded)
        assert bound.holds(rounded, tolerance=1e-6)
        assert not bound.holds(limit + sign * abs(limit) * 2e-6, tolerance=1e-6)


def test_bounds_by_metric() -> None:
    thresholds = {"auc": {"lower_bound": 0.6, "min_change": -0.01}, "recall": {"upper_bound": 0.9}}
    assert bounds.by_metric(bounds.parse(thresholds, Kind.BINARY)) == thresholds
