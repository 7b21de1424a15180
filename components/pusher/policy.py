"""The policy: which candidates may be pushed, and which one is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_CEILING, Context

from millrace.components.pusher.candidates import Candidate, describe
from millrace.errors import ParameterError, PolicyError, nearest
from millrace.ml.bounds import Bound
from millrace.report import numbers

SMALLEST, FASTEST, BEST = "smallest", "fastest", "best"
POLICIES = (SMALLEST, FASTEST, BEST)
# Converted models compute in float32, whose rounding of 6e-8 adds up over a network: a metric that
# is beyond a bound by no more than this part of it keeps the bound.
ROUNDING = 1e-6


@dataclasses.dataclass(frozen=True)
class Policy:
    """How a candidate is picked.

    Attributes:
        name: smallest, fastest or best.
        max_metric_loss: How much worse than the SavedModel's its metric may be.
        max_bytes: How large its file may be; 0 for any size.
        bounds: The Evaluator's bounds that the SavedModel keeps on the same rows. A metric that is
            beyond one by no more than rounding still keeps it.
    """

    name: str
    max_metric_loss: float
    max_bytes: int
    bounds: Sequence[Bound] = ()

    def __post_init__(self) -> None:
        if self.name not in POLICIES:
            raise ParameterError(
                f'policy: there is no "{self.name}".{nearest(self.name, POLICIES)} '
                f"There are {', '.join(POLICIES)}."
            )
        if not self.max_metric_loss >= 0:
            raise ParameterError(
                f'"max_metric_loss" must be 0 or more, and is {self.max_metric_loss}.'
            )
        if self.max_bytes < 0:
            raise ParameterError(f'"max_bytes" must be 0 or more, and is {self.max_bytes}.')

    def objection(self, candidate: Candidate) -> str:
        """Returns why a candidate may not be pushed; an empty text if it may."""
        if candidate.failure:
            return candidate.failure
        reasons = self._broken(candidate)
        if candidate.loss > self.max_metric_loss:
            loss = numbers.against(candidate.loss, self.max_metric_loss, 3)
            reasons.append(f"loses {loss}, more than {self.max_metric_loss:.16g}")
        if self.max_bytes and len(candidate.content) > self.max_bytes:
            reasons.append(
                f"is {len(candidate.content):,} bytes large, more than {self.max_bytes:,}"
            )
        return " and ".join(reasons)

    def choose(self, candidates: list[Candidate], metric: str) -> Candidate:
        """Returns the candidate to push.

        Raises:
            PolicyError: No candidate may be pushed.
        """
        fit = [each for each in candidates if not self.objection(each)]
        if not fit:
            raise PolicyError(self._refusal(candidates, metric))
        if self.name == FASTEST:
            return min(fit, key=lambda each: (each.latency_us, len(each.content)))
        if self.name == BEST:
            return min(fit, key=lambda each: (each.loss, len(each.content)))
        return min(fit, key=lambda each: (len(each.content), each.loss))

    def reason(self, chosen: Candidate, candidates: list[Candidate]) -> str:
        """Returns why a candidate was picked, in a sentence."""
        fit = sum(not self.objection(each) for each in candidates)
        if fit == 1:
            return f"{chosen.name} is the only candidate that keeps the limits."
        measure = {
            SMALLEST: f"{len(chosen.content):,} bytes",
            FASTEST: f"{chosen.latency_us:.3g} µs for a row",
            BEST: f"a loss of {chosen.loss:.2g} against the SavedModel",
        }[self.name]
        return (
            f"{chosen.name} is the {self.name} of {fit} candidates that keep the limits: {measure}."
        )

    def _refusal(self, candidates: list[Candidate], metric: str) -> str:
        limits = f"max_metric_loss={self.max_metric_loss:g}"
        if self.max_bytes:
            limits += f" and max_bytes={self.max_bytes}"
        if self.bounds:
            limits += " and the bounds that the evaluator blessed the model by"
        ways = ["relax a limit as given"] if any(map(self._parameters, candidates)) else []
        if any(map(self._broken, candidates)):
            ways.append("loosen the bound in Evaluator's thresholds")
        advice = ", or ".join([*ways, "allow other candidates"])
        found = [f"{describe(each, metric)}{self._needs(each)}" for each in candidates]
        return (
            f"No candidate keeps {limits}, so there is nothing to push: {'; '.join(found)}. "
            f"{advice[0].upper()}{advice[1:]}."
        )

    def _needs(self, candidate: Candidate) -> str:
        """Returns the bounds that a candidate breaks, and the limits that would allow it."""
        reasons, needs = self._broken(candidate), self._parameters(candidate)
        reasons += [f"needs {' and '.join(needs)}"] if needs else []
        return f" - {' and '.join(reasons)}" if reasons else ""

    def _parameters(self, candidate: Candidate) -> list[str]:
        """Returns the parameters that would allow a candidate, apart from the bounds."""
        needs: list[str] = []
        if candidate.failure:
            return needs
        if candidate.loss > self.max_metric_loss:
            needs.append(f"max_metric_loss={_round_up(candidate.loss)}")
        if self.max_bytes and len(candidate.content) > self.max_bytes:
            needs.append(f"max_bytes={len(candidate.content)}")
        return needs

    def _broken(self, candidate: Candidate) -> list[str]:
        """Returns the Evaluator's bounds that a candidate breaks, in words."""
        if candidate.failure:
            return []
        return [
            f"{bound.metric} is {numbers.against(candidate.metrics[bound.metric], bound.limit)}, "
            f"so the evaluator's {bound} fails"
            for bound in self.bounds
            if not bound.holds(candidate.metrics[bound.metric], ROUNDING)
        ]


def kept(bounds: Iterable[Bound], metrics: Mapping[str, float]) -> list[Bound]:
    """Returns the bounds that metrics keep; a metric that is not defined keeps none."""
    return [bound for bound in bounds if bound.holds(metrics.get(bound.metric, math.nan), ROUNDING)]


def _round_up(value: float) -> str:
    """Rounds up to three significant digits."""
    return f"{Context(prec=3, rounding=ROUND_CEILING).create_decimal_from_float(value):g}"
