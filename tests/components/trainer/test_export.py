"""The SavedModel is self-contained, and its signatures agree."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from millrace.data import examples, schemas
from millrace.ml.features import raw_spec, to_numpy

# Has TensorFlow alone.
FRESH = """
import json, sys
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
serialized = [bytes.fromhex(line) for line in sys.stdin.read().split()]
outputs = model.signatures["serving_default"](tf.constant(serialized))["outputs"]
features = model.signatures["transform_features"](tf.constant(serialized))
assert not {name.split(".")[0] for name in sys.modules} & {
    "millrace", "tensorflow_transform", "apache_beam", "tfx_bsl"}
print(json.dumps([outputs.numpy().tolist(), sorted(features)]))
"""


def serialized(batch: pa.RecordBatch, label: bool = True) -> list[bytes]:
    """Returns rows as tf.Examples; a missing value is no feature."""
    rows = []
    for row in batch.to_pylist():
        features = {}
        for name, value in row.items():
            if value is None or (name == "label" and not label):
                continue
            if isinstance(value, str):
                kind = {"bytes_list": tf.train.BytesList(value=[value.encode()])}
            elif isinstance(value, int):
                kind = {"int64_list": tf.train.Int64List(value=[value])}
            else:
                kind = {"float_list": tf.train.FloatList(value=[value])}
            features[name] = tf.train.Feature(**kind)
        proto = tf.train.Example(features=tf.train.Features(feature=features))
        rows.append(proto.SerializeToString())
    return rows


@pytest.fixture(scope="module", params=["binary", "multiclass", "regression"])
def served(request, prepared, trained) -> Any:
    path = trained[request.param].model.path
    batch = next(examples.read(prepared[request.param].raw, "eval", batch_rows=60))
    spec = raw_spec(schemas.load(path / "assets.extra"), "label")
    model = tf.saved_model.load(str(path))
    inputs = {name: tf.constant(values) for name, values in to_numpy(batch, spec).items()}
    return path, model, batch, model.signatures["raw_features"](**inputs)["outputs"].numpy()


def test_signatures_agree(served) -> None:
    _, model, batch, outputs = served
    examples_ = tf.constant(serialized(batch, label=False))
    again = model.signatures["serving_default"](examples_)["outputs"].numpy()
    np.testing.assert_allclose(again, outputs, rtol=1e-5, atol=1e-6)


def test_it_serves_in_a_fresh_process(served, tmp_path: Path) -> None:
    path, _, batch, outputs = served
    moved = tmp_path / "model"
    path.rename(moved)  # it must not refer to its former place
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", FRESH, moved],
            input="\n".join(row.hex() for row in serialized(batch)),
            capture_output=True,
            text=True,
        )
    finally:
        moved.rename(path)
    assert done.returncode == 0, done.stderr
    again, features = json.loads(done.stdout)
    np.testing.assert_allclose(again, outputs, rtol=1e-5, atol=1e-6)
    assert "label" in features
    assert "grosse" in features


def test_inputs_are_named_and_typed_as_promised(served) -> None:
    _, model, _, _ = served
    (_, inputs) = model.signatures["raw_features"].structured_input_signature
    assert {name: (spec.shape.as_list(), spec.dtype.name) for name, spec in inputs.items()} == {
        "number": ([None, 1], "float32"),
        "Amount": ([None, 1], "float32"),
        "level_no": ([None, 1], "int64"),
        "grosse": ([None, 1], "string"),
    }
    (_, inputs) = model.signatures["serving_default"].structured_input_signature
    assert list(inputs) == ["examples"]
    assert inputs["examples"].shape.as_list() == [None]


def test_transform_features_gives_what_transform_wrote(served, prepared, request) -> None:
    _, model, batch, _ = served
    kind = request.node.callspec.params["served"]
    features = model.signatures["transform_features"](tf.constant(serialized(batch)))
    written = next(examples.read(prepared[kind].transformed, "eval", batch_rows=60))
    assert sorted(features) == sorted(written.schema.names)
    for name, values in features.items():
        expected = written.column(written.schema.get_field_index(name)).to_numpy()
        np.testing.assert_allclose(values.numpy()[:, 0], expected, rtol=1e-5, atol=1e-6)


def test_one_row_and_no_rows(served) -> None:
    _, model, batch, outputs = served
    one = model.signatures["serving_default"](tf.constant(serialized(batch.slice(0, 1))))["outputs"]
    np.testing.assert_allclose(one.numpy(), outputs[:1], rtol=1e-5, atol=1e-6)
    none = model.signatures["serving_default"](tf.constant([], tf.string))["outputs"]
    assert none.shape == (0, outputs.shape[1])


def test_tflite_has_every_operation(served, prepared, request) -> None:
    """Pusher's own conversion, so that the default model stays convertible."""
    from millrace.components.pusher import candidates, sample
    from millrace.ml.exported import ExportedModel

    model = ExportedModel(served[0])
    rows = sample.take(model, prepared[request.node.callspec.params["served"]].raw, "eval", 700)
    for made in candidates.make_all(model, ["float32", "int8"], rows):
        assert made.failure == ""
        assert made.loss < 0.02
