"""Small exported models over columns of every kind, made without Transform and Trainer."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.data import examples

CARRIERS = [f"carrier {number:02d}" for number in range(40)]
CLASSES: dict[str, tuple] = {
    "binary": ("no", "yes"),
    "multiclass": ("early", "late", "on time"),
    "regression": (),
}
# Column → type in the schema, whether it is required. Two names are not valid in TensorFlow.
COLUMNS = {
    "distance": ("FLOAT", True),
    "air time": ("FLOAT", False),
    "stops": ("INT", True),
    "seats": ("INT", False),
    "carrier": ("BYTES", True),
    "größe": ("BYTES", False),
}
ROWS = 3000


@dataclasses.dataclass(frozen=True)
class Exported:
    """A SavedModel, and examples that it predicts fairly well."""

    model: Path
    examples: Path


def table(rows: int = ROWS, seed: int = 0) -> pa.Table:
    """Raw rows without a label, some with unknown text and missing values."""
    rng = np.random.default_rng(seed)

    def some(values: np.ndarray, share: float, kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind, mask=rng.random(rows) < share)

    names = np.array([*CARRIERS, "unheard of", "ein Zeppelin"], object)
    sizes = np.array(["klein", "mittel", "groß", "riesig"], object)
    return pa.table({
        "distance": rng.uniform(80, 5000, rows),
        "air time": some(rng.normal(150, 60, rows), 0.1, pa.float64()),
        "stops": rng.integers(0, 4, rows),
        "seats": some(rng.integers(50, 400, rows), 0.2, pa.int64()),
        "carrier": names[rng.integers(0, len(names), rows)],
        "größe": some(sizes[rng.integers(0, len(sizes), rows)], 0.3, pa.string()),
    })  # fmt: skip


def write_examples(root: Path, splits: dict[str, pa.Table]) -> Path:
    for split, rows in splits.items():
        with examples.SplitWriter(root, split, rows.schema) as writer:
            for batch in rows.to_batches():
                writer.write(batch)
    return root


def write_schema(folder: Path, label: str = "label", columns: dict | None = None) -> Any:
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    schema = schema_pb2.Schema()
    for name, (kind, required) in (columns or COLUMNS).items():
        feature = schema.feature.add(name=name, type=schema_pb2.FeatureType.Value(kind))
        feature.value_count.max = 1
        if required:
            feature.shape.dim.add(size=1)
    schema.feature.add(name=label, type=schema_pb2.BYTES).shape.dim.add(size=1)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schema.pbtxt").write_text(text_format.MessageToString(schema), "utf-8")
    return schema


def save_model(
    folder: Path,
    kind: str,
    predict: Callable[[dict[str, Any], Any], Any] | None = None,
    *,
    oov_buckets: int = 1,
    classes: tuple | None = None,
    seed: int = 1,
    signature: str = "raw_features",
    columns: dict | None = None,
) -> Path:
    """Writes a SavedModel as Trainer does: tables from files, sparse columns, a little network.

    `predict(features, module)` may replace the network; features are those of
    `preprocessing_fn`.
    """
    import tensorflow as tf

    from millrace.ml.features import raw_spec, to_tensors
    from millrace.ml.problem import Kind, Problem

    classes = CLASSES[kind] if classes is None else classes
    spec = raw_spec(write_schema(folder / "assets.extra", columns=columns), "label")
    Problem("label", Kind(kind), classes).save(folder / "assets.extra")
    module = Network(
        folder.parent / f"{folder.name}-vocabularies", kind, classes, oov_buckets, seed
    )
    body = predict or (lambda features, network: network(features))

    @tf.function(autograph=False)
    def raw_features(**inputs: Any) -> dict[str, Any]:
        return {"outputs": body(to_tensors(inputs, spec), module)}

    function = raw_features.get_concrete_function(
        **{each.input: tf.TensorSpec([None, 1], each.dtype, each.input) for each in spec.values()}
    )
    tf.saved_model.save(module, str(folder), signatures={signature: function})
    return folder


def Network(folder: Path, kind: str, classes: tuple, oov_buckets: int, seed: int) -> Any:  # noqa: N802
    import tensorflow as tf

    class _Network(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            rng = np.random.default_rng(seed)
            self.carriers = self._vocabulary("carriers", CARRIERS)
            self.sizes = self._vocabulary("sizes", ["klein", "mittel", "groß"])
            self.limits = tf.constant([[500.0, 1500.0, 2500.0, 3500.0]])
            self.embeddings = {
                name: tf.Variable(rng.normal(0, 1, (size + oov_buckets, 8)).astype("f"), name=name)
                for name, size in (("carrier", 40), ("size", 3), ("bucket", 5))
            }
            width = len(classes) if kind == "multiclass" else 1
            self.layers = [
                tf.Variable((rng.normal(0, 1, (m, n)) / np.sqrt(m)).astype("f"))
                for m, n in ((28, 32), (32, 16), (16, width))
            ]

        def _vocabulary(self, name: str, words: list[str]) -> Any:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / name
            path.write_text("".join(f"{word}\n" for word in words), "utf-8")
            line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
            initializer = tf.lookup.TextFileInitializer(
                str(path), tf.string, line, tf.int64, number
            )
            return tf.lookup.StaticVocabularyTable(initializer, oov_buckets)

        def __call__(self, features: dict[str, Any]) -> Any:
            distance = features["distance"]
            where = tf.searchsorted(self.limits, tf.transpose(distance), "right")
            parts = [
                (distance - 2500.0) / 1400.0,
                (dense(features["air time"], 150.0) - 150.0) / 60.0,
                tf.cast(features["stops"], tf.float32) - 1.5,
                (tf.cast(dense(features["seats"], 220), tf.float32) - 220.0) / 100.0,
                self._embed("carrier", self.carriers.lookup(features["carrier"])),
                # As in TFX's examples: missing text is filled in before it is looked up.
                self._embed("size", self.sizes.lookup(dense(features["größe"], ""))),
                self._embed("bucket", tf.transpose(where)),
            ]
            x = tf.concat(parts, 1)
            for layer in self.layers[:-1]:
                x = tf.nn.relu(tf.matmul(x, layer))
            x = tf.matmul(x, self.layers[-1])
            if kind == "regression":
                return 10.0 * x + 50.0
            return tf.nn.softmax(3.0 * x) if kind == "multiclass" else tf.sigmoid(3.0 * x)

        def _embed(self, name: str, index: Any) -> Any:
            return tf.reshape(tf.gather(self.embeddings[name], index), [-1, 8])

    def dense(sparse: Any, default: Any) -> Any:
        shape = [sparse.dense_shape[0], 1]
        return tf.sparse.to_dense(tf.SparseTensor(sparse.indices, sparse.values, shape), default)

    return _Network()


def label_rows(model: Path, rows: pa.Table, seed: int = 0) -> pa.Table:
    """Draws labels from a model's own predictions, so that it predicts them fairly well."""
    from millrace.ml.exported import ExportedModel
    from millrace.ml.features import to_numpy
    from millrace.ml.problem import Kind

    rng = np.random.default_rng(seed)
    loaded = ExportedModel(model)
    batch = rows.combine_chunks().to_batches()[0]
    outputs = loaded.predict(to_numpy(batch, loaded.spec))
    if loaded.problem.kind is Kind.REGRESSION:
        return rows.append_column("label", pa.array(outputs[:, 0] + rng.normal(0, 4, len(rows))))
    chances = np.hstack([1 - outputs, outputs]) if outputs.shape[1] == 1 else outputs
    drawn = (chances.cumsum(axis=1) < rng.random(len(rows))[:, None]).sum(axis=1)
    classes = np.array(loaded.problem.classes, object)
    return rows.append_column("label", pa.array(classes[np.minimum(drawn, len(classes) - 1)]))


@pytest.fixture(scope="session")
def models() -> types.SimpleNamespace:
    """Functions that make models and examples of other kinds."""
    return types.SimpleNamespace(
        save=save_model, label=label_rows, table=table, write=write_examples, columns=COLUMNS
    )


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Exported]:
    """Returns a model of a kind with its examples, made once."""
    made: dict[str, Exported] = {}

    def of(kind: str) -> Exported:
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            model = save_model(folder / "model", kind)
            rows = label_rows(model, table())
            splits = {"train": rows.slice(0, ROWS // 3), "eval": rows.slice(ROWS // 3)}
            made[kind] = Exported(model, write_examples(folder / "examples", splits))
        return made[kind]

    return of
