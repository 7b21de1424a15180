"""Bounds on metrics: what a model must reach to be blessed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from millrace.errors import ParameterError, nearest
from millrace.ml.metrics import METRICS, Metric
from millrace.ml.problem import Kind
from millrace.report import numbers

# Values are held against the first two, changes from the baseline against the others.
RULES = ("lower_bound", "upper_bound", "min_change", "max_change")
_CHANGES = RULES[2:]
OVERALL = "overall"


@dataclasses.dataclass(frozen=True)
class Bound:
    """A limit that a metric must keep.

    Attributes:
        metric: The metric's name.
        rule: One of `RULES`.
        limit: The limit, which is itself allowed.
    """

    metric: str
    rule: str
    limit: float

    def __str__(self) -> str:
        return f"{self.rule} {self.limit:.16g}"

    @property
    def on_change(self) -> bool:
        """Whether it limits the change from the baseline."""
        return self.rule in _CHANGES

    def holds(self, value: float) -> bool:
        """Tells whether a value or a change keeps the limit."""
        return value >= self.limit if self.rule in RULES[::2] else value <= self.limit


@dataclasses.dataclass(frozen=True)
class Check:
    """A bound held against a model.

    Attributes:
        bound: The bound.
        where: The slice's name, or "overall".
        value: The metric, or None if it is not defined there.
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
        """Returns the check as `metrics.json` holds it."""
        fields = dataclasses.asdict(self)
        return {**fields.pop("bound"), **fields}


def parse(thresholds: Mapping[str, Any], kind: Kind) -> list[Bound]:
    """Returns the bounds of the `thresholds` parameter.

    Raises:
        ParameterError: A metric, a rule or a limit is not one.
    """
    known = METRICS[kind]
    bounds: list[Bound] = []
    for name, rules in thresholds.items():
        if name not in known:
            raise ParameterError(
                f'thresholds: "{name}" is no metric of a {kind.value} problem.'
                f"{nearest(name, known)} There are {', '.join(known)}."
            )
        if not isinstance(rules, dict) or not rules:
            raise ParameterError(
                f'thresholds: "{name}" must hold bounds, such as {{"lower_bound": 0.6}}, '
                f"and is {rules!r}."
            )
        bounds += [_bound(name, rule, limit, known[name]) for rule, limit in rules.items()]
        _check_order(name, rules)
    return bounds


def on_values(bounds: Iterable[Bound]) -> dict[str, dict[str, float]]:
    """Returns the bounds on values by metric, for Pusher to hold what it converts against."""
    result: dict[str, dict[str, float]] = {}
    for bound in bounds:
        if not bound.on_change:
            result.setdefault(bound.metric, {})[bound.rule] = bound.limit
    return result


def check_value(bound: Bound, where: str, value: float | None, undefined: str) -> Check:
    """Holds a metric against a bound on its value.

    Overall, a bound on a metric that is not defined fails; in a slice it does not apply.
    """
    if value is None:
        passed = False if where == OVERALL else None
        reason = f"{bound.metric} is not defined: {undefined}"
        return Check(bound, where, None, None, passed, reason)
    passed = bound.holds(value)
    told = numbers.against(value, bound.limit)
    reason = f"{bound.metric} is {told}, so {bound} {_verb(passed)}"
    return Check(bound, where, value, None, passed, reason)


def check_change(
    bound: Bound, value: float | None, baseline: float | None, undefined: str
) -> Check:
    """Holds the change of an overall metric from the baseline against a bound."""
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
    """Lets a bound on the change be, for want of a baseline."""
    reason = f"there is no baseline, so {bound} of {bound.metric} was not checked"
    return Check(bound, OVERALL, value, None, None, reason)


def _bound(name: str, rule: str, limit: Any, metric: Metric) -> Bound:
    if rule not in RULES:
        raise ParameterError(
            f'thresholds: "{name}" has no bound "{rule}".{nearest(rule, RULES)} '
            f"There are {', '.join(RULES)}."
        )
    number = isinstance(limit, (int, float)) and not isinstance(limit, bool)
    if not number or not math.isfinite(limit):
        raise ParameterError(
            f'thresholds: "{rule}" of "{name}" must be a number, and is {limit!r}.'
        )
    wrong = {"min_change": -1, "max_change": 1}.get(rule)
    if wrong == metric.better:
        right = "max_change" if rule == "min_change" else "min_change"
        sense = "smaller" if metric.better < 0 else "larger"
        raise ParameterError(
            f'thresholds: "{name}" is better when it is {sense}, so "{rule}" would ask for a worse '
            f'model. Use "{right}".'
        )
    return Bound(name, rule, float(limit))


def _check_order(name: str, rules: Mapping[str, float]) -> None:
    for low, high in (RULES[:2], RULES[2:]):
        if low in rules and high in rules and rules[low] > rules[high]:
            raise ParameterError(
                f'thresholds: no model can reach "{name}": {low} {rules[low]:g} is above '
                f"{high} {rules[high]:g}."
            )


def _verb(passed: bool) -> str:
    return "holds" if passed else "fails"
