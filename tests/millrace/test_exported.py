"""Labels of raw rows, as exported models count them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from millrace.errors import DataError
from millrace.exported import encode
from millrace.problem import Kind, Problem


def encoded(values: Any, classes: tuple, kind: Kind = Kind.MULTICLASS) -> list:
    batch = pa.RecordBatch.from_arrays([pa.array(values)], ["y"])
    return encode(batch, Problem("y", kind, classes), "eval").tolist()


@pytest.mark.parametrize(
    ("values", "classes", "expected"),
    [
        (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
        ([1, 0, 1], (0, 1), [1, 0, 1]),
        ([1.0, 0.0], (0, 1), [1, 0]),
        ([True, False], (0, 1), [1, 0]),
        (["1", "0"], (0, 1), [1, 0]),
        ([10, 9], (9, 10), [1, 0]),
    ],
)
def test_labels_become_indexes(values: list, classes: tuple, expected: list) -> None:
    assert encoded(values, classes) == expected


@pytest.mark.parametrize(
    ("values", "classes", "kind", "message"),
    [
        (["a", "c"], ("a", "b"), Kind.BINARY, "values that the model does not know: c (rows: 1)"),
        ([1.5], (1, 2), Kind.BINARY, "values that the model does not know: 1.5 (rows: 1)"),
        (
            [None, "a"],
            ("a", "b"),
            Kind.BINARY,
            'The label "y" is missing in split "eval" (rows: 1).',
        ),
        (["x"], (), Kind.REGRESSION, 'The label "y" is string and must be a number.'),
        ([1.0, float("inf")], (), Kind.REGRESSION, 'is NaN or infinite in split "eval" (rows: 1).'),
    ],
)
def test_labels_that_cannot_be_used(values: list, classes: tuple, kind: Kind, message: str) -> None:
    with pytest.raises(DataError) as raised:
        encoded(values, classes, kind)
    assert message in str(raised.value)
