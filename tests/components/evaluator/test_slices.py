"""Slices by one column and by several, computed in a stream."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.components.evaluator import slices
from millrace.errors import ParameterError

SCHEMA = pa.schema([
    ("carrier", pa.string()),
    ("month", pa.int64()),
    ("tags", pa.list_(pa.string())),
])  # fmt: skip


@pytest.mark.parametrize(
    ("slice_columns", "message"),
    [
        (["carier"], '"carier" is not a column of the examples. Did you mean "carrier"?'),
        ([["carrier", "moth"]], '"moth" is not a column of the examples. Did you mean "month"?'),
        ([3], "slice_columns: 3 must be a column, or a list of columns to cross."),
        ([[]], "slice_columns: [] must be a column, or a list of columns to cross."),
        ([[["carrier"]]], "is not a column of the examples."),
        (["tags"], '"tags" is list<item: string>; rows can be sliced by single values only.'),
    ],
)  # fmt: skip
def test_bad_columns(slice_columns: list, message: str) -> None:
    with pytest.raises(ParameterError) as raised:
        slices.specs(slice_columns, SCHEMA)
    assert message in str(raised.value)


def test_repetitions_are_dropped() -> None:
    given = ["carrier", ["carrier"], ["carrier", "month", "carrier"], ["month", "carrier"]]
    assert slices.specs(given, SCHEMA) == [
        ("carrier",),
        ("carrier", "month"),
        ("month", "carrier"),
    ]


values = st.one_of(st.none(), st.floats(-2, 2, width=16), st.just(float("nan")))
texts = st.one_of(st.none(), st.sampled_from(["", "a", "b", "ä"]))


@given(st.lists(st.tuples(texts, values), min_size=1, max_size=40), st.integers(1, 10))
def test_slices_are_the_rows_that_share_their_values(rows: list, batch: int) -> None:
    table = pa.table({
        "text": pa.array([row[0] for row in rows], pa.string()),
        "number": pa.array([row[1] for row in rows], pa.float64(), from_pandas=False),
    })  # fmt: skip
    encoder = slices.Encoder(["text", "number"])
    for part in table.to_batches(batch):
        encoder.add(part)
    for columns in (("text",), ("number",), ("number", "text")):
        found = encoder.slicing(columns)
        named = [found.values[code] for code in found.groups.codes]
        places = [("text", "number").index(column) for column in columns]
        expected = [tuple(_plain(row[at]) for at in places) for row in rows]
        assert named == expected
        assert found.groups.count == len(set(expected)) == len(found.values)
        assert Counter(named) == Counter(expected)


def _plain(value: object) -> object:
    return "nan" if value != value else value


def test_a_name_shows_what_is_missing_or_empty() -> None:
    assert slices.label(["a", "b", "c"], [None, "", 3]) == 'a = missing, b = "", c = 3'


def test_a_cross_of_many_columns_does_not_overflow() -> None:
    rng = np.random.default_rng(0)
    columns = {f"c{number}": rng.integers(0, 5000, 2000) for number in range(8)}
    encoder = slices.Encoder(list(columns))
    for batch in pa.table(columns).to_batches():
        encoder.add(batch)
    found = encoder.slicing(tuple(columns))
    assert found.groups.count == 2000
    row = found.values[found.groups.codes[7]]
    assert row == tuple(int(values[7]) for values in columns.values())
