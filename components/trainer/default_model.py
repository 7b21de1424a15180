"""The default model: embeddings and dense layers over the transformed features."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
import tf_keras
from tensorflow_metadata.proto.v0 import schema_pb2

from millrace.components.trainer.fn_args import FnArgs
from millrace.components.trainer.rows import is_sparse
from millrace.errors import ModuleError
from millrace.ml.features import input_names
from millrace.ml.moments import Moments
from millrace.ml.problem import Kind

HIDDEN = (128, 64)
DROPOUT = 0.2
LEARNING_RATE = 2e-3
WIDEST_EMBEDDING = 32
PENALTY = 0.05  # on the squared weights of the first layer, if there are as many inputs as rows
_STEPS_PER_EXECUTION = 10


def build_model(fn_args: FnArgs) -> tf_keras.Model:
    """Returns a compiled model for the transformed features.

    A feature with an integer range from 0 in the transformed schema is a category and is embedded;
    any other is a number. The initial output is the mean of the labels.

    Raises:
        ModuleError: A feature is text, or sparse.
    """
    layers = tf_keras.layers
    sizes, rows = _categories(fn_args), fn_args.rows("train").number
    names = input_names(fn_args.features)
    inputs, parts = {}, []
    for name, spec in sorted(fn_args.features.items()):
        if not isinstance(spec, tf.io.FixedLenFeature):
            raise is_sparse(name)
        width = int(np.prod(spec.shape, dtype=np.int64))
        inputs[name] = layers.Input((width,), name=names[name], dtype=spec.dtype)
        if name in sizes:
            width = embedding_width(sizes[name], rows)
            embedding = layers.Embedding(sizes[name], width, name=f"{names[name]}_embedding")
            parts.append(layers.Flatten()(embedding(inputs[name])))
        elif spec.dtype == tf.float32:
            parts.append(inputs[name])
        else:
            parts.append(tf.cast(inputs[name], tf.float32))
    hidden = layers.Concatenate()(parts) if len(parts) > 1 else parts[0]
    # With few rows and many inputs, a network overfits.
    penalty = PENALTY * min(hidden.shape[1] / rows, 1.0)
    for units in HIDDEN:
        hidden = PenalizedDense(units, penalty, activation="relu")(hidden)
        penalty = 0.0
        hidden = layers.Dropout(DROPOUT)(hidden)
    output, loss, metrics = _head(hidden, fn_args)
    model = tf_keras.Model(inputs, output)
    model.compile(
        tf_keras.optimizers.Adam(LEARNING_RATE),
        loss,
        metrics=metrics,
        steps_per_execution=_STEPS_PER_EXECUTION,
    )
    return model


def embedding_width(size: int, rows: int) -> int:
    """Returns the embedding width for a number of categories.

    It grows with their number, limited by the rows per category.
    """
    return max(2, min(WIDEST_EMBEDDING, round(1.6 * math.sqrt(size)), rows // (4 * size)))


def _categories(fn_args: FnArgs) -> dict[str, int]:
    """Returns the number of values of each categorical feature."""
    sizes = {}
    for feature in fn_args.transform_graph.transformed_metadata.schema.feature:
        if feature.name not in fn_args.features:
            continue
        if feature.type == schema_pb2.BYTES:
            raise ModuleError(
                f'The feature "{feature.name}" is text, which the default model cannot learn from:'
                " look it up in a vocabulary in preprocessing_fn, or write a model of your own."
            )
        known = feature.HasField("int_domain") and feature.int_domain.HasField("max")
        if known and feature.int_domain.min == 0 and feature.int_domain.is_categorical:
            sizes[feature.name] = int(feature.int_domain.max) + 1
    return sizes


def _head(hidden: tf.Tensor, fn_args: FnArgs) -> tuple[tf.Tensor, Any, list[Any]]:
    """Returns the output, the loss and the metrics for a kind of problem."""
    layers, metrics = tf_keras.layers, tf_keras.metrics
    problem = fn_args.problem
    if problem.kind is Kind.REGRESSION:
        mean, deviation = _label_moments(fn_args.train_files, problem.label)
        # The network computes in standard deviations, and the output is in the label's unit.
        output = layers.Rescaling(deviation, offset=mean)(layers.Dense(1)(hidden))
        return output, SquaredError(deviation), [
            metrics.RootMeanSquaredError(name="rmse"),
            metrics.MeanAbsoluteError(name="mae"),
        ]  # fmt: skip
    shares = _class_shares(fn_args.train_files, problem.label, len(problem.classes))
    if problem.kind is Kind.BINARY:
        start = tf_keras.initializers.Constant(math.log(shares[1] / shares[0]))
        output = layers.Dense(1, activation="sigmoid", bias_initializer=start)(hidden)
        return output, "binary_crossentropy", [
            metrics.AUC(name="auc"),
            metrics.BinaryAccuracy(name="accuracy"),
        ]  # fmt: skip
    start = tf_keras.initializers.Constant(np.log(shares))
    output = layers.Dense(len(shares), activation="softmax", bias_initializer=start)(hidden)
    accuracy = metrics.SparseCategoricalAccuracy(name="accuracy")
    return output, "sparse_categorical_crossentropy", [accuracy]


class PenalizedDense(tf_keras.layers.Dense):  # type: ignore[misc]
    """A dense layer with an L2 penalty on its weights in training.

    The penalty is in the gradient but not in the reported loss, which is therefore comparable with
    the loss on the eval split and with the Evaluator's.
    """

    def __init__(self, units: int, penalty: float, **options: Any) -> None:
        super().__init__(units, **options)
        self._penalty = penalty

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns the activations."""
        if not (training and self._penalty):
            return super().call(inputs)
        kernel = self._penalized(tf.convert_to_tensor(self.kernel))
        return self.activation(tf.nn.bias_add(tf.matmul(inputs, kernel), self.bias))

    def _penalized(self, kernel: tf.Tensor) -> tf.Tensor:
        """Returns the kernel unchanged, with the penalty added to its gradient."""

        @tf.custom_gradient
        def same(weights: tf.Tensor) -> Any:
            return tf.identity(weights), lambda gradient: gradient + self._penalty * (2.0 * weights)

        return same(kernel)


class SquaredError(tf_keras.losses.Loss):  # type: ignore[misc]
    """The mean squared error in units of the label's variance: 1 is as good as the mean."""

    def __init__(self, deviation: float, name: str = "squared_error") -> None:
        super().__init__(name=name)
        self._deviation = deviation

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Returns the error of each row."""
        error = (tf.cast(y_true, y_pred.dtype) - y_pred) / self._deviation
        return tf.reduce_mean(tf.square(error), axis=-1)


def _label_moments(files: Iterable[str], label: str) -> tuple[float, float]:
    """Returns the mean and standard deviation of the labels."""
    moments = Moments(1)
    for values in _label_batches(files, label):
        moments.add(values.to_numpy())
    return float(moments.mean[0]), float(moments.deviations[0]) or 1.0


def _class_shares(files: Iterable[str], label: str, classes: int) -> list[float]:
    """Returns the share of each class in the labels."""
    counts = np.zeros(classes)
    for values in _label_batches(files, label):
        counts += np.bincount(values.to_numpy().astype(np.int64), minlength=classes)
    shares: list[float] = (counts / counts.sum()).tolist()
    return shares


def _label_batches(files: Iterable[str], label: str) -> Iterator[pa.Array]:
    for path in files:
        for batch in pq.ParquetFile(path).iter_batches(columns=[label]):
            yield batch.column(0)
