"""Checks a model's metrics against bounds, and words the findings."""

from __future__ import annotations

import dataclasses
from typing import Any

from millrace.ml.bounds import Bound
from millrace.report import numbers

OVERALL = "overall"


@dataclasses.dataclass(frozen=True)
class Check:
    """The result of checking a bound.

    Attributes:
        bound: The bound.
        where: The slice's name, or "overall".
        value: The metric, or None if it is undefined there.
        baseline: The baseline's, for a bound on the change.
        passed: Whether the bound holds; None if it was not checked.
        reason: The finding in a sentence.
    """

    bound: Bound
    where: str
    value: float | None
    baseline: float | None
    passed: bool | None
    reason: str

    def as_json(self) -> dict[str, Any]:
        """Returns the check for `metrics.json`."""
        fields = dataclasses.asdict(self)
        return {**fields.pop("bound"), **fields}


def check_value(bound: Bound, where: str, value: float | None, undefined: str) -> Check:
    """Checks a metric against a bound on its value.

    If the metric is undefined, the bound fails overall, and does not apply in a slice.
    """
    if value is None:
        passed = False if where == OVERALL else None
        reason = f"{bound.metric} is not defined: {undefined}"
        return Check(bound, where, None, None, passed, reason)
    passed = bound.holds(value)
    shown = numbers.against(value, bound.limit)
    reason = f"{bound.metric} is {shown}, so {bound} {_verb(passed)}"
    return Check(bound, where, value, None, passed, reason)


def check_change(
    bound: Bound, value: float | None, baseline: float | None, undefined: str
) -> Check:
    """Checks the change of an overall metric from the baseline against a bound."""
    if value is None or baseline is None:
        reason = f"{bound.metric} is not defined: {undefined}"
        return Check(bound, OVERALL, value, baseline, False, reason)
    change = value - baseline
    passed = bound.holds(change)
    moved = ("+" if change >= 0 else "") + numbers.against(change, bound.limit)
    reason = (
        f"{bound.metric} is {numbers.against(value, baseline)} after the baseline's "
        f"{numbers.against(baseline, value)}, a change of {moved}, so {bound} {_verb(passed)}"
    )
    return Check(bound, OVERALL, value, baseline, passed, reason)


def without_baseline(bound: Bound, value: float | None) -> Check:
    """Returns the unchecked bound on a change, when there is no baseline."""
    reason = f"there is no baseline, so {bound} of {bound.metric} was not checked"
    return Check(bound, OVERALL, value, None, None, reason)


def _verb(passed: bool) -> str:
    return "holds" if passed else "fails"
