"""From a table through every step: what Trainer exports is measured, converted and pushed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from millrace.artifacts import (
    HTML,
    Blessing,
    ClassificationMetrics,
    Evaluation,
    Examples,
    Metrics,
    Model,
    Schema,
    Statistics,
    TransformGraph,
)

# In the style of TFX's examples: fill in missing values, look up words, bucketise numbers.
PREPROCESSING = """
import tensorflow as tf
import tensorflow_transform as tft


def fill_in(x):
    if not isinstance(x, tf.SparseTensor):
        return x
    default = "" if x.dtype == tf.string else 0
    shape = [x.dense_shape[0], 1]
    return tf.sparse.to_dense(tf.SparseTensor(x.indices, x.values, shape), default)


def preprocessing_fn(inputs):
    outputs = {}
    for key in ("distance", "air time"):
        number = tf.cast(fill_in(inputs[key]), tf.float32)
        outputs[key.replace(" ", "_")] = tft.scale_to_z_score(number)
        outputs[key.replace(" ", "_") + "_bucket"] = tf.cast(tft.bucketize(number, 8), tf.float32)
    for key in ("carrier", "größe"):
        index = tft.compute_and_apply_vocabulary(fill_in(inputs[key]), num_oov_buckets=1)
        outputs["index_" + str(len(outputs))] = tf.cast(index, tf.float32)
    stops = tft.compute_and_apply_vocabulary(inputs["stops"], default_value=-1)
    outputs["stops"] = tf.cast(stops, tf.float32)
    outputs["label"] = tf.cast(tf.equal(inputs["label"], "yes"), tf.int64)
    return outputs
"""


def steps(root: Path, rows: pa.Table, models: Any, module: str = "") -> tuple[Path, Path]:
    """Runs the steps from StatisticsGen to Trainer; returns the model and the examples."""
    from millrace.components.schema_gen.executor import run as schema_gen
    from millrace.components.statistics_gen.executor import run as statistics_gen
    from millrace.components.trainer.executor import run as trainer
    from millrace.components.transform.executor import run as transform

    def at(kind: type, name: str) -> Any:
        return kind(str(root / name))

    half = len(rows) // 2
    models.write(root / "examples", {"train": rows.slice(0, half), "eval": rows.slice(half)})
    examples, page = at(Examples, "examples"), at(HTML, "page.html")
    statistics, schema = at(Statistics, "statistics"), at(Schema, "schema")
    graph, transformed, model = at(TransformGraph, "graph"), at(Examples, "xf"), at(Model, "model")
    statistics_gen(examples, statistics, page)
    schema_gen(statistics, schema, page)
    transform(examples, schema, "label", graph, transformed, page, module_file=module)
    trainer(transformed, graph, schema, model, at(Metrics, "m"), page, train_steps=40)
    return model.path, examples.path


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression", "module"])
def test_what_trainer_exports(
    exported: Callable, models: Any, push: Callable, tmp_path: Path, kind: str
) -> None:
    from millrace.components.evaluator.executor import run as evaluator

    module = ""
    if kind == "module":
        path = tmp_path / "preprocessing.py"
        path.write_text(PREPROCESSING)
        kind, module = "binary", str(path)
    rows = models.label(exported(kind).model, models.table(1200))
    model, examples = steps(tmp_path, rows, models, module)

    blessing = Blessing(str(tmp_path / "blessing"))
    evaluator(
        Examples(str(examples)),
        Model(str(model)),
        Evaluation(str(tmp_path / "evaluation")),
        blessing,
        Metrics(str(tmp_path / "metrics")),
        ClassificationMetrics(str(tmp_path / "curves")),
        HTML(str(tmp_path / "page.html")),
        slice_columns=["größe", ["stops", "carrier"]],
    )
    found = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    assert found["overall"]["metrics"]["example_count"] == 600
    assert blessing.metadata["blessed"] is True

    pushed = push(model, examples, max_metric_loss=0.05)
    assert pushed.candidate("float32")["largest_difference"] < 1e-3
    taken = set(models.columns) - ({"seats"} if module else set())
    assert set(pushed.record["inputs"]) == taken  # the module does not use the seats
    for name in ("float16", "dynamic_range", "int8"):
        assert "failure" not in pushed.candidate(name)
        assert pushed.candidate(name)["loss"] < 0.05
