"""Thresholds: what they may say, and what comes of them."""

from __future__ import annotations

import pytest

from millrace.components.evaluator import bounds
from millrace.components.evaluator.bounds import OVERALL, Bound
from millrace.errors import ParameterError
from millrace.ml.problem import Kind


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        (
            {"acu": {"lower_bound": 0.5}},
            'thresholds: "acu" is no metric of a binary problem. Did you mean "auc"? There are ',
        ),
        (
            {"accuracy": {"lower_bound": 0.5}},
            'Did you mean "binary_accuracy"?',
        ),
        (
            {"root_mean_squared_error": {"upper_bound": 1}},
            'thresholds: "root_mean_squared_error" is no metric of a binary problem.',
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


def test_what_is_not_defined_fails_overall_and_is_passed_over_in_a_slice() -> None:
    bound = Bound("auc", "lower_bound", 0.5)
    overall = bounds.check_value(bound, OVERALL, None, "all rows are of one class")
    assert overall.passed is False
    assert overall.reason == "auc is not defined: all rows are of one class"
    assert bounds.check_value(bound, "carrier = AA", None, "").passed is None


def test_a_change_is_told_with_both_values() -> None:
    bound = Bound("auc", "min_change", -0.01)
    check = bounds.check_change(bound, 0.7, 0.75, "")
    assert check.passed is False
    assert check.reason == (
        "auc is 0.7 after the baseline's 0.75, a change of -0.05, so min_change -0.01 fails"
    )
    assert bounds.without_baseline(bound, 0.7).passed is None


def test_a_finding_shows_the_digits_that_decide() -> None:
    bound = Bound("auc", "lower_bound", 0.9)
    assert bounds.check_value(bound, OVERALL, 0.89999, "").reason == (
        "auc is 0.89999, so lower_bound 0.9 fails"
    )
    assert bounds.check_value(bound, OVERALL, 0.912345, "").reason == (
        "auc is 0.9123, so lower_bound 0.9 holds"
    )
    close = bounds.check_change(Bound("auc", "min_change", -0.01), 0.74998, 0.76, "")
    assert close.reason == (
        "auc is 0.75 after the baseline's 0.76, a change of -0.01002, so min_change -0.01 fails"
    )
