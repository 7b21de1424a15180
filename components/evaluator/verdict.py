"""Decides whether a model is blessed, and why."""

from __future__ import annotations

import dataclasses

import numpy as np

from millrace.components.evaluator.checks import (
    OVERALL,
    Check,
    check_change,
    check_value,
    without_baseline,
)
from millrace.components.evaluator.measure import Values
from millrace.components.evaluator.slices import Slicing, label
from millrace.ml.arrays import Array
from millrace.ml.bounds import Bound
from millrace.ml.metrics import METRICS
from millrace.ml.problem import Kind, Problem
from millrace.report import numbers

# Reasons that are listed; the others are counted.
_REASONS = 20


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a model may be pushed.

    Attributes:
        blessed: Whether it may be pushed.
        reasons: Why, in sentences: what failed, or what was reached.
        warnings: Warnings that do not prevent it, in sentences.
        checks: Every bound overall, and the slices where a bound fails or does not apply.
        slices_checked: How many slices were checked.
    """

    blessed: bool
    reasons: list[str]
    warnings: list[str]
    checks: list[Check]
    slices_checked: int


def judge(
    bounds: list[Bound],
    overall: Values,
    baseline: Values | None,
    slices: list[tuple[Slicing, dict[str, Array]]],
    min_slice_rows: int,
    unpredicted: int,
    unproven: str,
    kind: Kind,
) -> Verdict:
    """Checks a model against its bounds.

    Args:
        bounds: The bounds.
        overall: The metrics of all rows.
        baseline: The baseline's.
        slices: The slices with their metrics.
        min_slice_rows: The fewest rows of a slice that is checked; 0 checks none.
        unpredicted: The number of rows without a finite prediction.
        unproven: Why the rows are too few to bless any model; empty if they are enough.
        kind: The kind of problem.
    """
    checks = [_check_overall(bound, overall, baseline) for bound in bounds]
    counted = 0
    on_value = [bound for bound in bounds if not bound.on_change]
    for slicing, arrays in slices if min_slice_rows > 0 and on_value else []:
        large = np.flatnonzero(arrays["example_count"] >= min_slice_rows)
        counted += len(large)
        for bound in on_value:
            checks += _check_slices(bound, slicing, arrays, large, kind)
    failed = [_sentence(check) for check in checks if check.passed is False]
    if unpredicted:
        failed.insert(0, f"{unpredicted:,} rows got a prediction that is not a finite number")
    if unproven:
        failed.insert(0, unproven)
    warnings = _warnings(overall, kind)
    if failed:
        more = [f"and {len(failed) - _REASONS} more"] if len(failed) > _REASONS else []
        return Verdict(False, failed[:_REASONS] + more, warnings, checks, counted)
    reached = [check.reason for check in checks if check.where == OVERALL]
    if counted:
        reached.append(f"{counted:,} slices of at least {min_slice_rows:,} rows keep their bounds")
    return Verdict(True, reached or ["no thresholds were set"], warnings, checks, counted)


def check_classes(problem: Problem, labels: Array, split: str, fewest: int) -> str:
    """Returns why there are too few rows of a class to measure a model; an empty text if not.

    Args:
        problem: The problem.
        labels: The class of each row.
        split: The name of the measured split.
        fewest: The fewest rows of both classes; of several, of all but the most frequent together.
    """
    if problem.kind is Kind.REGRESSION:
        return ""
    counts = np.bincount(labels.astype(np.int64), minlength=len(problem.classes))
    others = len(labels) - int(counts.max(initial=0))
    if others >= fewest:
        return ""
    most = problem.classes[int(counts.argmax())]
    rare = [str(value) for value in problem.classes if value != most]
    what = (
        f'"{problem.label}" is {rare[0]}' if len(rare) == 1 else f'"{problem.label}" is not {most}'
    )
    return (
        f"{what} in {others:,} of the {len(labels):,} rows of {split}, and fewer than {fewest:,} do"
        " not show how good a model is: measure it on more rows, or set min_class_rows"
    )


def _warnings(overall: Values, kind: Kind) -> list[str]:
    """Warns of metrics that are worse than those of a model without features."""
    return [
        f"{name} is {numbers.against(value, metric.blind)}, worse than the {metric.blind:g} of a "
        "model that looks at no feature"
        for name, metric in METRICS[kind].items()
        if metric.blind is not None
        and (value := overall.metrics[name]) is not None
        and value < metric.blind
    ]


def _check_overall(bound: Bound, overall: Values, baseline: Values | None) -> Check:
    value, undefined = overall.metrics[bound.metric], overall.undefined.get(bound.metric, "")
    if not bound.on_change:
        return check_value(bound, "overall", value, undefined)
    if baseline is None:
        return without_baseline(bound, value)
    undefined = undefined or baseline.undefined.get(bound.metric, "")
    return check_change(bound, value, baseline.metrics[bound.metric], undefined)


def _check_slices(
    bound: Bound, slicing: Slicing, arrays: dict[str, Array], large: Array, kind: Kind
) -> list[Check]:
    """Returns the checks of slices that fail or have an undefined metric, largest first."""
    found = []
    values = arrays[bound.metric][large]
    suspect = large[[bool(np.isnan(value)) or not bound.holds(value) for value in values]]
    for index in suspect[np.argsort(-arrays["example_count"][suspect], kind="stable")]:
        value = float(arrays[bound.metric][index])
        where = label(slicing.columns, slicing.values[index])
        undefined = METRICS[kind][bound.metric].undefined
        found.append(check_value(bound, where, None if np.isnan(value) else value, undefined))
    return found


def _sentence(check: Check) -> str:
    return check.reason if check.where == OVERALL else f"{check.where}: {check.reason}"
