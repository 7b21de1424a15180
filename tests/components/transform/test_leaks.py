"""A copy of the label among the columns is found, and a merely useful column is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.components.transform import leaks
from millrace.data import examples
from millrace.data.examples import SplitWriter
from millrace.ml.problem import Kind, Problem

ROWS = 400
rng = np.random.default_rng(0)
CLASS = rng.integers(0, 2, ROWS)
NUMBER = rng.lognormal(12, 1, ROWS).round()


def find(root: Path, kind: Kind, label: Any, **columns: Any) -> list[str]:
    table = pa.table({"label": label, **columns})
    with SplitWriter(root, "train", table.schema) as writer:
        for batch in table.to_batches(150):
            writer.write(batch)
    return leaks.find(root, ["train"], list(columns), Problem("label", kind))


def test_columns_that_determine_the_class(tmp_path) -> None:
    names = pa.array(["no", "yes"]).take(pa.array(CLASS))
    found = find(
        tmp_path,
        Kind.BINARY,
        names,
        copy=CLASS,
        absent=pa.array(CLASS, mask=CLASS == 0),
        finer=CLASS * 5 + rng.integers(0, 5, ROWS),
        coarser=np.zeros(ROWS, int),
        helpful=np.where(rng.random(ROWS) < 0.05, 1 - CLASS, CLASS),
        identifier=np.arange(ROWS),
        decimal=CLASS + rng.normal(0, 0.1, ROWS),
    )
    assert found == ["copy", "absent", "finer"]


def test_a_few_rows_of_a_class_prove_nothing(tmp_path) -> None:
    rare = (np.arange(ROWS) < 5).astype(int)
    assert find(tmp_path, Kind.BINARY, rare, copy=rare) == []


def test_rows_of_every_part_of_the_table_are_looked_at(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(examples, "group_rows", lambda schema: 40)  # ten row groups
    label = np.sort(CLASS)
    wrong_once = label.copy()
    wrong_once[-1] = 0
    early = np.where(np.arange(ROWS) < 150, label, CLASS)
    found = find(
        tmp_path,
        Kind.BINARY,
        label,
        copy=pa.array(np.where(label, "R", ""), mask=label == 0),
        required=np.where(label, "R", ""),
        decimal=np.where(label, 1.5, np.nan),
        wrong_once=wrong_once,
        early=early,
        many=np.arange(ROWS) % 41 + 41 * label,
    )
    assert found == ["copy", "required", "decimal"]


def test_whole_numbers_beyond_those_that_decimals_hold(tmp_path) -> None:
    nanoseconds = 1_700_000_000_000_000_000 + rng.integers(0, 10**15, ROWS)
    assert find(tmp_path, Kind.REGRESSION, NUMBER, time=nanoseconds) == []
    assert find(tmp_path, Kind.REGRESSION, nanoseconds, copy=nanoseconds / 1e9) == ["copy"]


def test_a_few_large_labels_do_not_hide_the_others(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(examples, "group_rows", lambda schema: 40)
    heavy = np.exp(5 * rng.normal(size=ROWS))
    found = find(
        tmp_path / "heavy",
        Kind.REGRESSION,
        heavy,
        near=heavy + rng.normal(size=ROWS),
        rounded=heavy.astype(np.float32),
        other=5 - heavy * 1.8,
    )
    assert found == ["rounded", "other"]
    outlier = np.where(np.arange(ROWS) == 7, 1e9, rng.normal(size=ROWS))
    noise = np.where(np.arange(ROWS) == 7, 1e9, rng.normal(size=ROWS))
    found = find(tmp_path / "outlier", Kind.REGRESSION, outlier, noise=noise, copy=outlier)
    assert found == ["copy"]
    cost = rng.uniform(1e5, 1e6, ROWS)
    sold = cost + rng.normal(0, 1e4, ROWS)
    apart = sold * 1.19 - cost * 1.19  # rounded in other places than the label
    assert find(tmp_path / "sum", Kind.REGRESSION, sold - cost, apart=apart) == ["apart"]


def test_every_row_lies_on_the_line(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(examples, "group_rows", lambda schema: 40)
    price = np.sort(NUMBER) + 1e9
    late = price * 2
    late[-1] += 10_000
    found = find(tmp_path, Kind.REGRESSION, price, euro=price / 1.17 - 3, late=late)
    assert found == ["euro"]


@pytest.mark.filterwarnings("error")
def test_columns_that_determine_the_number(tmp_path) -> None:
    found = find(
        tmp_path,
        Kind.REGRESSION,
        NUMBER,
        thousands=NUMBER / 1000,
        minus=pa.array(-NUMBER.astype(int), mask=np.arange(ROWS) % 7 == 0),
        rounded=(NUMBER / 1e5).round(),
        constant=np.ones(ROWS),
        text=pa.array(["x"] * ROWS),
        infinite=np.full(ROWS, np.inf),
    )
    assert found == ["thousands", "minus"]
