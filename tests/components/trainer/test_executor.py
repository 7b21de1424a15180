"""Trainer's artifacts for the default model, for `build_model` and for `run_fn`."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from millrace.data import examples, schemas
from millrace.ml.features import raw_spec, to_numpy
from millrace.ml.problem import Kind, Problem
from millrace.storage import digest

BUILD = """
import tf_keras

def build_model(fn_args):
    names = [name for name in fn_args.features if name.startswith(fn_args.custom_config["only"])]
    inputs = {name: tf_keras.Input((1,), name=name) for name in names}
    output = tf_keras.layers.Dense(1, "sigmoid")(next(iter(inputs.values())))
    model = tf_keras.Model(inputs, output)
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model
"""

SUBCLASS = """
import tensorflow as tf, tf_keras

class Net(tf_keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = tf_keras.layers.Dense(1, "sigmoid")
    def call(self, features):
        if tf.reduce_sum(features["number"]) > 1e9:  # AutoGraph must still translate this
            return self.dense(features["number"])
        return self.dense(features["number"] + features["level_no"])

def build_model(fn_args):
    model = Net()
    model.compile(tf_keras.optimizers.legacy.Adam(0.1), "binary_crossentropy")
    return model
"""

RUN = """
import tensorflow as tf
from tfx_bsl.public import tfxio

def run_fn(fn_args):
    graph = fn_args.transform_graph
    def dataset(files):
        options = tfxio.TensorFlowDatasetOptions(batch_size=64, label_key="label")
        return fn_args.data_accessor.tf_dataset_factory(
            files, options, graph.transformed_metadata.schema)
    inputs = {"number": tf.keras.Input((1,), name="number")}
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(1, "sigmoid")(inputs["number"]))
    model.compile("adam", "binary_crossentropy")
    history = model.fit(
        dataset(fn_args.train_files).map(lambda x, y: ({"number": x["number"]}, y)),
        steps_per_epoch=fn_args.train_steps // 2, epochs=2, verbose=0,
        validation_data=fn_args.eval_dataset(["number"]), validation_steps=fn_args.eval_steps)
    fn_args.export(model)
    return history
"""


def predict(model: Any, prepared: Any, split: str = "eval") -> np.ndarray:
    loaded = tf.saved_model.load(str(model.path))
    spec = raw_spec(schemas.load(model.path / "assets.extra"), "label")
    outputs = []
    for batch in examples.read(prepared.raw, split):
        inputs = {name: tf.constant(values) for name, values in to_numpy(batch, spec).items()}
        outputs.append(loaded.signatures["raw_features"](**inputs)["outputs"].numpy())
    return np.concatenate(outputs)


def labels(prepared: Any) -> np.ndarray:
    return pa.Table.from_batches(examples.read(prepared.raw, "eval"))["label"].to_numpy()


def test_binary_default_learns(prepared, trained) -> None:
    outputs = predict(trained["binary"].model, prepared["binary"])
    assert outputs.shape == (700, 1)
    right = (outputs[:, 0] > 0.5) == (labels(prepared["binary"]) == "yes")
    assert right.mean() > 0.85
    assert trained["binary"].metrics["eval_auc"] > 0.93


def test_multiclass_default_learns(prepared, trained) -> None:
    outputs = predict(trained["multiclass"].model, prepared["multiclass"])
    assert outputs.shape == (700, 3)
    np.testing.assert_allclose(outputs.sum(axis=1), 1, atol=1e-5)
    right = np.array([0, 10, 20])[outputs.argmax(axis=1)] == labels(prepared["multiclass"])
    assert right.mean() > 0.75
    assert abs(right.mean() - trained["multiclass"].metrics["eval_accuracy"]) < 1e-6


def test_regression_default_learns_in_the_labels_unit(prepared, trained) -> None:
    outputs = predict(trained["regression"].model, prepared["regression"])
    assert outputs.shape == (700, 1)
    truth = labels(prepared["regression"])
    rmse = math.sqrt(np.mean((outputs[:, 0] - truth) ** 2))
    assert rmse < 0.6 * truth.std()
    assert rmse == pytest.approx(trained["regression"].metrics["eval_rmse"], rel=1e-3)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_metrics_are_finite_numbers(trained, kind) -> None:
    metrics = trained[kind].metrics
    assert {"train_loss", "eval_loss", "steps", "parameters", "seconds"} <= set(metrics)
    assert all(isinstance(value, (int, float)) for value in metrics.values())
    assert all(math.isfinite(value) for value in metrics.values())
    json.dumps(metrics, allow_nan=False)
    for name in ("train_loss", "eval_loss"):
        assert trained[kind].model.metadata[name] == metrics[name]  # not rounded, say to 0


def test_problem_and_schema_travel_with_the_model(prepared, trained) -> None:
    extra = trained["multiclass"].model.path / "assets.extra"
    assert Problem.load(extra) == Problem("label", Kind.MULTICLASS, (0, 10, 20))
    assert schemas.load(extra) == schemas.load(prepared["multiclass"].schema)
    assert json.loads((extra / "input_names.json").read_text("utf-8")) == {
        "Amount (€)": "Amount",
        "level.no": "level_no",
        "größe": "grosse",
    }
    assert trained["multiclass"].model.metadata["problem"] == "multiclass"


def test_report_shows_curves_and_network(trained) -> None:
    page = trained["binary"].report
    assert "The eval split chose the model" in page
    assert "steps, whose weights were kept</h2>" in page
    for word in ("auc on eval", "<polyline", "grosse_embedding", "Dense", "parameters"):
        assert word in page
    assert "http" not in page
    assert "<script" not in page
    assert len(page) < 100_000


def test_same_seed_gives_the_same_bytes(prepared, helpers, tmp_path) -> None:
    first, again, other = (
        helpers.train(prepared["binary"], tmp_path / name, train_steps=20, seed=seed)
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    weights = "variables/variables.data-00000-of-00001"
    digests = [digest.of_file(each.model.path / weights) for each in (first, again, other)]
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]
    assert first.metrics["eval_loss"] == again.metrics["eval_loss"]


def test_steps_are_what_was_asked_for(prepared, helpers, tmp_path) -> None:
    trained = helpers.train(
        prepared["binary"], tmp_path, train_steps=33, eval_steps=3, batch_size=64
    )
    assert trained.metrics["steps"] == 33
    assert "33" in trained.report
    assert "chose the model" not in trained.report


def test_build_model(prepared, helpers, tmp_path) -> None:
    trained = helpers.train(
        prepared["binary"], tmp_path, BUILD, train_steps=30, custom_config={"only": "number"}
    )
    assert trained.metrics["parameters"] == 2
    assert 0.3 < trained.metrics["eval_accuracy"] <= 1
    assert predict(trained.model, prepared["binary"]).shape == (700, 1)
    assert "mine.py" in trained.report
    assert "After 30 steps</h2>" in trained.report


def test_subclass_of_model(prepared, helpers, tmp_path) -> None:
    trained = helpers.train(prepared["binary"], tmp_path, SUBCLASS, train_steps=40)
    assert predict(trained.model, prepared["binary"]).shape == (700, 1)
    assert trained.metrics["train_loss"] < 0.8


def test_run_fn_as_tfx_modules_write_it(prepared, helpers, tmp_path) -> None:
    trained = helpers.train(prepared["binary"], tmp_path, RUN, eval_steps=2)
    assert trained.metrics["steps"] == 10 * 4
    assert {"train_loss", "eval_loss"} <= set(trained.metrics)
    assert predict(trained.model, prepared["binary"]).shape == (700, 1)
    assert "<polyline" in trained.report


def test_run_fn_without_history(prepared, helpers, tmp_path) -> None:
    silent = RUN.replace("return history", "return None")
    trained = helpers.train(prepared["binary"], tmp_path, silent, train_steps=4)
    assert trained.metrics["steps"] == 4
    assert "returned no history" in trained.report


def test_a_penalty_is_in_the_gradient_and_not_in_the_loss() -> None:
    import tf_keras

    from millrace.components.trainer.default_model import PenalizedDense

    tf_keras.utils.set_random_seed(1)
    layer = PenalizedDense(3, 0.5, activation="relu")
    rows = tf.random.stateless_normal([8, 4], [1, 2])

    def gradient(training: bool) -> tuple[np.ndarray, np.ndarray]:
        with tf.GradientTape() as tape:
            outputs = layer(rows, training=training)
        return outputs.numpy(), tape.gradient(outputs, layer.kernel).numpy()

    (outputs, plain), (trained_outputs, penalized) = gradient(False), gradient(True)
    np.testing.assert_array_equal(trained_outputs, outputs)
    np.testing.assert_allclose(penalized - plain, layer.kernel.numpy(), atol=1e-5)
    assert layer.losses == []
    model = tf_keras.Sequential([layer])
    model.compile(loss="mse")
    loss = model.fit(rows, outputs, verbose=0).history["loss"]
    assert loss == pytest.approx([0.0], abs=1e-12)  # graphs and eager code may round differently


@pytest.mark.slow
def test_a_wide_table_of_few_rows_is_not_learned_by_heart(helpers, tmp_path) -> None:
    def wide(rows: int, seed: int) -> pa.Table:
        values = np.random.default_rng(seed).normal(size=(rows, 150))
        label = np.where(values[:, :3].sum(axis=1) > 0, "yes", "no")
        return pa.table({**{f"f{n}": column for n, column in enumerate(values.T)}, "label": label})

    prepared = helpers.prepare(tmp_path, {"train": wide(600, 1), "eval": wide(400, 2)})
    metrics = helpers.train(prepared, tmp_path / "out").metrics
    assert metrics["eval_auc"] > 0.93  # without a penalty it is 0.78
