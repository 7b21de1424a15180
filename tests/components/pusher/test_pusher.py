"""Pusher as a whole, on small models of each kind."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from ai_edge_litert.interpreter import Interpreter

from millrace.data import examples
from millrace.errors import DataError, ModelError, ParameterError, PolicyError
from millrace.ml.exported import ExportedModel
from millrace.storage import digest

CANDIDATES = ["float32", "float16", "dynamic_range", "int8"]


def operations(path: Path) -> set[str]:
    return {each["op_name"] for each in Interpreter(str(path))._get_ops_details()}


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_every_candidate_predicts_from_raw_columns(
    exported: Callable, push: Callable, kind: str
) -> None:
    given = exported(kind)
    found = push(given.model, given.examples)
    model = ExportedModel(given.model)
    rows = next(iter(model.rows(given.examples, "eval")))
    expected = model.predict(rows.features)
    assert [each["name"] for each in found.record["candidates"]] == CANDIDATES
    for each in found.record["candidates"]:
        path = found.folder / "candidates" / f"{each['name']}.tflite"
        content = path.read_bytes()
        assert each["bytes"] == len(content)
        assert each["sha256"] == hashlib.sha256(content).hexdigest()
        assert not any(name.startswith("Flex") for name in operations(path))
        runner = Interpreter(str(path)).get_signature_runner("raw_features")
        difference = np.abs(runner(**rows.features)["outputs"] - expected).max()
        assert difference == pytest.approx(each["largest_difference"], rel=0.3, abs=1e-4)
        assert each["loss"] < 0.02
    scale = float(np.abs(expected).max())
    assert found.candidate("float32")["largest_difference"] < 1e-5 * scale
    assert found.candidate("float16")["largest_difference"] < 5e-3 * scale
    assert found.candidate("dynamic_range")["largest_difference"] < 0.1 * scale
    sizes = [each["bytes"] for each in found.record["candidates"]]
    assert sizes[2] < sizes[1] < sizes[0]
    assert sizes[3] < sizes[1]


def test_int8_computes_in_int8(exported: Callable, push: Callable) -> None:
    given = exported("binary")
    found = push(given.model, given.examples)
    interpreter = Interpreter(str(found.folder / "candidates" / "int8.tflite"))
    dense = [
        each for each in interpreter._get_ops_details() if each["op_name"] == "FULLY_CONNECTED"
    ]
    details = {each["index"]: each for each in interpreter.get_tensor_details()}
    assert len(dense) == 3
    for each in dense:
        activations, weights, *_ = each["inputs"]
        assert details[activations]["dtype"] == details[weights]["dtype"] == np.int8
        assert details[each["outputs"][0]]["dtype"] == np.int8
    tables = [details[each["inputs"][0]] for each in interpreter._get_ops_details()
              if each["op_name"] == "GATHER"]  # fmt: skip
    assert {str(each["dtype"]) for each in tables if each["shape"][0] == 41} == {
        "<class 'numpy.int8'>"
    }


def test_shared_weights_and_convolutions_and_tensorflows_own_runtime(
    exported: Callable, models: Any, push: Callable, tmp_path: Path
) -> None:
    import tensorflow as tf

    rng = np.random.default_rng(0)
    embedding, dense, filters = (
        tf.constant(rng.normal(0, 0.4, shape).astype("f"))
        for shape in ((41, 16), (33, 33), (3, 1, 96))
    )

    def predict(features: dict, network: Any) -> Any:
        picked = (network.carriers.lookup(features["carrier"]), features["stops"] * 3)
        parts = [tf.reshape(tf.gather(embedding, each), [-1, 16]) for each in picked]
        x = tf.concat([*parts, features["distance"] / 5000.0], 1)
        x = tf.nn.relu(tf.matmul(tf.nn.relu(tf.matmul(x, dense)), dense))
        x = tf.nn.relu(tf.nn.conv1d(x[:, :, tf.newaxis], filters, 1, "SAME"))
        return tf.sigmoid(tf.reduce_sum(x, [1, 2])[:, tf.newaxis] / 100.0 - 1.0)

    model = models.save(tmp_path / "m", "binary", predict)
    found = push(model, exported("binary").examples, max_metric_loss=1.0)
    loaded = ExportedModel(model)
    rows = next(iter(loaded.rows(exported("binary").examples, "eval")))
    expected = loaded.predict(rows.features)
    for name in CANDIDATES:
        path = found.folder / "candidates" / f"{name}.tflite"
        runner = tf.lite.Interpreter(str(path)).get_signature_runner("raw_features")
        taken = {key: rows.features[key] for key in runner.get_input_details()}
        assert sorted(taken) == ["carrier", "distance", "stops"]
        limit = {"float32": 1e-5, "float16": 5e-3}.get(name, 0.1)
        assert np.abs(runner(**taken)["outputs"] - expected).max() < limit


def test_tables_that_preprocessing_looks_up_stay_as_they_are(
    exported: Callable, models: Any, push: Callable, tmp_path: Path
) -> None:
    import tensorflow as tf

    means = tf.constant(np.linspace(1e5, 1e6, 400).astype("f"))  # float16 ends at 65,504

    def predict(features: dict, network: Any) -> Any:
        mean = tf.gather(means, features["stops"] * 100)
        return network(features | {"distance": mean / 1e3 + features["distance"]})

    model = models.save(tmp_path / "m", "binary", predict)
    found = push(model, exported("binary").examples, max_metric_loss=1.0)
    for name in CANDIDATES:
        interpreter = Interpreter(str(found.folder / "candidates" / f"{name}.tflite"))
        tables = {
            tuple(each["shape"]): each["dtype"]
            for each in interpreter.get_tensor_details()
            if tuple(each["shape"]) in ((400,), (41, 8))
        }
        assert tables[(400,)] is np.float32
        assert name not in ("dynamic_range", "int8") or tables[(41, 8)] is np.int8


def test_what_is_pushed_and_why(exported: Callable, push: Callable, tmp_path: Path) -> None:
    given = exported("binary")
    found = push(
        given.model, given.examples, blessed=True, push_destination=str(tmp_path / "serving")
    )
    record = found.record
    smallest = min(record["candidates"], key=lambda each: each["bytes"])
    assert record["chosen"] == smallest["name"]
    assert record["reason"] == (
        f"{smallest['name']} is the smallest of 4 candidates that keep the limits: "
        f"{smallest['bytes']:,} bytes."
    )
    assert record["pushed"] is True
    assert record["saved_model"]["digest"] == digest.of(given.model).hexdigest
    assert record["measured_on"] == {"split": "eval", "rows": 2000}
    assert set(record["tools"]) == {"tensorflow", "ai-edge-litert", "ai-edge-quantizer"}
    inputs = record["inputs"]
    assert inputs["air time"] == {"name": "air_time", "dtype": "float32", "missing": "NaN"}
    assert inputs["carrier"] == {"name": "carrier", "dtype": "string"}
    assert record["problem"]["classes"] == ["no", "yes"]
    model = (found.folder / "model.tflite").read_bytes()
    assert hashlib.sha256(model).hexdigest() == smallest["sha256"]

    version = tmp_path / "serving" / str(record["version"])
    assert record["pushed_destination"] == str(version)
    assert [path.name for path in (tmp_path / "serving").iterdir()] == [version.name]
    assert (version / "model.tflite").read_bytes() == model
    assert json.loads((version / "push.json").read_text())["chosen"] == record["chosen"]
    assert ExportedModel(version).problem.label == "label"

    assert found.metadata["chosen"] == record["chosen"]
    assert found.metadata["version"] == record["version"]
    assert found.metrics["pushed"] == 1
    assert found.metrics["bytes"] == len(model)
    assert found.metrics["latency_us"] > 0
    assert record["chosen"] in found.page


def test_the_artifact_is_the_same_each_time(exported: Callable, push: Callable) -> None:
    given = exported("binary")
    digests = [
        digest.of(push(given.model, given.examples, to=name).folder) for name in ("one", "two")
    ]
    assert digests[0] == digests[1]


def test_latencies_are_recorded_where_they_decide(exported: Callable, push: Callable) -> None:
    given = exported("binary")
    found = push(given.model, given.examples, policy="fastest")
    fastest = min(found.record["candidates"], key=lambda each: each["latency_us"])
    assert found.record["chosen"] == fastest["name"]
    assert "µs for a row" in found.record["reason"]
    assert "latency_us" not in push(given.model, given.examples).candidate("int8")


def test_best_loses_least(exported: Callable, push: Callable) -> None:
    given = exported("regression")
    found = push(given.model, given.examples, policy="best")
    assert found.record["metric"] == "root_mean_squared_error"
    best = min(found.record["candidates"], key=lambda each: (each["loss"], each["bytes"]))
    assert found.record["chosen"] == best["name"]


def test_not_blessed_is_not_pushed(exported: Callable, push: Callable, tmp_path: Path) -> None:
    given = exported("binary")
    serving = tmp_path / "serving"
    found = push(given.model, given.examples, blessed=False, push_destination=str(serving))
    assert found.record == {
        "pushed": False,
        "reason": ("The evaluator did not bless the model: auc is 0.4, so lower_bound 0.6 fails."),
        "blessing": {
            "blessed": False,
            "reasons": ["auc is 0.4, so lower_bound 0.6 fails"],
            "warnings": [],
            "bounds": {},
            "metrics": {},
        },
    }
    assert not serving.exists()
    assert [path.name for path in found.folder.iterdir()] == ["push.json"]
    assert found.metadata["pushed"] is False
    assert found.metrics == {"pushed": 0}
    assert "Nothing was pushed" in found.page


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_a_candidate_is_held_to_what_the_evaluator_blessed(
    exported: Callable, push: Callable, kind: str
) -> None:
    from millrace.components.pusher.sample import take

    given = exported(kind)
    values = take(ExportedModel(given.model), given.examples, "eval", 20000).metrics
    name = {"multiclass": "categorical_crossentropy"}.get(kind, "mean_prediction")
    near = 1e-5 * values[name]
    bounds = {
        name: {"lower_bound": values[name] - near, "upper_bound": values[name] + near},
        # A bound that the SavedModel itself breaks on these rows does not apply to candidates.
        "example_count": {"lower_bound": 1e9},
    }
    found = push(given.model, given.examples, blessed=True, bounds=bounds, max_metric_loss=1.0)
    assert found.record["policy"]["bounds"] == {name: bounds[name]}
    assert found.record["chosen"] == "float32"
    objection = found.candidate("int8")["objection"]
    assert re.fullmatch(
        rf"{name} is [\d.]+, so the evaluator's (low|upp)er_bound .* fails", objection
    )
    assert objection.replace("'", "&#39;") in found.page
    predicted = "prediction" if kind == "regression" else "probability"
    assert f"Largest difference of a {predicted}" in found.page

    with pytest.raises(PolicyError, match=f"blessed the model by, .* int8: .* - {name} is "):
        push(given.model, given.examples, blessed=True, bounds=bounds, candidates=["int8"])


def test_a_policy_that_no_candidate_meets(
    exported: Callable, push: Callable, tmp_path: Path
) -> None:
    given = exported("binary")
    serving = tmp_path / "serving"
    with pytest.raises(PolicyError) as raised:
        push(given.model, given.examples, max_bytes=5000, push_destination=str(serving))
    message = str(raised.value)
    assert message.startswith(
        "No candidate keeps max_metric_loss=0.005 and max_bytes=5000, so there is nothing to push: "
        "float32: auc 0."
    )
    for name in CANDIDATES:
        assert f"{name}: auc " in message
    assert message.count(" - needs max_bytes=") == 4
    assert message.endswith("Relax a limit as given, or allow other candidates.")
    assert "\n" not in message
    assert list(serving.iterdir()) == []
    assert "Nothing was pushed" in (tmp_path / "report.html").read_text()


def test_a_network_without_weights_has_only_float32(
    exported: Callable, models: Any, push: Callable, tmp_path: Path
) -> None:
    import tensorflow as tf

    model = models.save(
        tmp_path / "m", "binary", lambda features, _: tf.sigmoid(features["distance"] / 1e3 - 2)
    )
    found = push(model, exported("binary").examples)
    assert found.record["chosen"] == "float32"
    assert found.record["reason"] == "float32 is the only candidate that keeps the limits."
    assert found.candidate("int8") == {
        "name": "int8",
        "meaning": found.candidate("int8")["meaning"],
        "failure": (
            "the network has no dense, convolution or embedding layer of 256 weights or more"
        ),
    }
    with pytest.raises(PolicyError, match="int8: the network has no dense"):
        push(model, exported("binary").examples, candidates=["int8"])


def test_rows_of_one_class_are_measured_by_accuracy(
    exported: Callable, push: Callable, tmp_path: Path
) -> None:
    given = exported("binary")
    table = pq.read_table(examples.shards(given.examples, "eval")[0])
    table = table.filter(pc.equal(table["label"], "yes"))
    with examples.SplitWriter(tmp_path / "e", "eval", table.schema) as writer:
        for batch in table.to_batches():
            writer.write(batch)
    found = push(given.model, tmp_path / "e")
    assert found.record["metric"] == "binary_accuracy"
    assert found.record["measured_on"]["rows"] == len(table)


@pytest.mark.parametrize(("max_rows", "expected"), [(1, 1), (7, 7), (1999, 1999), (5000, 2000)])
def test_rows_are_taken_from_all_over_a_split(
    exported: Callable, max_rows: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from millrace.components.pusher.sample import take

    given = exported("binary")
    monkeypatch.setattr(examples.read, "__defaults__", (None, 300))
    found = take(ExportedModel(given.model), given.examples, "eval", max_rows)
    whole = pq.read_table(examples.shards(given.examples, "eval")[0])["distance"].to_numpy()
    places = np.arange(expected) * 2000 // expected
    np.testing.assert_allclose(found.features["distance"][:, 0], whole[places].astype("f"))
    assert len(found.labels) == len(found.outputs) == expected


@pytest.mark.parametrize("split", ["train", "eval"])
def test_int8_of_sorted_data(
    exported: Callable, models: Any, push: Callable, tmp_path: Path, split: str
) -> None:
    import tensorflow as tf

    layer = tf.ones([16, 16]) / 16.0

    def predict(features: dict, _: Any) -> Any:
        x = tf.repeat(features["distance"] / 1000.0, 16, axis=1)
        return tf.sigmoid(tf.matmul(tf.nn.relu(tf.matmul(x, layer)), layer)[:, :1] - 2.5)

    model = models.save(tmp_path / "m", "binary", predict)
    rows = models.label(model, models.table(4000), seed=1).sort_by("distance")
    models.write(tmp_path / "e", {split: rows, "eval": rows})
    found = push(model, tmp_path / "e", max_rows=4000, candidates=["int8"])
    assert abs(found.candidate("int8")["loss"]) < 0.002


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e30])
def test_the_loss_of_a_regression_does_not_depend_on_its_unit(
    exported: Callable, unit: float
) -> None:
    from millrace.components.pusher.sample import take

    given = exported("regression")
    sample = take(ExportedModel(given.model), given.examples, "eval", 10)
    scaled = dataclasses.replace(
        sample, labels=sample.labels * unit, metrics={sample.metric: 0.1 * unit}
    )
    assert scaled.loss(2 * unit) == pytest.approx(19)


def test_int8_is_calibrated_on_rows_of_the_train_split(exported: Callable) -> None:
    from millrace.components.pusher.sample import take

    given = exported("binary")
    found = take(ExportedModel(given.model), given.examples, "eval", 10)
    train = pq.read_table(examples.shards(given.examples, "train")[0])["distance"].to_numpy()
    np.testing.assert_array_equal(found.calibration["distance"][:, 0], train.astype("f"))


@pytest.mark.parametrize(
    ("parameters", "kind", "message"),
    [
        (
            {"policy": "smalest"},
            ParameterError,
            'policy: there is no "smalest". Did you mean "smallest"? '
            "There are smallest, fastest, best.",
        ),
        (
            {"candidates": ["float32", "int9"]},
            ParameterError,
            'candidates: there is no "int9". Did you mean "int8"? '
            "There are float32, float16, dynamic_range, int8.",
        ),
        ({"candidates": [8]}, ParameterError, "candidates: there is no 8. There are float32"),
        (
            {"candidates": [["int8"]]},
            ParameterError,
            'candidates: there is no ["int8"]. There are float32',
        ),
        ({"candidates": []}, ParameterError, "candidates: allow one at least of float32"),
        (
            {"max_metric_loss": -0.1},
            ParameterError,
            '"max_metric_loss" must be 0 or more, and is -0.1.',
        ),
        (
            {"max_metric_loss": float("nan")},
            ParameterError,
            '"max_metric_loss" must be 0 or more, and is nan.',
        ),
        ({"max_bytes": -1}, ParameterError, '"max_bytes" must be 0 or more, and is -1.'),
        ({"max_rows": 0}, ParameterError, '"max_rows" must be 1 or more, and is 0.'),
        ({"split": "evaluate"}, DataError, 'has no split "evaluate", but eval, train.'),
        (
            {"push_destination": "nosuch://bucket/models"},
            ParameterError,
            '"nosuch://bucket/models" begins with nosuch://, which is not supported',
        ),
    ],
)
def test_bad_parameters(
    exported: Callable, push: Callable, parameters: dict, kind: type, message: str
) -> None:
    given = exported("binary")
    with pytest.raises(kind) as raised:
        push(given.model, given.examples, **parameters)
    assert message in str(raised.value)


def test_infinite_values_in_the_examples(
    exported: Callable, push: Callable, tmp_path: Path
) -> None:
    given = exported("regression")
    table = pq.read_table(examples.shards(given.examples, "eval")[0])
    distance = table["distance"].to_numpy().copy()
    distance[5] = np.inf
    table = table.set_column(0, "distance", pa.array(distance))
    with examples.SplitWriter(tmp_path / "e", "eval", table.schema) as writer:
        for batch in table.to_batches():
            writer.write(batch)
    with pytest.raises(ModelError) as raised:
        push(given.model, tmp_path / "e")
    assert str(raised.value) == (
        "The model gives 1 of 2000 rows no finite prediction, so that no candidate can be compared "
        "with it. Look for NaN or infinite values in the examples."
    )


def test_an_empty_split(exported: Callable, push: Callable, tmp_path: Path) -> None:
    given = exported("binary")
    with examples.SplitWriter(tmp_path / "e", "eval", examples.schema(given.examples, "eval")):
        pass
    with pytest.raises(DataError, match='Split "eval" of the examples has no rows to measure on'):
        push(given.model, tmp_path / "e")
