"""Rows that are in two splits but for an identifier are found, and rows alike by chance are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.components.transform import copies
from millrace.data import examples

ROWS = 1200


def find(root: Path, label: Any, seed: int = 0, **columns: Any) -> str:
    """Numbers the rows of a table, splits them at random and returns the warning."""
    table = pa.table({"id": np.arange(len(label)), **columns, "label": label})
    evaluated = np.random.default_rng(seed).random(len(label)) < 1 / 3
    for split, chosen in (("train", ~evaluated), ("eval", evaluated)):
        rows = table.filter(pa.array(chosen))
        with examples.SplitWriter(root, split, rows.schema) as writer:
            for batch in rows.to_batches(100):
                writer.write(batch)
    return copies.find(root, ["train"], ["id"], list(columns), "label")


@pytest.mark.parametrize("kind", ["class", "number"])
@pytest.mark.parametrize("times", [2, 10])
def test_every_row_several_times(tmp_path, times, kind) -> None:
    rng = np.random.default_rng(times)
    number = rng.normal(size=ROWS // times)
    columns = {
        "number": pa.array(number, mask=number > 1),
        "text": pa.array(
            [None if each > 1.5 else f"{each:.2f}" for each in rng.normal(size=len(number))]
        ),
        "level": rng.integers(0, 5, len(number)),
    }
    label = rng.integers(0, 2, len(number)) if kind == "class" else rng.normal(size=len(number))
    order = rng.permutation(np.repeat(np.arange(len(number)), times))
    taken = pa.table(columns).take(pa.array(order)).to_pydict()
    warning = find(tmp_path, label[order], **taken)
    assert 'of the rows of eval are in train too, but for "id"' in warning
    assert 'key_columns=["number", "text", "level"]' in warning
    assert 'SELECT * EXCLUDE ("id") FROM data' in warning


def test_a_part_of_the_rows_twice(tmp_path) -> None:
    rng = np.random.default_rng(0)
    order = np.concatenate([np.arange(1000), np.arange(200)])
    x, z, label = rng.normal(size=1000), rng.normal(size=1000), rng.integers(0, 2, 1000)
    assert find(tmp_path, label[order], x=x[order], z=z[order]).startswith("25% of")


def test_columns_with_few_values_are_equal_by_chance(tmp_path) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, ROWS), rng.integers(0, 5, ROWS)
    assert find(tmp_path, (a + b) % 2, a=a, b=b) == ""


def test_rows_of_one_product_with_labels_of_their_own(tmp_path) -> None:
    rng = np.random.default_rng(0)
    product = rng.integers(0, 100, ROWS)
    price, weight = rng.normal(size=(2, 100))
    sold = (rng.random(ROWS) < 0.5).astype(int)
    assert find(tmp_path, sold, price=price[product], weight=weight[product]) == ""


def test_rows_that_differ(tmp_path) -> None:
    rng = np.random.default_rng(0)
    assert find(tmp_path, rng.integers(0, 2, ROWS), x=rng.normal(size=ROWS)) == ""
