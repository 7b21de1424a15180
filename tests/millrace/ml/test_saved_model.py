"""Equal SavedModels have equal bytes."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from millrace.ml import saved_model


class Doubling(tf.Module):
    """A loop, a branch, a table and a function that calls another."""

    def __init__(self) -> None:
        initializer = tf.lookup.KeyValueTensorInitializer(["a", "b"], [1.0, 2.0])
        self.table = tf.lookup.StaticHashTable(initializer, 0.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def inner(self, words: tf.Tensor) -> tf.Tensor:
        return self.table.lookup(words)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def outer(self, words: tf.Tensor) -> tf.Tensor:
        total = self.inner(words)
        while tf.reduce_max(total) < 100.0:
            total = tf.where(total > 0, 2 * total, total)
        return total


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doubling")
    tf.saved_model.save(Doubling(), str(folder))
    saved_model.make_deterministic(folder)
    return folder


def shuffled(folder: Path, seed: int) -> None:
    """Puts functions and nodes in another order, as another process may have written them."""
    file, chance = folder / saved_model.FILE, random.Random(seed)
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    library = model.meta_graphs[0].graph_def.library
    for repeated in (library.function, *(function.node_def for function in library.function)):
        items = list(repeated)
        chance.shuffle(items)
        del repeated[:]
        repeated.extend(items)
    file.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("seed", range(5))
def test_any_order_gives_the_same_bytes(saved: Path, seed: int) -> None:
    before = (saved / saved_model.FILE).read_bytes()
    shuffled(saved, seed)
    assert (saved / saved_model.FILE).read_bytes() != before
    saved_model.make_deterministic(saved)
    assert (saved / saved_model.FILE).read_bytes() == before


def test_the_model_computes_what_it_did(saved: Path) -> None:
    words = tf.constant(["a", "b", "c"])
    loaded = tf.saved_model.load(str(saved))
    module = Doubling()
    np.testing.assert_array_equal(loaded.outer(words), module.outer(words))


def test_nodes_come_after_what_they_read(saved: Path) -> None:
    model = saved_model_pb2.SavedModel.FromString((saved / saved_model.FILE).read_bytes())
    functions = model.meta_graphs[0].graph_def.library.function
    assert max(len(function.node_def) for function in functions) > 3
    for function in functions:
        seen: set[str] = set()
        names = {node.name for node in function.node_def}
        for node in function.node_def:
            read = {text.removeprefix("^").partition(":")[0] for text in node.input}
            assert read & names <= seen
            seen.add(node.name)
