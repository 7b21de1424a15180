"""Labels and predictions of rows in compact form, and their metrics."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from millrace.ml import metrics
from millrace.ml.arrays import Array
from millrace.ml.metrics import Groups
from millrace.ml.problem import Kind, Problem


@dataclasses.dataclass(frozen=True)
class Scores:
    """Labels and predictions of the rows that got a finite prediction.

    Attributes:
        problem: The prediction problem.
        finite: A mask of these among all rows.
        labels: The index of each row's class, or its value.
        predictions: The probability of the second of two classes, the index of the most probable
            of several, or the value.
        chance: The predicted probability of the row's class, for several classes.
        rank: How many classes have a higher one, for several classes.
    """

    problem: Problem
    finite: Array
    labels: Array
    predictions: Array
    chance: Array
    rank: Array

    @classmethod
    def of(cls, problem: Problem, labels: Array, outputs: Array) -> Scores:
        """Returns the scores of labels and the model's outputs, of shape [rows, width]."""
        finite = np.isfinite(outputs).all(axis=1)
        if not finite.all():
            labels, outputs = labels[finite], outputs[finite]
        predictions, chance, rank = outputs[:, 0], np.empty(0, np.float32), np.empty(0, np.int32)
        if problem.kind is Kind.MULTICLASS:
            predictions, chance, rank = metrics.of_classes(outputs, labels)
        return cls(problem, finite, labels, predictions, chance, rank)

    @classmethod
    def join(cls, parts: Sequence[Scores]) -> Scores:
        """Returns the scores of all rows of at least one part."""
        fields = [field.name for field in dataclasses.fields(cls)][1:]
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in fields}
        return cls(parts[0].problem, **joined)

    def metrics(self, groups: Groups) -> dict[str, Array]:
        """Returns the metrics of groups of all rows, computed from those with a prediction."""
        groups = Groups(groups.codes[self.finite], groups.count)
        if self.problem.kind is Kind.BINARY:
            return metrics.binary(self.labels, self.predictions, groups)
        if self.problem.kind is Kind.REGRESSION:
            return metrics.regression(self.labels, self.predictions, groups)
        top_k = metrics.top_k(len(self.problem.classes))
        return metrics.multiclass(
            self.labels, self.predictions, self.chance, self.rank, top_k, groups
        )

    def overall(self) -> dict[str, float]:
        """Returns the metrics over all rows; NaN for an undefined one."""
        found = self.metrics(Groups.one(len(self.finite)))
        return {name: float(values[0]) for name, values in found.items()}
