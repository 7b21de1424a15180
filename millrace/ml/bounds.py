"""Bounds on metrics, which a model must keep to be blessed, and once converted to be pushed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from millrace.errors import ParameterError, nearest
from millrace.ml.metrics import METRICS, Metric
from millrace.ml.problem import Kind

# The first two limit a metric's value, the others its change from the baseline.
RULES = ("lower_bound", "upper_bound", "min_change", "max_change")
_LOWER = RULES[::2]
_CHANGES = RULES[2:]


@dataclasses.dataclass(frozen=True)
class Bound:
    """A limit that a metric must keep.

    Attributes:
        metric: The metric's name.
        rule: One of `RULES`.
        limit: The limit, inclusive.
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

    def holds(self, value: float, tolerance: float = 0.0) -> bool:
        """Returns whether a value or a change keeps the limit.

        Args:
            value: The metric, or its change from the baseline.
            tolerance: How far beyond the limit is allowed, relative to the limit.
        """
        slack = tolerance * abs(self.limit)
        if self.rule in _LOWER:
            return value >= self.limit - slack
        return value <= self.limit + slack


def parse(thresholds: Mapping[str, Any], kind: Kind) -> list[Bound]:
    """Returns the bounds of the `thresholds` parameter.

    Raises:
        ParameterError: A metric, a rule or a limit is not valid.
    """
    known = METRICS[kind]
    bounds: list[Bound] = []
    for name, rules in thresholds.items():
        if name not in known:
            raise ParameterError(
                f'thresholds: "{name}" is not a metric of a {kind.value} problem.'
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


def by_metric(bounds: Iterable[Bound]) -> dict[str, dict[str, float]]:
    """Returns the limits by metric and rule, as in the `thresholds` parameter."""
    result: dict[str, dict[str, float]] = {}
    for bound in bounds:
        result.setdefault(bound.metric, {})[bound.rule] = bound.limit
    return result


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
