"""The baseline: another model to compare the model with."""

from __future__ import annotations

import numpy as np

from millrace.errors import ParameterError
from millrace.ml.arrays import Array
from millrace.ml.problem import Kind, Problem


def align(outputs: Array, ours: Problem, theirs: Problem) -> Array:
    """Returns a baseline's outputs with a column for each class of the model under test.

    A class that is unknown to the baseline has probability 0.
    """
    if ours.kind is not Kind.MULTICLASS or ours.classes == theirs.classes:
        return outputs
    known = {value: index for index, value in enumerate(theirs.classes)}
    result: Array = np.zeros((len(outputs), len(ours.classes)), np.float32)
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
