"""A bound compared with a metric: whether it holds, and the finding in words."""

from __future__ import annotations

from millrace.components.evaluator import checks
from millrace.components.evaluator.checks import OVERALL
from millrace.ml.bounds import Bound


def test_what_is_not_defined_fails_overall_and_is_passed_over_in_a_slice() -> None:
    bound = Bound("auc", "lower_bound", 0.5)
    overall = checks.check_value(bound, OVERALL, None, "all rows are of one class")
    assert overall.passed is False
    assert overall.reason == "auc is not defined: all rows are of one class"
    assert checks.check_value(bound, "carrier = AA", None, "").passed is None


def test_a_change_is_reported_with_both_values() -> None:
    bound = Bound("auc", "min_change", -0.01)
    check = checks.check_change(bound, 0.7, 0.75, "")
    assert check.passed is False
    assert check.reason == (
        "auc is 0.7 after the baseline's 0.75, a change of -0.05, so min_change -0.01 fails"
    )
    assert checks.without_baseline(bound, 0.7).passed is None


def test_a_finding_shows_the_digits_that_decide() -> None:
    bound = Bound("auc", "lower_bound", 0.9)
    assert checks.check_value(bound, OVERALL, 0.89999, "").reason == (
        "auc is 0.89999, so lower_bound 0.9 fails"
    )
    assert checks.check_value(bound, OVERALL, 0.912345, "").reason == (
        "auc is 0.9123, so lower_bound 0.9 holds"
    )
    close = checks.check_change(Bound("auc", "min_change", -0.01), 0.74998, 0.76, "")
    assert close.reason == (
        "auc is 0.75 after the baseline's 0.76, a change of -0.01002, so min_change -0.01 fails"
    )
