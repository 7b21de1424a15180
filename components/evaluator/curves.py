"""Computes the charts of a model: curves, the confusion matrix, the histogram of errors."""

from __future__ import annotations

from typing import Any

import numpy as np

from millrace.ml.arrays import Array
from millrace.ml.metrics import THRESHOLD
from millrace.ml.problem import Kind
from millrace.ml.scores import Scores

POINTS = 100
BINS = 10
BARS = 40
# A larger matrix is illegible in the KFP UI.
MATRIX_CLASSES = 20
OTHERS = "all others"


def of(scores: Scores) -> dict[str, Any]:
    """Returns every chart for the kind of problem."""
    labels, predictions = scores.labels, scores.predictions
    if not len(labels):
        return {}
    if scores.problem.kind is Kind.REGRESSION:
        return {
            "calibration": calibration(labels, predictions),
            "errors": histogram(predictions - labels),
        }
    classes = [str(value) for value in scores.problem.classes]
    if scores.problem.kind is Kind.MULTICLASS:
        return {
            "confusion_matrix": confusion(labels, predictions, classes),
            "per_class": per_class(labels, predictions, classes),
        }
    return {
        "roc": roc(labels, predictions),
        "precision_recall": precision_recall(labels, predictions),
        "calibration": calibration(labels, predictions),
        "confusion_matrix": confusion(labels, (predictions > THRESHOLD).astype(int), classes),
    }


def for_kfp(pictures: dict[str, Any]) -> dict[str, Any]:
    """Returns the confusion matrix and ROC curve in the form of `system.ClassificationMetrics`."""
    metadata: dict[str, Any] = {}
    if matrix := pictures.get("confusion_matrix"):
        metadata["confusionMatrix"] = {
            "annotationSpecs": [{"displayName": name} for name in matrix["classes"]],
            "rows": [{"row": row} for row in matrix["rows"]],
        }
    if points := pictures.get("roc"):
        metadata["confidenceMetrics"] = [
            {
                "confidenceThreshold": point["threshold"],
                "recall": point["recall"],
                "falsePositiveRate": point["false_positive_rate"],
            }
            for point in points
        ]
    return metadata


def roc(labels: Array, scores: Array) -> list[dict[str, float]]:
    """Returns at most `POINTS` points of the ROC curve, by falling threshold.

    A row is predicted positive if its score is at least the threshold; the first threshold is above
    every score. There is no curve unless there are rows of both classes.
    """
    positives = int(labels.sum())
    if positives in (0, len(labels)):
        return []
    thresholds, hits, guesses = _cumulate(labels, scores)
    above = np.nextafter(scores.max(), scores.dtype.type(np.inf))
    thresholds = np.concatenate([[above], thresholds])
    recall = np.concatenate([[0.0], hits / positives])
    fall_out = np.concatenate([[0.0], (guesses - hits) / (len(labels) - positives)])
    keep = _spread(recall + fall_out)
    return [
        {"threshold": float(t), "recall": float(r), "false_positive_rate": float(f)}
        for t, r, f in zip(thresholds[keep], recall[keep], fall_out[keep], strict=True)
    ]


def precision_recall(labels: Array, scores: Array) -> list[dict[str, float]]:
    """Returns at most `POINTS` points of the precision-recall curve, by falling threshold.

    The curve begins at the first threshold that finds a positive row.
    """
    positives = int(labels.sum())
    if not positives:
        return []
    thresholds, hits, guesses = _cumulate(labels, scores)
    first = np.flatnonzero(hits)[0]
    thresholds, hits, guesses = thresholds[first:], hits[first:], guesses[first:]
    recall, precision = hits / positives, hits / guesses
    keep = _spread(recall)
    return [
        {"threshold": float(t), "recall": float(r), "precision": float(p)}
        for t, r, p in zip(thresholds[keep], recall[keep], precision[keep], strict=True)
    ]


def calibration(labels: Array, scores: Array) -> list[dict[str, float]]:
    """Returns mean prediction and mean label of `BINS` bins with about equally many rows."""
    edges = np.unique(np.quantile(scores, np.arange(1, BINS) / BINS))
    bins: Array = np.searchsorted(edges, scores, side="right").astype(np.int64)
    rows = np.bincount(bins)
    used = rows > 0
    predicted = np.bincount(bins, scores)[used] / rows[used]
    observed = np.bincount(bins, labels)[used] / rows[used]
    return [
        {"mean_prediction": float(p), "mean_label": float(o), "rows": int(n)}
        for p, o, n in zip(predicted, observed, rows[used], strict=True)
    ]


def confusion(labels: Array, predicted: Array, classes: list[str]) -> dict[str, Any]:
    """Returns how many rows of each class (in rows) were predicted as each class (in columns).

    Beyond `MATRIX_CLASSES` classes, the rarest are combined into the last.
    """
    support = np.bincount(labels, minlength=len(classes))
    if len(classes) > MATRIX_CLASSES:
        common = np.sort(np.argsort(-support, kind="stable")[: MATRIX_CLASSES - 1])
        place = np.full(len(classes), MATRIX_CLASSES - 1)
        place[common] = np.arange(MATRIX_CLASSES - 1)
        labels, predicted = place[labels], place[predicted]
        classes = [classes[index] for index in common] + [OTHERS]
    size = len(classes)
    counts = np.bincount(labels.astype(np.int64) * size + predicted, minlength=size * size)
    return {"classes": classes, "rows": counts.reshape(size, size).tolist()}


def per_class(labels: Array, predicted: Array, classes: list[str]) -> list[dict[str, Any]]:
    """Returns each class's precision, recall and F1; None if it has no rows."""
    size = len(classes)
    support, guesses = (np.bincount(of, minlength=size) for of in (labels, predicted))
    hits = np.bincount(labels[labels == predicted], minlength=size)
    return [
        {
            "class": name,
            "example_count": int(n),
            "precision": float(hit / guess) if guess else None,
            "recall": float(hit / n) if n else None,
            "f1_score": float(2 * hit / (n + guess)) if n + guess else None,
        }
        for name, n, guess, hit in zip(classes, support, guesses, hits, strict=True)
    ]


def histogram(errors: Array) -> dict[str, Any]:
    """Returns the number of errors in `BARS` equal ranges, without the outermost percent."""
    low, high = (float(np.quantile(errors, share)) for share in (0.005, 0.995))
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts, _ = np.histogram(errors, BARS, (low, high))
    return {"counts": counts.tolist(), "low": low, "high": high}


def _cumulate(labels: Array, scores: Array) -> tuple[Array, Array, Array]:
    """Returns each distinct score, falling, with the positives and the rows at or above it."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    return ranked[last].astype(np.float64), np.cumsum(labels[order])[last], last + 1


def _spread(position: Array) -> Array:
    """Returns which points to keep, evenly spread over the curve and including its ends."""
    wanted = np.linspace(position[0], position[-1], POINTS)
    kept: Array = np.unique(np.minimum(np.searchsorted(position, wanted), len(position) - 1))
    return kept
