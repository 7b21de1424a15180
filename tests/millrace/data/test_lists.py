"""Lists have the same layout as in TFX's own code."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.lists import to_list, to_lists, to_value
from millrace.errors import DataError

values = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.floats(allow_nan=False),
    pa.string(): st.text(max_size=4),
    pa.binary(): st.binary(max_size=4),
}
columns = st.sampled_from(list(values)).flatmap(
    lambda kind: st.tuples(st.just(kind), st.lists(st.none() | values[kind], max_size=30))
)


@given(columns, st.integers(0, 5), st.integers(0, 30))
def test_a_value_becomes_a_list_of_one(column, start, length):
    kind, content = column
    array = pa.array(content, kind).slice(start, length)
    listed = to_list(array)
    listed.validate(full=True)
    assert listed.type == pa.list_(kind)
    expected = content[start : start + length]
    assert listed.to_pylist() == [None if one is None else [one] for one in expected]


@given(columns, st.integers(0, 5), st.integers(0, 30))
def test_a_list_of_one_becomes_its_value(column, start, length):
    kind, content = column
    array = pa.array(content, kind).slice(start, length)
    assert to_value(array, "x") is array
    assert to_value(to_list(array), "x").to_pylist() == array.to_pylist()


def test_an_empty_list_is_a_missing_value():
    assert to_value(pa.array([[], ["a"], None, [None]]), "x").to_pylist() == [None, "a", None, None]
    with pytest.raises(DataError, match='"x" holds lists of up to 2 values, and the schema says'):
        to_value(pa.array([[1], [1, 2]]), "x")


def test_nan_is_a_value():
    ((one,), missing) = to_list(pa.array([math.nan, None])).to_pylist()
    assert math.isnan(one)
    assert missing is None


def test_lists_stay_as_they_are():
    array = pa.array([[1, 2], None, []])
    assert to_list(array) is array


def test_a_batch_keeps_its_names():
    batch = pa.record_batch([pa.array([1]), pa.array(["x"])], names=["a b", "größe"])
    listed = to_lists(batch)
    assert listed.to_pydict() == {"a b": [[1]], "größe": [["x"]]}


def test_it_holds_what_tfx_makes_of_a_batch():
    table_util = pytest.importorskip("tfx_bsl.arrow.table_util")
    batch = pa.record_batch(
        [pa.array([1, 2]), pa.array([b"x", None]), pa.array([0.5, None])], names=["a", "b", "c"]
    )
    assert to_lists(batch).to_pydict() == table_util.CanonicalizeRecordBatch(batch).to_pydict()
