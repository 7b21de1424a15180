"""Evaluator as a whole, on small models of each kind."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sklearn import metrics as oracle

from millrace.artifacts import (
    HTML,
    Blessing,
    ClassificationMetrics,
    Evaluation,
    Examples,
    Metrics,
    Model,
)
from millrace.components.evaluator.executor import run
from millrace.data import examples
from millrace.errors import DataError, ModelError, ParameterError
from millrace.ml.exported import ExportedModel
from millrace.report import numbers


@dataclasses.dataclass
class Outcome:
    metrics: dict[str, Any]
    blessing: dict[str, Any]
    page: str
    metadata: dict[str, Any]
    curves: dict[str, Any]
    said: dict[str, Any]

    @property
    def overall(self) -> dict[str, Any]:
        return self.metrics["overall"]["metrics"]


@pytest.fixture
def evaluate(tmp_path: Path) -> Callable[..., Outcome]:
    def call(model: Path, rows: Path, baseline: Path | None = None, **parameters: Any) -> Outcome:
        made = {
            "evaluation": Evaluation(str(tmp_path / "evaluation")),
            "blessing": Blessing(str(tmp_path / "blessing")),
            "metrics": Metrics(str(tmp_path / "metrics")),
            "curves": ClassificationMetrics(str(tmp_path / "curves")),
            "report": HTML(str(tmp_path / "report.html")),
        }
        against = Model(str(baseline)) if baseline else None
        run(Examples(str(rows)), Model(str(model)), **made, baseline_model=against, **parameters)
        blessing = json.loads((tmp_path / "blessing" / "blessing.json").read_text())
        assert made["blessing"].metadata["blessed"] is blessing["blessed"]
        assert made["blessing"].metadata["reasons"] == blessing["reasons"]
        json.dumps([each.metadata for each in made.values()], allow_nan=False)
        return Outcome(
            json.loads((tmp_path / "evaluation" / "metrics.json").read_text()),
            blessing,
            (tmp_path / "report.html").read_text(),
            made["metrics"].metadata,
            made["curves"].metadata,
            made["blessing"].metadata,
        )

    return call


def truth(model: Path, rows: Path, split: str = "eval") -> tuple[np.ndarray, np.ndarray, pa.Table]:
    loaded = ExportedModel(model)
    parts = list(loaded.rows(rows, split, ["carrier", "stops"]))
    return (
        np.concatenate([part.labels for part in parts]),
        np.concatenate([loaded.predict(part.features) for part in parts]),
        pa.Table.from_batches([part.batch for part in parts]),
    )


def rewritten(rows: Path, to: Path, change: Callable[[pa.Table], pa.Table]) -> Path:
    """Examples whose eval split is changed."""
    table = change(pq.read_table(examples.shards(rows, "eval")[0]))
    with examples.SplitWriter(to, "eval", table.schema) as writer:
        for batch in table.to_batches():
            writer.write(batch)
    return to


def test_binary_overall_and_by_slice(exported: Callable, evaluate: Callable) -> None:
    given = exported("binary")
    found = evaluate(given.model, given.examples, slice_columns=["stops", ["carrier", "stops"]])
    labels, outputs, table = truth(given.model, given.examples)
    assert found.overall["example_count"] == len(labels) == 2000
    assert found.overall["auc"] == pytest.approx(oracle.roc_auc_score(labels, outputs[:, 0]))
    assert 0.7 < found.overall["auc"] < 1
    assert found.metadata == found.overall
    by_stops, crossed = found.metrics["slices"]
    assert by_stops["columns"] == ["stops"]
    assert sum(each["metrics"]["example_count"] for each in by_stops["slices"]) == 2000
    for each in by_stops["slices"]:
        here = table.column("stops").to_numpy() == each["values"][0]
        assert each["metrics"]["auc"] == pytest.approx(
            oracle.roc_auc_score(labels[here], outputs[here, 0])
        )
    assert crossed["columns"] == ["carrier", "stops"]
    assert len(crossed["slices"]) + crossed["left_out"] == 42 * 4
    small = [each for each in crossed["slices"] if each["metrics"]["auc"] is None]
    assert all(each["undefined"]["auc"] == "all rows are of one class" for each in small)
    assert found.blessing["blessed"]
    assert found.blessing["reasons"] == ["no thresholds were set"]
    assert len(found.curves["confidenceMetrics"]) <= 100
    assert found.curves["confusionMatrix"]["annotationSpecs"] == [
        {"displayName": "no"},
        {"displayName": "yes"},
    ]


def test_multiclass(exported: Callable, evaluate: Callable) -> None:
    given = exported("multiclass")
    found = evaluate(given.model, given.examples, slice_columns=["carrier"])
    labels, outputs, _ = truth(given.model, given.examples)
    guesses, chances = outputs.argmax(axis=1), outputs.astype(float)
    assert found.overall["accuracy"] == pytest.approx(oracle.accuracy_score(labels, guesses))
    assert found.overall["macro_f1_score"] == pytest.approx(
        oracle.f1_score(labels, guesses, average="macro")
    )
    assert found.overall["categorical_crossentropy"] == pytest.approx(
        oracle.log_loss(labels, chances / chances.sum(axis=1, keepdims=True)), rel=1e-5
    )
    matrix = found.metrics["pictures"]["confusion_matrix"]
    assert matrix["rows"] == oracle.confusion_matrix(labels, guesses).tolist()
    assert found.metrics["top_k"] == 2
    assert "confidenceMetrics" not in found.curves
    assert "early" in found.page


def test_regression_has_no_classification_metrics(exported: Callable, evaluate: Callable) -> None:
    given = exported("regression")
    found = evaluate(given.model, given.examples)
    labels, outputs, _ = truth(given.model, given.examples)
    assert found.overall["r2_score"] == pytest.approx(oracle.r2_score(labels, outputs[:, 0]))
    assert found.overall["error_p95"] == pytest.approx(
        np.quantile(outputs[:, 0] - labels, 0.95), rel=1e-5
    )
    assert found.curves == {}
    assert "Prediction minus label" in found.page


def test_thresholds_bless_or_say_why_not(exported: Callable, evaluate: Callable) -> None:
    given = exported("binary")
    limits = {"auc": {"lower_bound": 0.6}, "binary_crossentropy": {"upper_bound": 0.01}}
    found = evaluate(given.model, given.examples, thresholds=limits)
    assert found.blessing["blessed"] is False
    (reason,) = found.blessing["reasons"]
    assert reason.startswith("binary_crossentropy is 0.")
    assert reason.endswith(", so upper_bound 0.01 fails")
    assert "not blessed" in found.page
    assert [check["passed"] for check in found.metrics["checks"]] == [True, False]
    limits.pop("binary_crossentropy")
    blessed = evaluate(given.model, given.examples, thresholds=limits).blessing
    assert blessed["blessed"] is True
    assert blessed["bounds"] == limits


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_a_model_without_skill_is_warned_about(
    exported: Callable, evaluate: Callable, tmp_path: Path, kind: str
) -> None:
    def wrong(table: pa.Table) -> pa.Table:
        label = table["label"]
        if kind == "regression":
            return table.set_column(6, "label", pc.add(label, 1000.0))
        return table.set_column(6, "label", pc.if_else(pc.equal(label, "yes"), "no", "yes"))

    given = exported(kind)
    assert evaluate(given.model, given.examples).blessing["warnings"] == []
    found = evaluate(given.model, rewritten(given.examples, tmp_path / "e", wrong))
    (warning,) = found.blessing["warnings"]
    name, blind = ("auc", "0.5") if kind == "binary" else ("r2_score", "0")
    shown = numbers.number(found.overall[name])
    assert warning.startswith(f"{name} is {shown}, worse than the {blind} of a ")
    assert warning in found.page
    assert found.said["warnings"] == 1
    # It is blessed all the same, as there were no bounds; the reasons say so.
    assert found.blessing["reasons"] == ["no thresholds were set"]
    assert found.said["thresholds"] == 0


def test_a_handful_of_rows_of_a_class_blesses_no_model(
    exported: Callable, evaluate: Callable, tmp_path: Path
) -> None:
    def with_few(number: int) -> Callable[[pa.Table], pa.Table]:
        def change(table: pa.Table) -> pa.Table:
            rare = table.filter(pc.equal(table["label"], "yes")).slice(0, number)
            return pa.concat_tables([table.filter(pc.equal(table["label"], "no")), rare])

        return change

    given = exported("binary")
    few = rewritten(given.examples, tmp_path / "few", with_few(9))
    found = evaluate(given.model, few, thresholds={"auc": {"lower_bound": 0.0}})
    assert found.blessing["blessed"] is False
    (reason,) = found.blessing["reasons"]
    assert reason.startswith('"label" is yes in 9 of the ')
    assert "rows of eval, and fewer than 10 do not show how good a model is" in reason
    assert reason in found.page.replace("&#34;", '"')
    assert evaluate(given.model, few, min_class_rows=9).blessing["blessed"]
    enough = rewritten(given.examples, tmp_path / "enough", with_few(10))
    assert evaluate(given.model, enough).blessing["blessed"]


def test_slices_block_only_when_they_are_large_enough(
    exported: Callable, evaluate: Callable
) -> None:
    given = exported("binary")
    arguments = {"slice_columns": ["carrier"], "thresholds": {"auc": {"lower_bound": 0.76}}}
    free = evaluate(given.model, given.examples, **arguments)
    assert free.overall["auc"] > 0.76
    assert free.blessing["blessed"]
    assert free.metrics["slices_checked"] == 0
    strict = evaluate(given.model, given.examples, min_slice_rows=45, **arguments)
    assert strict.blessing["blessed"] is False
    large = [
        each
        for each in strict.metrics["slices"][0]["slices"]
        if each["metrics"]["example_count"] >= 45
    ]
    failing = [each for each in large if each["metrics"]["auc"] < 0.76]
    assert strict.metrics["slices_checked"] == len(large)
    assert len(strict.blessing["reasons"]) == min(len(failing), 21)
    assert strict.blessing["reasons"][0].startswith("carrier = ")


def test_a_slice_of_one_class_blocks_nothing(
    exported: Callable, evaluate: Callable, tmp_path: Path
) -> None:
    given = exported("binary")

    def one_class_without_stops(table: pa.Table) -> pa.Table:
        return table.filter(pc.or_(pc.greater(table["stops"], 0), pc.equal(table["label"], "no")))

    rows = rewritten(given.examples, tmp_path / "examples", one_class_without_stops)
    found = evaluate(
        given.model,
        rows,
        slice_columns=["stops"],
        thresholds={"auc": {"lower_bound": 0.5}},
        min_slice_rows=1,
    )
    assert found.blessing["blessed"] is True
    check = found.metrics["checks"][-1]
    assert (check["where"], check["value"], check["passed"]) == ("stops = 0", None, None)
    assert check["reason"] == "auc is not defined: all rows are of one class"


def test_one_class_overall_cannot_be_blessed_by_auc(
    exported: Callable, evaluate: Callable, tmp_path: Path
) -> None:
    given = exported("binary")
    rows = rewritten(
        given.examples, tmp_path / "e", lambda table: table.filter(pc.equal(table["label"], "no"))
    )
    limits = {"auc": {"lower_bound": 0.5}}
    found = evaluate(given.model, rows, thresholds=limits, min_class_rows=0)
    assert found.blessing["reasons"] == ["auc is not defined: all rows are of one class"]
    assert found.metrics["overall"]["undefined"]["recall"] == "no row is positive"
    assert "auc" not in found.metadata
    assert evaluate(given.model, rows, min_class_rows=0).blessing["blessed"] is True
    (reason,) = evaluate(given.model, rows).blessing["reasons"]
    assert reason.startswith('"label" is yes in 0 of the ')


def test_against_a_baseline(
    exported: Callable, models: Any, evaluate: Callable, tmp_path: Path
) -> None:
    given = exported("binary")
    other = models.save(tmp_path / "other", "binary", seed=9)
    limits = {"auc": {"min_change": -0.01}}
    better = evaluate(given.model, given.examples, baseline=other, thresholds=limits)
    assert better.blessing["blessed"] is True
    worse = evaluate(other, given.examples, baseline=given.model, thresholds=limits)
    assert worse.blessing["blessed"] is False
    assert "after the baseline's" in worse.blessing["reasons"][0]
    assert worse.metrics["baseline"]["metrics"] == better.overall
    alone = evaluate(given.model, given.examples, thresholds=limits)
    assert alone.blessing["reasons"] == [
        "there is no baseline, so min_change -0.01 of auc was not checked"
    ]
    assert "not checked" in alone.page


def test_a_baseline_that_knows_fewer_classes(
    exported: Callable, models: Any, evaluate: Callable, tmp_path: Path
) -> None:
    given = exported("multiclass")
    fewer = models.save(tmp_path / "fewer", "multiclass", classes=("on time", "early"))
    found = evaluate(given.model, given.examples, baseline=fewer)
    support = {row["class"]: row["example_count"] for row in found.metrics["pictures"]["per_class"]}
    assert found.metrics["baseline"]["metrics"]["accuracy"] <= 1 - support["late"] / 2000


def test_a_baseline_of_another_problem(exported: Callable, evaluate: Callable) -> None:
    given = exported("binary")
    with pytest.raises(ParameterError) as raised:
        evaluate(given.model, given.examples, baseline=exported("regression").model)
    assert str(raised.value) == (
        'baseline_model predicts "label" (regression), and the model "label" (binary: no or yes): '
        "they cannot be compared."
    )


def test_rows_without_a_finite_prediction_block_the_blessing(
    models: Any, exported: Callable, evaluate: Callable, tmp_path: Path
) -> None:
    given = exported("binary")

    def spoil(table: pa.Table) -> pa.Table:
        distance = table["distance"].to_numpy().copy()
        distance[3], distance[5] = np.nan, np.inf
        return table.set_column(0, "distance", pa.array(distance, from_pandas=False))

    found = evaluate(given.model, rewritten(given.examples, tmp_path / "e", spoil))
    assert found.blessing["blessed"] is False
    assert found.metrics["rows_without_prediction"] in (1, 2)
    assert found.blessing["reasons"][0].endswith(
        "rows got a prediction that is not a finite number"
    )
    assert found.overall["example_count"] == 2000 - found.metrics["rows_without_prediction"]
    assert all(value is None or math.isfinite(value) for value in found.overall.values())


def no_label(table: pa.Table) -> pa.Table:
    return table.rename_columns([*table.schema.names[:-1], "labell"])


def null_label(table: pa.Table) -> pa.Table:
    return table.set_column(6, "label", pa.array([None, *table["label"].to_pylist()[1:]]))


def unknown_label(table: pa.Table) -> pa.Table:
    return table.set_column(6, "label", pa.array(["maybe", *table["label"].to_pylist()[1:]]))


def missing_value(table: pa.Table) -> pa.Table:
    return table.set_column(2, "stops", pa.array([None, *table["stops"].to_pylist()[1:]]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            no_label,
            'The examples have no column "label", which is the label of the model. '
            'Did you mean "labell"?',
        ),
        (null_label, 'The label "label" is missing in split "eval" (rows: 1). '),
        (
            unknown_label,
            'The label "label" in split "eval" has values that the model does not know: maybe '
            "(rows: 1). It knows no, yes.",
        ),
        (missing_value, '"stops" is missing in 1 '),
        (lambda table: table.drop(["carrier"]), 'The rows lack the column "carrier"'),
        (
            lambda table: table.slice(0, 0),
            'Split "eval" of the examples has no rows, so there is nothing to measure.',
        ),
        (
            lambda table: table.set_column(0, "distance", pa.array(["far"] * 2000)),
            '"distance" is string',
        ),
    ],
)
def test_bad_examples(
    exported: Callable, evaluate: Callable, tmp_path: Path, change: Callable, message: str
) -> None:
    given = exported("binary")
    with pytest.raises(DataError) as raised:
        evaluate(given.model, rewritten(given.examples, tmp_path / "e", change))
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("parameters", "kind", "message"),
    [
        ({"split": "evaluation"}, DataError, 'has no split "evaluation", but eval, train.'),
        (
            {"slice_columns": ["carier"]},
            ParameterError,
            'slice_columns: "carier" is not a column of the examples. Did you mean "carrier"?',
        ),
        (
            {"thresholds": {"AUC": {"lower_bound": 0.5}}},
            ParameterError,
            'thresholds: "AUC" is not a metric of a binary problem.',
        ),
        ({"min_slice_rows": -1}, ParameterError, '"min_slice_rows" must be 0 or more, and is -1.'),
        ({"min_class_rows": -1}, ParameterError, '"min_class_rows" must be 0 or more, and is -1.'),
    ],
)
def test_bad_parameters(
    exported: Callable, evaluate: Callable, parameters: dict, kind: type, message: str
) -> None:
    given = exported("binary")
    with pytest.raises(kind) as raised:
        evaluate(given.model, given.examples, **parameters)
    assert message in str(raised.value)


def test_a_model_that_is_not_there(exported: Callable, evaluate: Callable, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"There is no model at .*/nowhere\."):
        evaluate(tmp_path / "nowhere", exported("binary").examples)


def test_rows_are_read_in_a_stream(
    exported: Callable, evaluate: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = exported("binary")
    whole = evaluate(given.model, given.examples, slice_columns=["carrier"])
    monkeypatch.setattr(examples.read, "__defaults__", (None, 300))
    parts = evaluate(given.model, given.examples, slice_columns=["carrier"])
    assert parts.overall["auc"] == pytest.approx(whole.overall["auc"], abs=1e-6)
    assert [each["values"] for each in parts.metrics["slices"][0]["slices"]] == [
        each["values"] for each in whole.metrics["slices"][0]["slices"]
    ]
