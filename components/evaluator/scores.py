"""What a model predicted for the rows of a split: a few numbers for each row."""

from __future__ import annotations

import dataclasses

import numpy as np

from millrace.errors import ParameterError
from millrace.ml import metrics
from millrace.ml.metrics import Array, Groups
from millrace.ml.problem import Kind, Problem


@dataclasses.dataclass(frozen=True)
class Scores:
    """Labels and predictions of the rows that got a finite prediction.

    Attributes:
        problem: What was predicted.
        finite: Which of all rows those are.
        labels: The index of each row's class, or its value.
        predictions: The probability of the second of two classes, the index of the most probable
            of several, or the value.
        chance: The probability given to the row's class, for several classes.
        rank: How many classes were given a higher one, for several classes.
    """

    problem: Problem
    finite: Array
    labels: Array
    predictions: Array
    chance: Array
    rank: Array

    def metrics(self, groups: Groups) -> dict[str, Array]:
        """Returns the metrics of groups of all rows, but of those with a finite prediction only."""
        groups = Groups(groups.codes[self.finite], groups.count)
        if self.problem.kind is Kind.BINARY:
            return metrics.binary(self.labels, self.predictions, groups)
        if self.problem.kind is Kind.REGRESSION:
            return metrics.regression(self.labels, self.predictions, groups)
        top_k = metrics.top_k(len(self.problem.classes))
        return metrics.multiclass(
            self.labels, self.predictions, self.chance, self.rank, top_k, groups
        )


class Collector:
    """Gathers the scores of one model, batch by batch."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._parts: list[Scores] = []

    def add(self, labels: Array, outputs: Array) -> None:
        """Takes a batch of labels and the model's outputs for it, of shape [rows, width]."""
        finite = np.isfinite(outputs).all(axis=1)
        if not finite.all():
            labels, outputs = labels[finite], outputs[finite]
        predictions, chance, rank = outputs[:, 0], np.empty(0, np.float32), np.empty(0, np.int32)
        if self._problem.kind is Kind.MULTICLASS:
            predictions, chance, rank = metrics.of_classes(outputs, labels)
        self._parts.append(Scores(self._problem, finite, labels, predictions, chance, rank))

    def scores(self) -> Scores:
        """Returns all that was gathered."""
        fields = [field.name for field in dataclasses.fields(Scores)][1:]
        joined = {
            name: np.concatenate([getattr(part, name) for part in self._parts]) for name in fields
        }
        return Scores(self._problem, **joined)


def align(outputs: Array, ours: Problem, theirs: Problem) -> Array:
    """Returns a baseline's outputs with a column for each class that the model under test knows.

    A class that the baseline was not trained on gets no probability from it.
    """
    if ours.kind is not Kind.MULTICLASS or ours.classes == theirs.classes:
        return outputs
    known = {value: index for index, value in enumerate(theirs.classes)}
    result = np.zeros((len(outputs), len(ours.classes)), np.float32)
    for index, value in enumerate(ours.classes):
        if value in known:
            result[:, index] = outputs[:, known[value]]
    return result


def check_comparable(ours: Problem, theirs: Problem) -> None:
    """Raises ParameterError unless a baseline predicts the same label in the same way."""
    same = (ours.label, ours.kind) == (theirs.label, theirs.kind)
    if same and (ours.kind is not Kind.BINARY or ours.classes == theirs.classes):
        return
    raise ParameterError(
        f"baseline_model predicts {_describe(theirs)}, and the model {_describe(ours)}: "
        "they cannot be compared."
    )


def _describe(problem: Problem) -> str:
    classes = " or ".join(map(str, problem.classes)) if problem.kind is Kind.BINARY else ""
    return f'"{problem.label}" ({problem.kind.value}{": " + classes if classes else ""})'
