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
    return [
        leak.column for leak in leaks.find(root, ["train"], list(columns), Problem("label", kind))
    ]


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
        overlapping=CLASS + rng.normal(0, 0.3, ROWS),
    )
    assert found == ["copy", "absent", "finer", "decimal"]


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
        many=np.char.add("v", (np.arange(ROWS) % 41 + 41 * label).astype(str)),
    )
    assert found == ["copy", "required", "decimal", "wrong_once"]


MANY = 6000
Y = rng.integers(0, 2, MANY)
NAMED = pa.array(["no", "yes"]).take(pa.array(Y))


def rule(root: Path, column: Any, label: Any = NAMED, kind: Kind = Kind.BINARY) -> str:
    """Returns the rule of the only column in a table of several row groups."""
    table = pa.table({"label": label, "x": column})
    with SplitWriter(root, "train", table.schema) as writer:
        writer.write(table.combine_chunks().to_batches()[0])
    return "".join(leak.rule for leak in leaks.find(root, ["train"], ["x"], Problem("label", kind)))


def some(of: Any, share: float) -> Any:
    """Returns where a condition holds, but for a share of the rows."""
    return of ^ (np.random.default_rng(1).random(len(of)) < share)


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize(("share", "found"), [(0.0, True), (0.01, True), (0.1, False)])
def test_a_column_that_is_filled_with_one_class(tmp_path, monkeypatch, text, share, found) -> None:
    monkeypatch.setattr(examples, "group_rows", lambda schema: 1000)
    values = rng.exponential(10, MANY)
    absent = some(Y == 0, share)
    column = pa.array(values.astype(str) if text else values, mask=absent)
    told = rule(tmp_path, column)
    assert told.startswith('"x" is filled where "label" is \'yes\' and missing where') == found
    assert ("so in all 6,000 rows" in told) == (found and not share)
    assert ("rows (9" in told) == (found and share > 0)


def test_a_column_that_is_filled_with_some_rows_of_a_class(tmp_path) -> None:
    refunded = (Y == 1) & (rng.random(MANY) < 0.2)
    told = rule(tmp_path / "filled", pa.array(rng.normal(size=MANY), mask=~refunded))
    assert told.startswith('where "x" is filled, "label" is \'yes\': so in all')
    told = rule(tmp_path / "missing", pa.array(rng.normal(size=MANY), mask=refunded))
    assert told.startswith('where "x" is missing, "label" is \'yes\': so in all')
    rare = (rng.random(MANY) < 0.03).astype(int)
    absent = rng.random(MANY) < 0.1 + 0.3 * rare
    assert rule(tmp_path / "helpful", pa.array(rng.normal(size=MANY), mask=absent), rare) == ""


@pytest.mark.parametrize(("share", "found"), [(0.0, True), (0.01, True), (0.05, False)])
def test_a_threshold(tmp_path, monkeypatch, share, found) -> None:
    monkeypatch.setattr(examples, "group_rows", lambda schema: 1000)
    row = rng.permutation(MANY)
    label = some(row > 2500, share).astype(int)
    told = rule(tmp_path, row, label)
    assert told.startswith('"x" > 25') == found
    assert ("so in all 6,000 rows" in told) == (found and not share)


def test_a_threshold_for_a_rare_class(tmp_path) -> None:
    amount = rng.lognormal(3, 1, MANY)
    label = (amount > np.quantile(amount, 0.98)).astype(int)
    assert rule(tmp_path / "amount", amount, label).endswith("is 1: so in all 6,000 rows")
    helpful = amount * rng.lognormal(0, 0.3, MANY)
    assert rule(tmp_path / "helpful", helpful, label) == ""


def test_a_few_cuts(tmp_path) -> None:
    x = rng.normal(size=MANY)
    band = ((x > -0.5) & (x < 1)).astype(int)
    told = rule(tmp_path / "band", x, band)
    assert told.startswith('"x" tells "label" by whether it is above -0.5, 1')
    sorted_by_class = np.arange(MANY)
    label = np.repeat(["a", "b", "c", "d", "e"], MANY // 5)
    told = rule(tmp_path / "row", sorted_by_class, label, Kind.MULTICLASS)
    assert told.endswith("so in all 6,000 rows")
    assert rule(tmp_path / "noise", rng.normal(size=MANY), label, Kind.MULTICLASS) == ""


@pytest.mark.filterwarnings("error")
def test_infinite_numbers(tmp_path) -> None:
    x = np.where(rng.random(MANY) < 0.1, np.inf, np.where(Y == 1, 3.5, rng.normal(size=MANY)))
    assert rule(tmp_path / "noise", x) == ""
    x[Y == 0] = -np.inf
    assert rule(tmp_path / "leak", x).endswith("so in all 6,000 rows")


def test_values_that_tell_the_class_but_in_a_few_rows(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(examples, "group_rows", lambda schema: 1000)
    branch = np.char.add(np.array(["n", "y"])[Y], rng.integers(0, 30, MANY).astype(str))
    label = some(Y == 1, 0.008).astype(int)
    told = rule(tmp_path, branch, label)
    assert told.startswith('"x" alone tells "label" by its value: so in 5,9')
    assert "(99." in told


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
