"""Evaluator: measures the exported model on raw rows, and blesses it or says why not."""

from __future__ import annotations

import logging
from typing import Any

from millrace.artifacts import (
    HTML,
    Blessing,
    ClassificationMetrics,
    Evaluation,
    Examples,
    Input,
    Metrics,
    Model,
    Output,
)
from millrace.components.evaluator import curves as pictures
from millrace.components.evaluator import results, slices
from millrace.components.evaluator.baseline import check_comparable
from millrace.components.evaluator.measure import measure, overall
from millrace.components.evaluator.verdict import check_classes, judge
from millrace.data import examples as data
from millrace.errors import ParameterError
from millrace.ml import bounds
from millrace.ml.blessing import Decision
from millrace.ml.exported import ExportedModel

logger = logging.getLogger(__name__)


def run(
    examples: Input[Examples],
    model: Input[Model],
    evaluation: Output[Evaluation],
    blessing: Output[Blessing],
    metrics: Output[Metrics],
    curves: Output[ClassificationMetrics],
    report: Output[HTML],
    baseline_model: Input[Model] | None = None,
    split: str = "eval",
    slice_columns: list[Any] = [],
    thresholds: dict[str, Any] = {},
    min_slice_rows: int = 0,
    min_class_rows: int = 10,
) -> None:
    """Measures the exported model on raw rows, overall and by slice, and blesses it or not."""
    for name, rows in (("min_slice_rows", min_slice_rows), ("min_class_rows", min_class_rows)):
        if rows < 0:
            raise ParameterError(f'"{name}" must be 0 or more, and is {rows}.')
    specs = slices.specs(slice_columns, data.schema(examples.path, split))
    exported = ExportedModel(model.path)
    limits = bounds.parse(thresholds, exported.problem.kind)
    baseline = ExportedModel(baseline_model.path) if baseline_model else None
    if baseline:
        check_comparable(exported.problem, baseline.problem)

    measured = measure(exported, baseline, examples.path, split, specs)
    total = overall(measured.scores)
    before = overall(measured.baseline) if measured.baseline else None
    sliced = [(each, measured.scores.metrics(each.groups)) for each in measured.slicings]
    unpredicted = measured.rows - len(measured.scores.labels)
    unproven = check_classes(exported.problem, measured.scores.labels, split, min_class_rows)
    verdict = judge(
        limits, total, before, sliced, min_slice_rows, unpredicted, unproven, exported.problem.kind
    )
    logger.info("%s: %s", _word(verdict.blessed), "; ".join(verdict.reasons))
    for warning in verdict.warnings:
        logger.warning("%s", warning)

    drawn = pictures.of(measured.scores)
    found = results.Results(
        exported.problem, split, measured.rows, unpredicted, total, before, sliced, drawn, verdict
    )
    results.write_json(evaluation.path / "metrics.json", found.as_json())
    limits_on_values = [bound for bound in limits if not bound.on_change]
    Decision(
        verdict.blessed, verdict.reasons, limits_on_values, verdict.warnings, total.metrics
    ).save(blessing.path)
    texts = [f"not blessed: {reason}" for reason in verdict.reasons if not verdict.blessed]
    texts += verdict.warnings
    evaluation.metadata |= {"split": split, "rows": measured.rows}
    blessing.metadata |= {
        "blessed": verdict.blessed,
        "thresholds": len(limits),
        **({"warnings": len(verdict.warnings)} if verdict.warnings else {}),
        **({"warning_texts": texts} if texts else {}),
        "reasons": verdict.reasons,
    }
    metrics.metadata |= {k: v for k, v in total.metrics.items() if v is not None}
    curves.metadata |= pictures.for_kfp(drawn)
    report.path.write_text(results.render(found), encoding="utf-8")


def _word(blessed: bool) -> str:
    return "blessed" if blessed else "not blessed"
