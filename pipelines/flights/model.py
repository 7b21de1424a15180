"""The network of the flights: embeddings beside numbers, and two hidden layers."""

from __future__ import annotations

from typing import Any

import tf_keras
from tf_keras import layers

from millrace.pipelines.flights.preprocessing import BUCKETS, CATEGORIES, NUMBERS, TIMES

EMBEDDING = 8


def build_model(fn_args: Any) -> tf_keras.Model:
    """Returns the compiled model."""
    inputs, parts = {}, []
    for name in NUMBERS:
        number = inputs[f"{name}_xf"] = layers.Input((1,), name=f"{name}_xf", dtype="float32")
        parts.append(number)
    sizes = {f"{name}_bk": BUCKETS for name in TIMES}
    for name in CATEGORIES:
        # One more than the vocabulary, for unknown values.
        sizes[f"{name}_xf"] = fn_args.transform_graph.vocabulary_size_by_name(name) + 1
    for name, size in sizes.items():
        index = inputs[name] = layers.Input((1,), name=name, dtype="int64")
        embedding = layers.Embedding(size, EMBEDDING, name=f"{name}_embedding")
        parts.append(layers.Flatten()(embedding(index)))
    hidden = layers.Dense(64, activation="relu")(layers.Concatenate()(parts))
    hidden = layers.Dense(32, activation="relu")(hidden)
    model = tf_keras.Model(inputs, layers.Dense(1, activation="sigmoid")(hidden))
    model.compile(
        tf_keras.optimizers.Adam(1e-3),
        "binary_crossentropy",
        metrics=[tf_keras.metrics.AUC(name="auc")],
        steps_per_execution=10,
    )
    return model
