from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from millrace.values import whole

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
)


def as_protobuf(value):
    """The value as `google.protobuf.Value` holds it."""
    if isinstance(value, dict):
        return {key: as_protobuf(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_protobuf(item) for item in value]
    return float(value) if type(value) is int else value


def types(value):
    if isinstance(value, dict):
        return {key: types(item) for key, item in value.items()}
    return [types(item) for item in value] if isinstance(value, list) else type(value)


@given(JSON)
def test_integers_come_back(value):
    back = whole(as_protobuf(value))
    assert (back, types(back)) == (value, types(value))


def test_other_floats_stay():
    assert whole([0.5, math.inf]) == [0.5, math.inf]
    assert math.isnan(whole(math.nan))
