"""Runs a model, and a baseline if there is one, over the raw rows of a split in one pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from millrace import progress
from millrace.components.evaluator.baseline import align
from millrace.components.evaluator.slices import Encoder, Slicing
from millrace.data import examples
from millrace.errors import DataError
from millrace.ml.arrays import Array
from millrace.ml.exported import ExportedModel
from millrace.ml.features import to_numpy
from millrace.ml.metrics import METRICS
from millrace.ml.problem import Kind
from millrace.ml.scores import Scores


@dataclasses.dataclass(frozen=True)
class Measured:
    """The scores of a split's rows.

    Attributes:
        rows: All rows.
        scores: The model's.
        baseline: The baseline's.
        slicings: The slices of the rows, in the requested order.
    """

    rows: int
    scores: Scores
    baseline: Scores | None
    slicings: list[Slicing]


@dataclasses.dataclass(frozen=True)
class Values:
    """Metrics of one set of rows.

    Attributes:
        metrics: Each metric, or None if it is undefined.
        undefined: Why, for those.
    """

    metrics: dict[str, float | None]
    undefined: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """Returns both for `metrics.json`."""
        return dataclasses.asdict(self)


def measure(
    model: ExportedModel,
    baseline: ExportedModel | None,
    root: Path,
    split: str,
    specs: list[tuple[str, ...]],
) -> Measured:
    """Predicts every row of a split, and keeps labels, predictions and slices.

    Raises:
        DataError: The split has no rows, or rows that the model does not accept.
    """
    total = examples.num_rows(root, split)
    if not total:
        raise DataError(
            f'Split "{split}" of the examples has no rows, so there is nothing to measure.'
        )
    sliced = list(dict.fromkeys(column for spec in specs for column in spec))
    extra = sliced + (list(baseline.spec) if baseline else [])
    slices = Encoder(sliced)
    ours: list[Scores] = []
    theirs: list[Scores] = []
    done = 0
    for rows in model.rows(root, split, extra):
        ours.append(Scores.of(model.problem, rows.labels, model.predict(rows.features)))
        slices.add(rows.batch)
        if baseline:
            outputs = baseline.predict(to_numpy(rows.batch, baseline.spec))
            outputs = align(outputs, model.problem, baseline.problem)
            theirs.append(Scores.of(model.problem, rows.labels, outputs))
        done += rows.batch.num_rows
        progress.report(done, total)
    slicings = [slices.slicing(spec) for spec in specs]
    return Measured(done, Scores.join(ours), Scores.join(theirs) if baseline else None, slicings)


def overall(scores: Scores) -> Values:
    """Returns the metrics of all rows."""
    return _values(scores.overall(), scores.problem.kind)


def values(arrays: Mapping[str, Array], group: int, kind: Kind) -> Values:
    """Returns the metrics of one group."""
    return _values({name: float(array[group]) for name, array in arrays.items()}, kind)


def _values(found: Mapping[str, float], kind: Kind) -> Values:
    """Returns metrics, with the reason for each undefined one."""
    undefined = {
        name: METRICS[kind][name].undefined if found["example_count"] else "there are no rows"
        for name, value in found.items()
        if np.isnan(value)
    }
    return Values(
        {name: None if name in undefined else value for name, value in found.items()}, undefined
    )
