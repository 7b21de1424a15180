"""Graphs rewritten for TFLite are equivalent: text, tables, searches, missing values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from millrace.components.pusher import convert
from millrace.components.pusher.interpreter import Runner
from millrace.errors import ModelError
from millrace.ml.exported import ExportedModel

TEXTS = np.array([b"a", b"b", "ä".encode(), b"", b"never seen", b"c"], object).reshape(-1, 1)
NUMBERS = np.array([1.5, -2.0, np.nan, 3.0, 1e9, 3.5], np.float32).reshape(-1, 1)
WHOLE = np.array([3, 7, -(2**63), 0, 12_345_678_901, 8], np.int64).reshape(-1, 1)
VALUES = {"BYTES": TEXTS, "FLOAT": NUMBERS, "INT": WHOLE}

Predict = Callable[[Callable, str, bool], None]


@pytest.fixture
def same(models: Any, tmp_path: Path) -> Callable[..., np.ndarray]:
    """Asserts that a function of one column is the same in TFLite, and returns its values."""

    def check(predict: Callable, kind: str, required: bool = True) -> np.ndarray:
        import tensorflow as tf

        folder = models.save(
            tmp_path / "model",
            "regression",
            lambda features, module: tf.cast(predict(features["x"], module), tf.float32),
            columns={"x": (kind, required)},
        )
        model = ExportedModel(folder)
        values = VALUES[kind] if not required else VALUES[kind][VALUES[kind] != -(2**63)][:, None]
        content = convert.to_float32(model)
        expected = model.predict({"x": values})
        found, _ = Runner(content).predict({"x": values})
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        runner = Runner(content)  # that has not seen several rows
        for row in range(len(values)):  # alone, where all may be missing
            alone, _ = runner.predict({"x": values[row : row + 1]})
            np.testing.assert_allclose(alone, expected[row : row + 1], rtol=1e-6)
        return expected.ravel()

    return check


def table(module: Any, keys: Any, values: list, default: Any, kind: str = "int64") -> Any:
    import tensorflow as tf

    initializer = tf.lookup.KeyValueTensorInitializer(
        tf.constant(keys), tf.constant(values, getattr(tf, kind))
    )
    made = tf.lookup.StaticHashTable(initializer, tf.constant(default, getattr(tf, kind)))
    module.more = [*getattr(module, "more", []), made]
    return made


def dense(sparse: Any, default: Any) -> Any:
    import tensorflow as tf

    shape = [sparse.dense_shape[0], 1]
    return tf.sparse.to_dense(tf.SparseTensor(sparse.indices, sparse.values, shape), default)


def test_vocabulary_with_one_bucket_for_the_unknown(same: Callable) -> None:
    found = same(lambda x, module: module.sizes.lookup(x), "BYTES")
    assert set(found) == {3.0}  # none of the texts is a size


def test_table_of_positions(same: Callable) -> None:
    found = same(lambda x, module: table(module, ["a", "b", "ä"], [0, 1, 2], -1).lookup(x), "BYTES")
    assert found.tolist() == [0, 1, 2, -1, -1, -1]


def test_table_of_any_numbers(same: Callable) -> None:
    found = same(lambda x, module: table(module, ["b", "a"], [70, 50], -7).lookup(x), "BYTES")
    assert found.tolist() == [50, 70, -7, -7, -7, -7]


def test_table_of_fractions(same: Callable) -> None:
    def predict(x: Any, module: Any) -> Any:
        return table(module, ["b", ""], [0.5, 2.5], -0.25, "float32").lookup(x)

    assert same(predict, "BYTES").tolist() == [-0.25, 0.5, -0.25, 2.5, -0.25, -0.25]


def test_two_tables_of_one_column(same: Callable) -> None:
    def predict(x: Any, module: Any) -> Any:
        first = table(module, ["a", "b"], [0, 1], -1)
        second = table(module, ["c", "b", "never seen"], [2, 1, 0], -1)
        return first.lookup(x) * 10 + second.lookup(x)

    assert same(predict, "BYTES").tolist() == [-1, 11, -11, -11, -10, -8]


def test_missing_text_filled_in_before_it_is_looked_up(same: Callable) -> None:
    def predict(x: Any, module: Any) -> Any:
        return table(module, ["a", "missing"], [0, 1], -1).lookup(dense(x, "missing"))

    assert same(predict, "BYTES", required=False).tolist() == [0, -1, -1, 1, -1, -1]


def test_missing_text_looked_up_before_it_is_filled_in(same: Callable) -> None:
    import tensorflow as tf

    def predict(x: Any, module: Any) -> Any:
        found = table(module, ["a", "b"], [0, 1], -1).lookup(x.values)
        return dense(tf.SparseTensor(x.indices, found, x.dense_shape), 9)

    assert same(predict, "BYTES", required=False).tolist() == [0, 1, -1, 9, -1, -1]


def test_text_compared_and_chosen(same: Callable) -> None:
    import tensorflow as tf

    def predict(x: Any, module: Any) -> Any:
        chosen = tf.where(tf.equal(x, ""), tf.constant("b"), x)
        joined = tf.concat([chosen, tf.fill(tf.shape(chosen), "a")], 1)
        return table(module, ["a", "b"], [5, 6], -1).lookup(joined)[:, :1]

    assert same(predict, "BYTES").tolist() == [5, 6, -1, 6, -1, -1]


def test_text_of_two_columns_that_meet(models: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    def predict(features: dict, module: Any) -> Any:
        either = tf.where(tf.equal(features["x"], ""), features["y"], features["x"])
        found = table(module, ["a", "b", "ä"], [0, 1, 2], -1).lookup(either)
        alone = table(module, ["never seen", "b"], [0, 1], -1).lookup(features["y"])
        return tf.cast(10 * found + alone, tf.float32)

    columns = {"x": ("BYTES", True), "y": ("BYTES", True)}
    model = ExportedModel(models.save(tmp_path / "m", "regression", predict, columns=columns))
    rows = {"x": TEXTS, "y": TEXTS[::-1]}
    found, _ = Runner(convert.to_float32(model)).predict(rows)
    assert found.tolist() == model.predict(rows).tolist()
    assert found.ravel().tolist() == [-1, 10, 19, 19, -9, -11]


def test_column_that_is_only_compared(same: Callable) -> None:
    import tensorflow as tf

    found = same(lambda x, _: tf.cast(tf.equal(x, "ä"), tf.float32), "BYTES")
    assert found.tolist() == [0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize("spread", [1, 10**12])
def test_whole_numbers_as_keys(same: Callable, spread: int) -> None:
    def predict(x: Any, module: Any) -> Any:
        return table(module, np.array([0, 7, 8 * spread]), [30, 40, 50], -1).lookup(x)

    expected = [-1, 40, 30, -1, 50 if spread == 1 else -1]
    assert same(predict, "INT").tolist() == expected


@pytest.mark.parametrize("side", ["left", "right"])
def test_buckets(same: Callable, side: str) -> None:
    import tensorflow as tf

    def predict(x: Any, _: Any) -> Any:
        limits = tf.constant([[-2.0, 1.5, 3.0]])
        return tf.transpose(tf.searchsorted(limits, tf.transpose(x), side))

    found = same(predict, "FLOAT")
    assert found.tolist() == ([1, 0, 0, 2, 3, 3] if side == "left" else [2, 1, 3, 3, 3, 3])


@pytest.mark.parametrize(("kind", "default"), [("FLOAT", 9.0), ("INT", 9)])
def test_missing_numbers_filled_in(same: Callable, kind: str, default: Any) -> None:
    found = same(lambda x, _: dense(x, default), kind, required=False)
    assert found[2] == 9


def test_variables_functions_and_buckets_of_the_unknown(
    models: Any, exported: Callable, tmp_path: Path
) -> None:
    for kind in ("binary", "multiclass", "regression"):
        model = ExportedModel(exported(kind).model)
        rows = next(iter(model.rows(exported(kind).examples, "eval")))
        found, _ = Runner(convert.to_float32(model)).predict(rows.features)
        np.testing.assert_allclose(found, model.predict(rows.features), atol=2e-5)


def unconvertible(models: Any, folder: Path, predict: Callable, kind: str = "BYTES", **more) -> str:
    made = models.save(
        folder,
        "regression",
        lambda features, module: predict(features["x"], module),
        columns={"x": (kind, True)},
        **more,
    )
    with pytest.raises(ModelError) as raised:
        convert.to_float32(ExportedModel(made))
    return str(raised.value)


def test_text_that_is_computed_with(models: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    def predict(x: Any, module: Any) -> Any:
        return tf.cast(module.sizes.lookup(tf.strings.lower(x)), tf.float32)

    message = unconvertible(models, tmp_path / "m", predict)
    assert message.startswith("The model computes StringLower of text (")
    assert message.endswith(
        "), which TFLite cannot do. Do it in the query of ExampleGen rather than in "
        "`preprocessing_fn`."
    )


def test_more_buckets_for_the_unknown(models: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    message = unconvertible(
        models,
        tmp_path / "m",
        lambda x, module: tf.cast(module.sizes.lookup(x), tf.float32),
        oov_buckets=3,
    )
    assert message.startswith(
        "The model spreads unknown values over 3 buckets by hash, which TFLite cannot do ("
    )
    assert message.endswith("). Give the vocabulary num_oov_buckets=1.")


def test_operation_that_tflite_lacks(models: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    def predict(x: Any, _: Any) -> Any:
        return tf.math.igamma(x, x) + tf.linalg.inv(tf.matmul(x, x, transpose_a=True))

    assert unconvertible(models, tmp_path / "m", predict, "FLOAT") == (
        "The model computes Igamma, MatrixInverse, which TFLite cannot. Use other operations in "
        "`preprocessing_fn` or in the network."
    )


def test_text_within_a_condition(models: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    def predict(x: Any, module: Any) -> Any:
        return tf.cond(
            tf.shape(x)[0] > 1,
            lambda: tf.cast(module.sizes.lookup(x), tf.float32),
            lambda: tf.zeros_like(x, tf.float32),
        )

    message = unconvertible(models, tmp_path / "m", predict)
    assert "within a condition or a loop" in message


def test_a_conversion_is_repeatable(exported: Callable) -> None:
    model = ExportedModel(exported("binary").model)
    assert convert.to_float32(model) == convert.to_float32(model)


@pytest.mark.parametrize("required", [True, False])
def test_whole_numbers_that_are_compared_with_several(same, required) -> None:
    import tensorflow as tf

    some = [0, 3, 3 + 2**32, 12_345_678_901 - 2**32]  # TFLite takes those for 3 and for 12,345,…

    def predict(x: Any, _: Any) -> Any:
        x = x if required else dense(x, tf.int64.min)
        matches = tf.cast(tf.equal(x, tf.constant([some], tf.int64)), tf.int64)
        return tf.reduce_sum(matches * tf.constant([[1, 2, 4, 8]], tf.int64), 1, keepdims=True)

    assert same(predict, "INT", required).tolist() == [2, 0, *([] if required else [0]), 1, 0, 0]
