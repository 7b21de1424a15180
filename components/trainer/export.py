"""Writes a Keras model as a SavedModel that takes raw columns, with its transform inside.

Signatures:
    serving_default     serialized tf.Examples → `outputs`
    raw_features        one dense tensor for each raw column, see `millrace.ml.features` → `outputs`
    transform_features  serialized tf.Examples with the label → the transformed features

Loading it needs neither Keras nor TensorFlow Transform; vocabularies are among its assets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
import tf_keras
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import schema_utils

from millrace.data import schemas
from millrace.errors import ModelError
from millrace.ml import saved_model
from millrace.ml.features import SOURCES_FILE, RawFeature, raw_spec, to_tensors, without_absent
from millrace.ml.problem import Problem

OUTPUT = "outputs"
EXTRA = "assets.extra"
NAMES_FILE = "input_names.json"


def save(
    model: tf_keras.Model, folder: Path, transform_output: Path, schema_path: Path, problem: Problem
) -> None:
    """Writes a model with its transform, its schema and its problem.

    Args:
        model: A model of the transformed features.
        folder: Where to write the SavedModel.
        transform_output: The folder that Transform wrote.
        schema_path: The schema of the raw rows.
        problem: The prediction problem.
    """
    schema = schemas.read(schema_path)
    spec = raw_spec(schema, problem.label)
    sources = json.loads((transform_output / SOURCES_FILE).read_text(encoding="utf-8"))
    del sources[problem.label]
    features = inputs(model, sources)
    _refuse_lists(features, sources, spec)
    served = _Served(model, features, transform_output, schema, spec, problem.label)
    tf.saved_model.save(served, str(folder), signatures=served.signatures())
    saved_model.make_deterministic(folder)
    extra = folder / EXTRA
    extra.mkdir(exist_ok=True)
    schemas.save(extra, schema)
    problem.save(extra)
    renamed = {name: raw.input for name, raw in spec.items() if raw.input != name}
    if renamed:
        text = json.dumps(renamed, ensure_ascii=False, indent=1)
        (extra / NAMES_FILE).write_text(text + "\n", encoding="utf-8")


def inputs(model: tf_keras.Model, features: Mapping[str, Any]) -> list[str]:
    """Returns the features that a model takes: its inputs, or all if it does not say."""
    try:
        taken = model.input
    except AttributeError:
        return list(features)  # a subclass of Model accepts any inputs
    return list(taken) if isinstance(taken, dict) else list(model.input_names)


def _refuse_lists(
    features: Sequence[str], sources: Mapping[str, Sequence[str]], spec: Mapping[str, RawFeature]
) -> None:
    for feature in features:
        for column in sources[feature]:
            if column not in spec:
                raise ModelError(
                    f'The feature "{feature}" is made of the column "{column}", which holds lists,'
                    " or may: its schema has no value_count of at most 1. A model takes one value a"
                    " row of each column: spread the list over columns with ExampleGen's query."
                )


class _Served(tf.Module):  # type: ignore[misc]
    """A model with its transform in front; its attributes are saved."""

    def __init__(
        self,
        model: tf_keras.Model,
        taken: Sequence[str],
        transform_output: Path,
        schema: schema_pb2.Schema,
        spec: Mapping[str, RawFeature],
        label: str,
    ) -> None:
        super().__init__()
        # Only its variables, since Keras would trace every layer to save the model itself.
        self.model_variables = model.variables
        self.transform = tf.saved_model.load(
            str(transform_output / tft.TFTransformOutput.TRANSFORM_FN_DIR)
        )
        # A separate function, since only a user's layers may need AutoGraph.
        self._model = tf.function(lambda features: model(features, training=False))
        self._taken = list(taken)
        self._spec = dict(spec)
        self._label = label
        self._examples = schema_utils.schema_as_feature_spec(schema).feature_spec

    def signatures(self) -> dict[str, Any]:
        """Traces every signature.

        AutoGraph is on for the model only: this module does not need it.
        """
        examples = tf.TensorSpec([None], tf.string, name="examples")
        unlabelled = {name: spec for name, spec in self._examples.items() if name != self._label}

        @tf.function(input_signature=[examples], autograph=False)
        def serving_default(examples: tf.Tensor) -> dict[str, tf.Tensor]:
            return self._predict(self._parse(examples, unlabelled))

        @tf.function(autograph=False)
        def raw_features(**columns: tf.Tensor) -> dict[str, tf.Tensor]:
            return self._predict(to_tensors(columns, self._spec))

        @tf.function(input_signature=[examples], autograph=False)
        def transform_features(examples: tf.Tensor) -> dict[str, tf.Tensor]:
            return self._features(self._parse(examples, self._examples))

        columns = {
            raw.input: tf.TensorSpec([None, 1], raw.dtype, name=raw.input)
            for raw in self._spec.values()
        }
        return {
            "serving_default": serving_default,
            "raw_features": raw_features.get_concrete_function(**columns),
            "transform_features": transform_features,
        }

    def _parse(self, examples: tf.Tensor, columns: Mapping[str, Any]) -> dict[str, Any]:
        return without_absent(tf.io.parse_example(examples, columns), self._spec)

    def _predict(self, raw: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        features = self._features(raw)
        taken = {name: _column(features[name]) for name in self._taken}
        return {OUTPUT: tf.cast(self._model(taken), tf.float32)}

    def _features(self, raw: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """Applies the transform; missing columns, such as the label, are blank."""
        function = self.transform.transform_fn
        rows = _rows(next(iter(raw.values())))
        complete = {
            name: _shaped(raw[name], spec) if name in raw else _blank(spec, rows)
            for name, spec in function.structured_input_signature[0][0].items()
        }
        features: dict[str, tf.Tensor] = function(
            *tf.nest.flatten(complete, expand_composites=True)
        )
        return features


def _rows(tensor: Any) -> tf.Tensor:
    if isinstance(tensor, tf.SparseTensor):
        return tensor.dense_shape[0]
    return tf.shape(tensor, out_type=tf.int64)[0]


def _shaped(tensor: Any, spec: Any) -> Any:
    """Returns a column in the shape of the schema, which may be scalar."""
    if isinstance(tensor, tf.Tensor) and tensor.shape.rank != spec.shape.rank:
        return tf.reshape(tensor, [-1, *spec.shape[1:]])
    return tensor


def _blank(spec: Any, rows: tf.Tensor) -> Any:
    if isinstance(spec, tf.SparseTensorSpec):
        rank = spec.shape.rank
        return tf.SparseTensor(
            tf.zeros([0, rank], tf.int64),
            tf.zeros([0], spec.dtype),
            tf.stack([rows, *[tf.constant(0, tf.int64)] * (rank - 1)]),
        )
    if isinstance(spec, tf.RaggedTensorSpec):
        splits = tf.zeros([rows + 1], spec.row_splits_dtype)
        return tf.RaggedTensor.from_row_splits(tf.zeros([0], spec.dtype), splits, validate=False)
    shape = [rows, *(tf.constant(size, tf.int64) for size in spec.shape[1:])]
    return tf.zeros(tf.stack(shape), spec.dtype)


def _column(tensor: tf.Tensor) -> tf.Tensor:
    return tensor[:, tf.newaxis] if tensor.shape.rank == 1 else tensor
