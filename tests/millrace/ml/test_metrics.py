"""Every metric against scikit-learn's, group by group: ties, tiny groups, groups of one class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from millrace.ml import metrics
from millrace.ml.metrics import Groups

GROUPS = 4
# Few distinct scores make ties; 0 and 1 test the logarithm's ends.
SCORES = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.5000001, 0.75, 0.9, 1.0]) | st.floats(
    0, 1, width=32
)

binary_rows = st.lists(st.tuples(st.integers(0, GROUPS - 1), st.booleans(), SCORES), max_size=60)
class_rows = st.lists(
    st.tuples(
        st.integers(0, GROUPS - 1),
        st.integers(0, 4),
        st.lists(st.integers(0, 6), min_size=5, max_size=5).filter(any),
    ),
    max_size=40,
)
finite = st.floats(-1e6, 1e6, width=32)
regression_rows = st.lists(st.tuples(st.integers(0, GROUPS - 1), finite, finite), max_size=60)


def columns(rows: list, *types: type) -> list[np.ndarray]:
    return [np.array([row[at] for row in rows], kind) for at, kind in enumerate(types)]


def same(found: dict[str, np.ndarray], group: int, expected: dict[str, float], rel=1e-6) -> None:
    for name, value in expected.items():
        assert found[name][group] == pytest.approx(value, rel=rel, abs=1e-9, nan_ok=True), name


@settings(max_examples=25)
@given(binary_rows)
def test_binary_as_scikit_learn(rows: list) -> None:
    codes, labels, scores = columns(rows, int, int, np.float32)
    found = metrics.binary(labels, scores, Groups(codes, GROUPS))
    for group in range(GROUPS):
        y, p = labels[codes == group], scores[codes == group].astype(float)
        assert found["example_count"][group] == len(y)
        if not len(y):
            assert all(np.isnan(found[name][group]) for name in found if name != "example_count")
            continue
        guess = p > 0.5
        nan = {"zero_division": np.nan}
        both = len(set(y)) == 2
        same(
            found,
            group,
            {
                "auc": oracle.roc_auc_score(y, p) if both else np.nan,
                "auc_precision_recall": oracle.average_precision_score(y, p) if any(y) else np.nan,
                "binary_accuracy": oracle.accuracy_score(y, guess),
                "precision": oracle.precision_score(y, guess, **nan),
                "recall": oracle.recall_score(y, guess, **nan),
                "f1_score": oracle.f1_score(y, guess, **nan),
                "binary_crossentropy": oracle.log_loss(
                    y, np.clip(p, 1e-7, 1 - 1e-7), labels=[0, 1]
                ),
                "brier_score": np.mean((p - y) ** 2),
                "calibration": p.sum() / y.sum() if any(y) else np.nan,
                "mean_label": y.mean(),
                "mean_prediction": p.mean(),
            },
        )


@settings(max_examples=25)
@given(class_rows)
def test_multiclass_as_scikit_learn(rows: list) -> None:
    codes, labels = columns([row[:2] for row in rows], int, int)
    weights = np.array([row[2] for row in rows], np.float32).reshape(-1, 5)
    chances = weights / weights.sum(axis=1, keepdims=True)
    predicted, chance, rank = metrics.of_classes(chances, labels)
    found = metrics.multiclass(labels, predicted, chance, rank, 2, Groups(codes, GROUPS))
    for group in range(GROUPS):
        here = codes == group
        y, guess, p = labels[here], predicted[here], chances[here]
        if not len(y):
            assert np.isnan(found["accuracy"][group])
            continue
        own = np.clip(p[np.arange(len(y)), y].astype(float), 1e-7, 1 - 1e-7)
        higher = (p > p[np.arange(len(y)), y][:, None]).sum(axis=1)
        same(
            found,
            group,
            {
                "accuracy": oracle.accuracy_score(y, guess),
                "top_k_accuracy": np.mean(higher < 2),
                "macro_f1_score": oracle.f1_score(y, guess, average="macro", zero_division=0),
                "weighted_f1_score": oracle.f1_score(y, guess, average="weighted", zero_division=0),
                "categorical_crossentropy": np.mean(-np.log(own)),
            },
        )


@settings(max_examples=25)
@given(regression_rows)
def test_regression_as_scikit_learn_and_numpy(rows: list) -> None:
    codes, labels, guesses = columns(rows, int, float, np.float32)
    found = metrics.regression(labels, guesses, Groups(codes, GROUPS))
    for group in range(GROUPS):
        y, guess = labels[codes == group], guesses[codes == group].astype(float)
        if not len(y):
            assert np.isnan(found["error_p50"][group])
            continue
        error = guess - y
        same(
            found,
            group,
            {
                "mean_squared_error": oracle.mean_squared_error(y, guess),
                "root_mean_squared_error": np.sqrt(np.mean(error**2)),
                "mean_absolute_error": oracle.mean_absolute_error(y, guess),
                "mean_error": error.mean(),
                "mean_label": y.mean(),
                "mean_prediction": guess.mean(),
                **{name: np.quantile(error, share) for name, share in metrics.QUANTILES.items()},
            },
            rel=1e-5,
        )
        expected = oracle.r2_score(y, guess) if len(set(y)) > 1 else np.nan
        same(found, group, {"r2_score": expected}, rel=1e-4)


def test_every_metric_is_described() -> None:
    labels, scores, groups = np.array([0, 1]), np.array([0.2, 0.7]), Groups.one(2)
    made = {
        "binary": metrics.binary(labels, scores, groups),
        "multiclass": metrics.multiclass(labels, labels, scores, labels, 1, groups),
        "regression": metrics.regression(labels, scores, groups),
    }
    for kind, known in metrics.METRICS.items():
        assert set(made[kind.value]) == set(known)
        assert metrics.HEADLINE[kind] in known


@pytest.mark.parametrize(("classes", "expected"), [(3, 2), (4, 2), (9, 5), (1000, 5)])
def test_top_k_grows_with_the_classes(classes: int, expected: int) -> None:
    assert metrics.top_k(classes) == expected


def test_many_groups_are_no_loop() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 50_000, 200_000)
    labels, scores = rng.integers(0, 2, 200_000), rng.random(200_000, np.float32)
    found = metrics.binary(labels, scores, Groups(codes, 50_000))
    some = int(codes[0])
    here = codes == some
    assert found["auc"][some] == pytest.approx(
        oracle.roc_auc_score(labels[here], scores[here]) if len(set(labels[here])) == 2 else np.nan,
        nan_ok=True,
    )
