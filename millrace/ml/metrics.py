"""Computes metrics of predictions for any number of groups of rows at once, vectorised.

Names are those of TensorFlow Model Analysis where it has the metric, else those of Keras. A metric
that is undefined in a group, such as the AUC of one class, is NaN; `METRICS` says why.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from millrace.ml.arrays import Array
from millrace.ml.problem import Kind

# Probabilities are clipped to this distance from 0 and 1, as in Keras and TFMA.
EPSILON = 1e-7
THRESHOLD = 0.5
QUANTILES = {
    "error_p05": 0.05,
    "error_p25": 0.25,
    "error_p50": 0.5,
    "error_p75": 0.75,
    "error_p95": 0.95,
}

_NO_ROWS = "there are no rows"


@dataclasses.dataclass(frozen=True)
class Metric:
    """The properties of a metric.

    Attributes:
        title: Its name for people.
        better: 1 if more is better, -1 if less is, 0 if neither.
        undefined: Why it may be undefined in a group.
        blind: Its value for a model that sees no features, if that is constant.
    """

    title: str
    better: int
    undefined: str = _NO_ROWS
    blind: float | None = None


METRICS: dict[Kind, dict[str, Metric]] = {
    Kind.BINARY: {
        "example_count": Metric("rows", 0),
        "auc": Metric("AUC", 1, "all rows are of one class", 0.5),
        "auc_precision_recall": Metric("AUC of precision and recall", 1, "no row is positive"),
        "binary_accuracy": Metric("accuracy", 1),
        "precision": Metric("precision", 1, "no row is predicted positive"),
        "recall": Metric("recall", 1, "no row is positive"),
        "f1_score": Metric("F1", 1, "no row is positive or predicted so"),
        "binary_crossentropy": Metric("log loss", -1),
        "brier_score": Metric("Brier score", -1),
        "calibration": Metric("calibration", 0, "no row is positive"),
        "mean_label": Metric("positive rows", 0),
        "mean_prediction": Metric("mean prediction", 0),
    },
    Kind.MULTICLASS: {
        "example_count": Metric("rows", 0),
        "accuracy": Metric("accuracy", 1),
        "top_k_accuracy": Metric("top-k accuracy", 1),
        "macro_f1_score": Metric("macro F1", 1),
        "weighted_f1_score": Metric("weighted F1", 1),
        "categorical_crossentropy": Metric("log loss", -1),
    },
    Kind.REGRESSION: {
        "example_count": Metric("rows", 0),
        "root_mean_squared_error": Metric("RMSE", -1),
        "mean_squared_error": Metric("MSE", -1),
        "mean_absolute_error": Metric("MAE", -1),
        "r2_score": Metric("R²", 1, "the label has one value only", 0.0),
        "mean_error": Metric("mean error", 0),
        **{
            name: Metric(f"{share:.0%} quantile of the error", 0)
            for name, share in QUANTILES.items()
        },
        "mean_label": Metric("mean label", 0),
        "mean_prediction": Metric("mean prediction", 0),
    },
}

# The main metric, which is shown first.
HEADLINE = {
    Kind.BINARY: "auc",
    Kind.MULTICLASS: "accuracy",
    Kind.REGRESSION: "root_mean_squared_error",
}


@dataclasses.dataclass(frozen=True)
class Groups:
    """The assignment of rows to groups.

    Attributes:
        codes: A number below `count` for each row.
        count: The number of groups.
    """

    codes: Array
    count: int

    @classmethod
    def one(cls, rows: int) -> Groups:
        """Puts all rows into one group."""
        return cls(np.zeros(rows, np.uint8), 1)

    @property
    def sizes(self) -> Array:
        """The number of rows in each group."""
        rows: Array = np.bincount(self.codes, minlength=self.count)
        return rows

    def sums(self, values: Array) -> Array:
        """Returns the sum of each group's values."""
        total: Array = np.bincount(self.codes, values, self.count)
        return total

    def means(self, values: Array) -> Array:
        """Returns the mean of each group's values."""
        return _divide(self.sums(values), self.sizes)

    def order(self, values: Array) -> Array:
        """Returns the rows' order by group, and by value within one."""
        by_value = np.argsort(values, kind="stable")
        # numpy sorts small integers by radix.
        codes = self.codes.astype(np.min_scalar_type(max(self.count - 1, 0)), copy=False)
        order: Array = by_value[np.argsort(codes[by_value], kind="stable")]
        return order


def binary(labels: Array, scores: Array, groups: Groups) -> dict[str, Array]:
    """Returns the metrics of each group for a binary problem.

    Args:
        labels: 0 or 1 for each row.
        scores: The probability of 1 for each row. More than a half predicts 1.
        groups: The group of each row.
    """
    labels, scores = labels.astype(bool), scores.astype(np.float64)
    predicted = scores > THRESHOLD
    rows, positives = groups.sizes, groups.sums(labels)
    hits, guesses = groups.sums(labels & predicted), groups.sums(predicted)
    chance = np.clip(scores, EPSILON, 1 - EPSILON)
    ranked = ranking(labels, scores, groups)
    return {
        "example_count": rows.astype(np.float64),
        "auc": ranked["auc"],
        "auc_precision_recall": ranked["auc_precision_recall"],
        "binary_accuracy": groups.means(labels == predicted),
        "precision": _divide(hits, guesses),
        "recall": _divide(hits, positives),
        "f1_score": _divide(2 * hits, positives + guesses),
        "binary_crossentropy": groups.means(-np.log(np.where(labels, chance, 1 - chance))),
        "brier_score": groups.means((scores - labels) ** 2),
        "calibration": _divide(groups.sums(scores), positives),
        "mean_label": _divide(positives, rows),
        "mean_prediction": groups.means(scores),
    }


def ranking(labels: Array, scores: Array, groups: Groups) -> dict[str, Array]:
    """Returns the exact areas under each group's ROC curve and under its precision-recall curve.

    The first is the Mann-Whitney statistic over midranks, so rows of equal score count half. The
    second is the average precision, the area under the curve's steps, see
    https://scikit-learn.org/stable/modules/generated/sklearn.metrics.average_precision_score.html.
    """
    if not len(labels):
        return {name: np.full(groups.count, np.nan) for name in ("auc", "auc_precision_recall")}
    order = groups.order(scores)
    group, score, label = groups.codes[order], scores[order], labels[order].astype(np.float64)
    # A run is the rows of one group that share a score.
    first = np.flatnonzero(_changes(group) | _changes(score))
    last = np.append(first[1:], len(order))
    run_group, run_positives = group[first], np.add.reduceat(label, first)
    rows, positives = groups.sizes, groups.sums(labels)
    begin = np.cumsum(rows) - rows

    midranks = (first + last + 1) / 2 - begin[run_group]
    rank_sums = np.bincount(run_group, run_positives * midranks, groups.count)
    auc = _divide(rank_sums - positives * (positives + 1) / 2, positives * (rows - positives))

    before = np.cumsum(run_positives) - run_positives
    before -= (np.cumsum(positives) - positives)[run_group]
    hits = positives[run_group] - before
    precision = hits / (begin[run_group] + rows[run_group] - first)
    area = np.bincount(run_group, run_positives * precision, groups.count)
    return {"auc": auc, "auc_precision_recall": _divide(area, positives)}


def multiclass(
    labels: Array,
    predicted: Array,
    chance: Array,
    rank: Array,
    top_k: int,
    groups: Groups,
) -> dict[str, Array]:
    """Returns the metrics of each group for a multi-class problem.

    Args:
        labels: The index of each row's class.
        predicted: The index of the class with the highest probability.
        chance: The predicted probability of the row's class.
        rank: How many classes have a higher probability than the row's class.
        top_k: How many of the most probable classes count as right in `top_k_accuracy`.
        groups: The group of each row.
    """
    right = labels == predicted
    f1_group, f1, support = _f1_by_class(labels, predicted, groups)
    classes = np.bincount(f1_group, minlength=groups.count)
    return {
        "example_count": groups.sizes.astype(np.float64),
        "accuracy": groups.means(right),
        "top_k_accuracy": groups.means(rank < top_k),
        # Over the classes among a group's labels or predictions, as in scikit-learn.
        "macro_f1_score": _divide(np.bincount(f1_group, f1, groups.count), classes),
        "weighted_f1_score": _divide(
            np.bincount(f1_group, f1 * support, groups.count), groups.sizes
        ),
        "categorical_crossentropy": groups.means(
            -np.log(np.clip(chance.astype(np.float64), EPSILON, 1 - EPSILON))
        ),
    }


def regression(labels: Array, predictions: Array, groups: Groups) -> dict[str, Array]:
    """Returns the metrics of each group for a regression; errors are prediction minus label."""
    labels, predictions = labels.astype(np.float64), predictions.astype(np.float64)
    errors = predictions - labels
    squares = groups.sums(errors**2)
    means = groups.means(labels)
    spread = groups.sums((labels - means[groups.codes]) ** 2)
    spread[_constant(labels, groups)] = 0  # rounding may leave a small rest
    mean_square = _divide(squares, groups.sizes)
    return {
        "example_count": groups.sizes.astype(np.float64),
        "root_mean_squared_error": np.sqrt(mean_square),
        "mean_squared_error": mean_square,
        "mean_absolute_error": groups.means(np.abs(errors)),
        "r2_score": 1 - _divide(squares, spread),
        "mean_error": groups.means(errors),
        **quantiles(errors, QUANTILES, groups),
        "mean_label": means,
        "mean_prediction": groups.means(predictions),
    }


def quantiles(values: Array, shares: dict[str, float], groups: Groups) -> dict[str, Array]:
    """Returns quantiles of each group's values by name, interpolated linearly as in numpy."""
    if not len(values):
        return {name: np.full(groups.count, np.nan) for name in shares}
    rows = groups.sizes
    begin = np.cumsum(rows) - rows
    sorted_values = values[groups.order(values)]
    result = {}
    for name, share in shares.items():
        at = share * np.maximum(rows - 1, 0)
        low = np.minimum(begin + at.astype(np.int64), len(values) - 1)
        high = np.minimum(low + 1, begin + np.maximum(rows - 1, 0))
        high = np.minimum(high, len(values) - 1)
        weight = at - at.astype(np.int64)
        value = sorted_values[low] * (1 - weight) + sorted_values[high] * weight
        result[name] = np.where(rows > 0, value, np.nan)
    return result


def of_classes(probabilities: Array, labels: Array) -> tuple[Array, Array, Array]:
    """Returns each row's predicted class, its label's probability, and that one's rank from 0."""
    chance = np.take_along_axis(probabilities, labels[:, None].astype(np.int64), axis=1)
    rank = np.count_nonzero(probabilities > chance, axis=1)
    return probabilities.argmax(axis=1).astype(np.int32), chance[:, 0], rank.astype(np.int32)


def top_k(classes: int) -> int:
    """Returns the k of `top_k_accuracy`: half the classes, and at most five."""
    return min(5, (classes + 1) // 2)


def _f1_by_class(labels: Array, predicted: Array, groups: Groups) -> tuple[Array, Array, Array]:
    """Returns group, F1 and support of each class among a group's labels or predictions."""
    width = int(max(labels.max(initial=0), predicted.max(initial=0))) + 1
    offset = groups.codes.astype(np.int64) * width
    keys, index = np.unique(
        np.concatenate([offset + labels, offset + predicted]), return_inverse=True
    )
    index = index.reshape(-1)
    of_labels, of_guesses = index[: len(labels)], index[len(labels) :]
    support = np.bincount(of_labels, minlength=len(keys))
    guesses = np.bincount(of_guesses, minlength=len(keys))
    hits = np.bincount(of_labels[labels == predicted], minlength=len(keys))
    return keys // width, 2 * hits / (support + guesses), support


def _constant(values: Array, groups: Groups) -> Array:
    """Returns whether all values of a group are the same."""
    some = np.zeros(groups.count)
    some[groups.codes] = values
    constant: Array = groups.sums(values != some[groups.codes]) == 0
    return constant


def _changes(values: Array) -> Array:
    """Returns where a value differs from the one before it; the first always does."""
    changed: Array = np.concatenate([[True], values[1:] != values[:-1]])
    return changed


def _divide(numerator: Array, denominator: Array) -> Array:
    """Divides; NaN where the denominator is zero."""
    result: Array = np.full(np.shape(denominator), np.nan)
    np.divide(numerator, denominator, out=result, where=denominator != 0)
    return result
