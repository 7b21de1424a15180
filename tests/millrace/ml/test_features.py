"""Raw columns as inputs of a model."""

from __future__ import annotations

import math
import string

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import schema_pb2

from millrace.errors import DataError
from millrace.ml.features import (
    INT_MISSING,
    RawFeature,
    absent_as_null,
    input_names,
    raw_spec,
    to_numpy,
    to_tensors,
)


def schema(**columns: tuple[str, bool]) -> schema_pb2.Schema:
    result = schema_pb2.Schema()
    for name, (kind, required) in columns.items():
        feature = result.feature.add(name=name, type=schema_pb2.FeatureType.Value(kind))
        feature.value_count.max = 1
        if required:
            feature.shape.dim.add(size=1)
            feature.presence.min_fraction = 1.0
    return result


def test_spec_has_every_column_but_the_label_in_order() -> None:
    raw = schema(b=("FLOAT", True), a=("INT", False), c=("BYTES", True), label=("INT", True))
    assert raw_spec(raw, "label") == {
        "b": RawFeature("float32", True, "b"),
        "a": RawFeature("int64", False, "a"),
        "c": RawFeature("string", True, "c"),
    }
    assert list(raw_spec(raw, "label")) == ["b", "a", "c"]


def test_lists_are_left_out() -> None:
    raw = schema(kept=("INT", True), pair=("INT", True), many=("INT", False), open=("INT", False))
    raw.feature[1].shape.dim[0].size = 2
    raw.feature[2].value_count.max = 5
    raw.feature[3].ClearField("value_count")
    assert list(raw_spec(raw, "label")) == ["kept"]


@pytest.mark.parametrize("stage", schema_pb2.LifecycleStage.items())
def test_columns_are_in_use_that_tensorflow_makes_tensors_of(stage) -> None:
    from tensorflow_transform.tf_metadata import schema_utils

    raw = schema(kept=("INT", True), other=("INT", True))
    raw.feature[1].lifecycle_stage = stage[1]
    known = schema_utils.schema_as_feature_spec(raw).feature_spec
    assert list(raw_spec(raw, "label")) == list(known)


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        (["age", "Age_2"], {"age": "age", "Age_2": "Age_2"}),
        (["größe", "a b", "x.y"], {"größe": "grosse", "a b": "a_b", "x.y": "x_y"}),
        (["a b", "a.b", "a_b"], {"a b": "a_b_2", "a.b": "a_b_3", "a_b": "a_b"}),
        (["A", "a"], {"A": "A", "a": "a_2"}),
        (["class", "self"], {"class": "column_class", "self": "column_self"}),
        (["年龄", "1st", "_x", "%"], {
            "年龄": "column_2", "1st": "column_1st", "_x": "x", "%": "column"
        }),
    ],
)  # fmt: skip
def test_names_are_readable(columns, names) -> None:
    assert input_names(columns) == names


NAMES = st.lists(
    st.text(string.ascii_letters + string.digits + " _.-/äß€漢", min_size=1, max_size=6),
    min_size=1,
    max_size=8,
    unique=True,
)


def test_the_end_of_a_very_long_name_is_cut_off() -> None:
    columns = ["x" * 300, "x" * 200, "ß" * 300, "y" * 128]
    assert sorted(input_names(columns).values()) == [
        "s" * 128, "x" * 128, "x" * 128 + "_2", "y" * 128,
    ]  # fmt: skip


@given(NAMES, st.randoms())
def test_names_are_legal_different_and_independent_of_order(columns, random) -> None:
    names = input_names(columns)
    assert set(names) == set(columns)
    assert len({name.lower() for name in names.values()}) == len(columns)
    assert all(name.isidentifier() and name.isascii() for name in names.values())
    shuffled = random.sample(columns, len(columns))
    assert input_names(shuffled) == names


@settings(max_examples=5)
@given(NAMES)
def test_tensorflow_takes_the_names(columns) -> None:
    names = input_names(columns)

    @tf.function(autograph=False)
    def total(**values: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"outputs": tf.add_n(list(values.values()))}

    function = total.get_concrete_function(
        **{name: tf.TensorSpec([None, 1], tf.float32, name) for name in names.values()}
    )
    outputs = function(**{name: tf.ones([2, 1]) for name in names.values()})["outputs"]
    assert outputs.numpy().tolist() == [[len(columns)]] * 2


SPEC = {
    "price €": RawFeature("float32", False, "price"),
    "count": RawFeature("int64", False, "count"),
    "kind": RawFeature("string", False, "kind"),
}


def test_missing_values_are_stood_for() -> None:
    batch = pa.record_batch(
        [pa.array([1.5, None]), pa.array([None, 7]), pa.array(["é", None])],
        names=["price €", "count", "kind"],
    )
    inputs = to_numpy(batch, SPEC)
    assert {name: (values.shape, values.dtype.kind) for name, values in inputs.items()} == {
        "price": ((2, 1), "f"),
        "count": ((2, 1), "i"),
        "kind": ((2, 1), "O"),
    }
    assert inputs["price"][0, 0] == 1.5
    assert math.isnan(inputs["price"][1, 0])
    assert inputs["count"].ravel().tolist() == [INT_MISSING, 7]
    assert inputs["kind"].ravel().tolist() == ["é".encode(), b""]


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["a", "", None], pa.string(), ["a", None, None]),
        ([b"a", b"", None], pa.binary(), [b"a", None, None]),
        ([1.5, math.nan, None, math.inf], pa.float64(), [1.5, None, None, math.inf]),
        ([0, INT_MISSING, None], pa.int64(), [0, None, None]),
        ([0, None], pa.int8(), [0, None]),
        ([True, None], pa.bool_(), [True, None]),
        ([None], pa.null(), [None]),
        ([["", "a"]], pa.list_(pa.string()), [["", "a"]]),
    ],
)
def test_what_stands_for_a_missing_value_is_one(values, kind, expected) -> None:
    assert absent_as_null(pa.array(values, kind)).to_pylist() == expected


def test_whole_numbers_are_rounded_to_float32() -> None:
    inputs = to_numpy(pa.record_batch([pa.array([2**24 + 1])], ["price €"]), SPEC)
    assert inputs["price"].tolist() == [[2.0**24]]


def test_lists_of_one_are_values() -> None:
    batch = pa.record_batch([pa.array([[3]]), pa.array([["a"]])], ["count", "kind"])
    inputs = to_numpy(batch, SPEC)
    assert (inputs["count"].tolist(), inputs["kind"].tolist()) == ([[3]], [[b"a"]])


def test_optional_columns_may_be_absent() -> None:
    inputs = to_numpy(pa.record_batch([pa.array([3])], names=["count"]), SPEC)
    assert np.isnan(inputs["price"]).all()
    assert inputs["kind"].tolist() == [[b""]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, 'The rows lack the column "n", which the model needs.'),
        (
            {"n": [1, None, None]},
            '"n" is missing in 2 of 3 rows, and the model was made from data in which it never is.',
        ),
        ({"n": ["a"]}, '"n" is string and cannot be read as int64'),
        ({"n": [1.5]}, '"n" is double and cannot be read as int64'),
    ],
)
def test_rows_that_do_not_fit(columns, message) -> None:
    batch = pa.RecordBatch.from_pydict(columns or {"other": [0] * 3})
    with pytest.raises(DataError) as raised:
        to_numpy(batch, {"n": RawFeature("int64", True, "n")})
    assert message in str(raised.value)


def test_numbers_are_no_text() -> None:
    batch = pa.RecordBatch.from_pydict({"t": [1]})
    with pytest.raises(DataError, match='"t" is int64, and the schema says it is text'):
        to_numpy(batch, {"t": RawFeature("string", True, "t")})


@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.floats(width=32, allow_nan=False)),
            st.one_of(st.none(), st.integers(-(2**63) + 1, 2**63 - 1)),
            st.one_of(st.none(), st.text(st.characters(codec="utf-8"), min_size=1, max_size=4)),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_what_is_missing_is_missing_in_the_model_too(rows) -> None:
    columns = list(zip(*rows, strict=True))
    kinds = (pa.float64(), pa.int64(), pa.string())
    batch = pa.record_batch(
        [pa.array(values, kind) for values, kind in zip(columns, kinds, strict=True)],
        names=list(SPEC),
    )
    inputs = {name: tf.constant(values) for name, values in to_numpy(batch, SPEC).items()}
    tensors = to_tensors(inputs, SPEC)
    for name, values in zip(SPEC, columns, strict=True):
        sparse = tensors[name]
        assert sparse.dense_shape.numpy().tolist() == [len(rows), 1]
        present = [position for position, value in enumerate(values) if value is not None]
        assert sparse.indices.numpy().tolist() == [[position, 0] for position in present]
        expected = [values[position] for position in present]
        if name == "kind":
            expected = [value.encode() for value in expected]
        np.testing.assert_array_equal(
            sparse.values.numpy(), np.array(expected, sparse.dtype.as_numpy_dtype)
        )
