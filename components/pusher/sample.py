"""The raw rows that candidates are measured on, and the SavedModel's predictions for them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa

from millrace.data import examples
from millrace.errors import DataError, ModelError
from millrace.ml.arrays import Array
from millrace.ml.exported import ExportedModel
from millrace.ml.features import to_numpy
from millrace.ml.metrics import HEADLINE
from millrace.ml.problem import Kind, Problem
from millrace.ml.scores import Scores

_TRAIN = "train"
_CALIBRATION_ROWS = 2048


@dataclasses.dataclass(frozen=True)
class Sample:
    """Rows that the SavedModel has predicted.

    Attributes:
        problem: What is predicted.
        features: The rows, as `raw_features` takes them.
        calibration: Rows to calibrate the ranges of activations with: of the train split if there
            is one, so that the result is measured on other rows.
        labels: The index of each row's class, or its value.
        outputs: The SavedModel's predictions, of shape [rows, width].
        metric: The headline metric, which measures the quality.
        metrics: Every metric of the SavedModel.
    """

    problem: Problem
    features: dict[str, Array]
    calibration: dict[str, Array]
    labels: Array
    outputs: Array
    metric: str
    metrics: dict[str, float]

    @property
    def quality(self) -> float:
        """The SavedModel's quality."""
        return self.metrics[self.metric]

    def loss(self, quality: float) -> float:
        """Returns how much worse a quality is than the SavedModel's; relatively for an error."""
        if self.problem.kind is not Kind.REGRESSION:
            return self.quality - quality
        least = 1e-9 * float(np.abs(self.labels).max() or 1)
        return (quality - self.quality) / max(self.quality, least)


def take(model: ExportedModel, root: Path, split: str, max_rows: int) -> Sample:
    """Samples rows evenly over a split, and predicts them with the SavedModel.

    The rows for calibration are sampled alike, as the first rows of sorted data are unlike the
    others.

    Raises:
        DataError: The split has no rows.
        ModelError: A prediction is not a finite number.
    """
    features, labels, outputs = [], [], []
    for batch in _evenly(model, root, split, max_rows):
        rows = model.take(batch, split)
        features.append(rows.features)
        labels.append(rows.labels)
        outputs.append(model.predict(rows.features))
    if not labels:
        raise DataError(f'Split "{split}" of the examples has no rows to measure on.')
    predicted, label = np.concatenate(outputs), np.concatenate(labels)
    broken = len(predicted) - int(np.isfinite(predicted).all(axis=1).sum())
    if broken:
        raise ModelError(
            f"The model gives {broken} of {len(predicted)} rows no finite prediction, so that no "
            "candidate can be compared with it. Look for NaN or infinite values in the examples."
        )
    return Sample(
        model.problem,
        _join(features),
        _calibration(model, root, split),
        label,
        predicted,
        _metric(model.problem, label),
        Scores.of(model.problem, label, predicted).overall(),
    )


def _metric(problem: Problem, labels: Array) -> str:
    """Returns the headline metric; the accuracy for rows of one class, which have no AUC."""
    one_class = problem.kind is Kind.BINARY and labels.min() == labels.max()
    return "binary_accuracy" if one_class else HEADLINE[problem.kind]


def _calibration(model: ExportedModel, root: Path, split: str) -> dict[str, Array]:
    train = _TRAIN in examples.splits(root) and examples.num_rows(root, _TRAIN) > 0
    batches = _evenly(model, root, _TRAIN if train else split, _CALIBRATION_ROWS)
    return _join([to_numpy(batch, model.spec) for batch in batches])


def _join(parts: list[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _evenly(model: ExportedModel, root: Path, split: str, max_rows: int) -> list[pa.RecordBatch]:
    """Returns `max_rows` evenly spaced rows of a split, or all if there are fewer."""
    total = examples.num_rows(root, split)
    size = min(total, max_rows)
    wanted = np.arange(size) * total // max(size, 1)
    chosen, begin = [], 0
    for batch in examples.read(root, split, model.columns(root, split)):
        end = begin + batch.num_rows
        here = wanted[(wanted >= begin) & (wanted < end)] - begin
        if len(here):
            chosen.append(batch.take(pa.array(here)))
        begin = end
    return chosen
