"""Writes the results: metrics.json and the page."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from millrace.components.evaluator.measure import Values, values
from millrace.components.evaluator.slices import Slicing, show
from millrace.components.evaluator.verdict import Verdict
from millrace.ml.arrays import Array
from millrace.ml.metrics import HEADLINE, METRICS, top_k
from millrace.ml.problem import Kind, Problem
from millrace.report import page

# The number of slices of each kind that are written, the largest first. All are checked.
MAX_SLICES = 1000
# Rows of a table on the page.
_SHOWN = 40
_TILES = {
    Kind.BINARY: ("auc", "auc_precision_recall", "binary_accuracy", "precision", "recall",
                  "binary_crossentropy", "calibration"),
    Kind.MULTICLASS: ("accuracy", "top_k_accuracy", "macro_f1_score", "weighted_f1_score",
                      "categorical_crossentropy"),
    Kind.REGRESSION: ("root_mean_squared_error", "mean_absolute_error", "r2_score", "mean_error",
                      "error_p05", "error_p95"),
}  # fmt: skip
_IN_SLICES = {
    Kind.BINARY: ("binary_accuracy", "precision", "recall", "calibration", "mean_label"),
    Kind.MULTICLASS: ("top_k_accuracy", "macro_f1_score", "categorical_crossentropy"),
    Kind.REGRESSION: ("mean_absolute_error", "r2_score", "mean_error", "mean_label"),
}


@dataclasses.dataclass(frozen=True)
class Results:
    """The results of an evaluation.

    Attributes:
        problem: The prediction problem.
        split: The split it was measured on.
        rows: The split's rows.
        unpredicted: The number of rows without a finite prediction.
        overall: The metrics of all rows.
        baseline: The baseline's.
        slices: Each way to slice, with the metrics of its slices.
        pictures: Curves and matrices.
        verdict: Whether the model is blessed.
    """

    problem: Problem
    split: str
    rows: int
    unpredicted: int
    overall: Values
    baseline: Values | None
    slices: Sequence[tuple[Slicing, Mapping[str, Array]]]
    pictures: dict[str, Any]
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        """Returns the content of `metrics.json`."""
        several = self.problem.kind is Kind.MULTICLASS
        return {
            "problem": dataclasses.asdict(self.problem),
            "split": self.split,
            "rows": self.rows,
            "rows_without_prediction": self.unpredicted,
            **({"top_k": top_k(len(self.problem.classes))} if several else {}),
            "overall": self.overall.as_json(),
            "baseline": self.baseline.as_json() if self.baseline else None,
            "slices": [self._slices(*each) for each in self.slices],
            "pictures": self.pictures,
            "checks": [check.as_json() for check in self.verdict.checks],
            "slices_checked": self.verdict.slices_checked,
        }

    def _slices(self, slicing: Slicing, arrays: Mapping[str, Array]) -> dict[str, Any]:
        rows = [
            {
                "values": list(slicing.values[index]),
                **values(arrays, index, self.problem.kind).as_json(),
            }
            for index in _largest(arrays)[:MAX_SLICES]
        ]
        left_out = slicing.groups.count - len(rows)
        return {"columns": list(slicing.columns), "slices": rows, "left_out": left_out}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file, making its folder if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def render(results: Results) -> str:
    """Returns the page."""
    kind, drawn = results.problem.kind, results.pictures
    total = results.overall.metrics[HEADLINE[kind]]
    classes = sorted(drawn.get("per_class", []), key=lambda row: -row["example_count"])
    return page.render(
        Path(__file__).with_name("report.html.j2"),
        results=results,
        kind=kind.value,
        known=METRICS[kind],
        headline=HEADLINE[kind],
        shown=_TILES[kind],
        in_slices=_IN_SLICES[kind],
        top_k=top_k(len(results.problem.classes)),
        tables=[_table(*each, kind, total) for each in results.slices],
        per_class=classes[:_SHOWN],
        curve=lambda name, x, y: [(point[x], point[y]) for point in drawn[name]],
        span=_span(drawn.get("calibration", [])),
    )


def _table(
    slicing: Slicing, arrays: Mapping[str, Array], kind: Kind, overall: float | None
) -> dict[str, Any]:
    """Returns the slices of one table, the largest first, and the scale of their bars."""
    order = _largest(arrays)[:_SHOWN]
    headline = arrays[HEADLINE[kind]][order]
    return {
        "title": " × ".join(slicing.columns),
        "count": slicing.groups.count,
        "rows": [
            (" · ".join(map(show, slicing.values[index])), values(arrays, index, kind))
            for index in order
        ],
        "largest": arrays["example_count"][order[0]],
        "top": np.nanmax([*headline, overall or 0]),
    }


def _span(points: list[dict[str, float]]) -> tuple[float, float]:
    """Returns the range of both axes of a calibration curve."""
    both = [point[axis] for point in points for axis in ("mean_prediction", "mean_label")]
    return (min(both), max(both)) if both else (0, 1)


def _largest(arrays: Mapping[str, Array]) -> Array:
    """Returns the slices by falling number of rows."""
    order: Array = np.argsort(-arrays["example_count"], kind="stable")
    return order
