"""The policy picks among the candidates that keep the limits."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.components.pusher.candidates import Candidate
from millrace.components.pusher.policy import POLICIES, Policy, kept
from millrace.errors import PolicyError
from millrace.ml.bounds import Bound

NEEDS = re.compile(r"needs (?:max_metric_loss=([\d.e-]*\d))?(?: and )?(?:max_bytes=(\d+))?")

candidates = st.lists(
    st.builds(
        Candidate,
        name=st.sampled_from(["float32", "int8"]),
        failure=st.sampled_from(["", "", "", "it cannot"]),
        content=st.integers(1, 50).map(bytes),
        loss=st.floats(-0.1, 0.1),
        latency_us=st.floats(1, 100),
    ),
    min_size=1,
    max_size=5,
)


@given(candidates, st.sampled_from(POLICIES), st.floats(0, 0.1), st.integers(0, 50))
def test_none_that_keeps_the_limits_is_better(
    made: list[Candidate], name: str, loss: float, most: int
) -> None:
    policy = Policy(name, loss, most)
    fit = [
        each
        for each in made
        if not each.failure and each.loss <= loss and (not most or len(each.content) <= most)
    ]
    if not fit:
        with pytest.raises(PolicyError):
            policy.choose(made, "auc")
        return
    chosen = policy.choose(made, "auc")
    assert chosen in fit
    best = {
        "smallest": lambda each: len(each.content),
        "fastest": lambda each: each.latency_us,
        "best": lambda each: each.loss,
    }[name]
    assert best(chosen) == min(map(best, fit))
    assert policy.reason(chosen, made).startswith(chosen.name)


@given(candidates.filter(lambda made: any(not each.failure for each in made)), st.floats(0, 0.1))
def test_what_a_refusal_says_is_enough(made: list[Candidate], loss: float) -> None:
    try:
        Policy("smallest", loss, 1).choose(made, "auc")
    except PolicyError as error:
        needs = NEEDS.search(str(error))
        assert needs
        relaxed = Policy("smallest", float(needs[1] or loss), int(needs[2] or 1))
        assert relaxed.choose(made, "auc")


def test_an_objection_shows_the_digits_that_decide() -> None:
    policy = Policy("best", 0.005, 0)
    assert policy.objection(Candidate("int8", loss=0.005001)) == "loses 0.005001, more than 0.005"
    assert policy.objection(Candidate("int8", loss=0.01234)) == "loses 0.0123, more than 0.005"


def test_rounding_breaks_no_bound() -> None:
    bounds = [Bound("auc", "lower_bound", 0.75), Bound("mean_prediction", "upper_bound", 2e9)]
    rounded = {"auc": 0.75 - 9e-8, "mean_prediction": 2e9 + 100}
    assert kept(bounds, rounded) == bounds
    policy = Policy("best", 0.005, 0, bounds)
    assert policy.objection(Candidate("float32", metrics=rounded)) == ""
    worse = Candidate("int8", metrics={"auc": 0.7499, "mean_prediction": 2.1e9})
    assert policy.objection(worse) == (
        "auc is 0.7499, so the evaluator's lower_bound 0.75 fails and mean_prediction is"
        " 2,100,000,000, so the evaluator's upper_bound 2000000000 fails"
    )


def test_a_small_bound_is_kept_as_exactly_as_a_large_one() -> None:
    bound = Bound("root_mean_squared_error", "upper_bound", 2e-7)
    worse = {"root_mean_squared_error": 9e-7}
    assert kept([bound], worse) == []
    assert Policy("best", 0.005, 0, [bound]).objection(Candidate("int8", metrics=worse)) == (
        "root_mean_squared_error is 9e-07, so the evaluator's upper_bound 2e-07 fails"
    )


def test_a_refusal_tells_what_can_be_done() -> None:
    def refusal(loss: float, auc: float) -> str:
        made = [Candidate("int8", loss=loss, metrics={"auc": auc})]
        with pytest.raises(PolicyError) as raised:
            Policy("best", 0.005, 0, [Bound("auc", "lower_bound", 0.75)]).choose(made, "auc")
        return str(raised.value)

    bound = "oosen the bound in Evaluator's thresholds, or allow other candidates."
    assert refusal(0.01, 0.8).endswith(". Relax a limit as given, or allow other candidates.")
    assert refusal(0.0, 0.7).endswith(f" fails. L{bound}")
    assert refusal(0.01, 0.7).endswith(f". Relax a limit as given, or l{bound}")
