"""Curves with few points agree with the exact ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from millrace.components.evaluator import curves

rows = st.lists(st.tuples(st.booleans(), st.floats(0, 1, width=16)), min_size=1, max_size=80)


@given(rows)
def test_roc_of_few_rows_is_exact(rows: list) -> None:
    labels, scores = np.array([r[0] for r in rows], int), np.array([r[1] for r in rows], "f")
    points = curves.roc(labels, scores)
    if labels.min() == labels.max():
        assert points == []
        return
    fall_out, recall = (
        [point[name] for point in points] for name in ("false_positive_rate", "recall")
    )
    assert (fall_out[0], recall[0], fall_out[-1], recall[-1]) == (0, 0, 1, 1)
    assert oracle.auc(fall_out, recall) == pytest.approx(oracle.roc_auc_score(labels, scores))
    for point in points:
        predicted = scores >= point["threshold"]
        assert predicted[labels == 1].mean() == pytest.approx(point["recall"])


def test_curves_of_many_rows_are_thinned_evenly() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 50_000)
    scores = np.clip(0.3 * labels + rng.normal(0.4, 0.3, 50_000), 0, 1).astype("f")
    roc = curves.roc(labels, scores)
    assert len(roc) <= curves.POINTS
    area = oracle.auc([p["false_positive_rate"] for p in roc], [p["recall"] for p in roc])
    assert area == pytest.approx(oracle.roc_auc_score(labels, scores), abs=1e-3)
    pr = curves.precision_recall(labels, scores)
    assert len(pr) <= curves.POINTS
    assert pr[-1]["recall"] == 1
    assert all(np.isfinite(list(point.values())).all() for point in [*roc, *pr])


def test_calibration_has_tenths_of_the_rows() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(10_000)
    labels = rng.random(10_000) < scores
    points = curves.calibration(labels, scores)
    assert [point["rows"] for point in points] == [1000] * 10
    assert all(abs(point["mean_label"] - point["mean_prediction"]) < 0.05 for point in points)
    assert curves.calibration(np.ones(5, bool), np.full(5, 0.5, "f")) == [
        {"mean_prediction": 0.5, "mean_label": 1.0, "rows": 5}
    ]


def test_confusion_puts_the_rarest_of_many_classes_together() -> None:
    rng = np.random.default_rng(0)
    labels = np.minimum(rng.geometric(0.08, 5000) - 1, 59)
    predicted = np.where(rng.random(5000) < 0.7, labels, rng.integers(0, 60, 5000))
    names = [f"class {number}" for number in range(60)]
    matrix = curves.confusion(labels, predicted, names)
    assert len(matrix["classes"]) == len(matrix["rows"]) == curves.MATRIX_CLASSES
    assert matrix["classes"][-1] == curves.OTHERS
    assert sum(map(sum, matrix["rows"])) == 5000
    small = curves.confusion(labels % 3, predicted % 3, ["a", "b", "c"])
    assert small["rows"] == oracle.confusion_matrix(labels % 3, predicted % 3).tolist()


def test_classes_without_rows_have_no_recall() -> None:
    found = curves.per_class(np.array([0, 0, 1]), np.array([0, 2, 2]), ["a", "b", "c", "d"])
    assert found == [
        {"class": "a", "example_count": 2, "precision": 1.0, "recall": 0.5, "f1_score": 2 / 3},
        {"class": "b", "example_count": 1, "precision": None, "recall": 0.0, "f1_score": 0.0},
        {"class": "c", "example_count": 0, "precision": 0.0, "recall": None, "f1_score": 0.0},
        {"class": "d", "example_count": 0, "precision": None, "recall": None, "f1_score": None},
    ]


def test_kfp_gets_finite_json() -> None:
    drawn = {
        "roc": curves.roc(np.array([0, 1]), np.array([0.0, 1.0], "f")),
        "confusion_matrix": curves.confusion(np.array([0, 1]), np.array([0, 1]), ["no", "yes"]),
    }
    found = curves.for_kfp(drawn)
    json.dumps(found, allow_nan=False)
    assert found["confusionMatrix"] == {
        "annotationSpecs": [{"displayName": "no"}, {"displayName": "yes"}],
        "rows": [{"row": [1, 0]}, {"row": [0, 1]}],
    }
    assert set(found["confidenceMetrics"][0]) == {
        "confidenceThreshold",
        "recall",
        "falsePositiveRate",
    }
    assert curves.for_kfp({}) == {}


def test_errors_that_are_all_the_same_have_a_histogram() -> None:
    found = curves.histogram(np.zeros(7))
    assert sum(found["counts"]) == 7
    assert found["low"] < 0 < found["high"]
