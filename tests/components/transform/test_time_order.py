"""Alike neighbours in time are warned of where the splits were drawn at random."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.components.transform import profile, time_order
from millrace.data import schemas
from millrace.ml.problem import Kind, Problem

ROWS = 1500
START = datetime.datetime(2022, 1, 1)
HOURS = np.arange(ROWS)
TIMES = [str(START + datetime.timedelta(hours=6 * int(hour))) for hour in HOURS]
WALK = np.random.default_rng(0).normal(size=ROWS).cumsum()
RANDOM = np.random.default_rng(1).random(ROWS) < 1 / 3


def find(
    helpers: Any, root: Path, time: Any, label: Any, evaluated: Any = RANDOM, name="time"
) -> str:
    table = pa.table({name: time, "label": label})
    rows = helpers.write(
        root,
        {"train": table.filter(pa.array(~evaluated)), "eval": table.filter(pa.array(evaluated))},
    )
    columns = profile.columns(rows.examples, ["train"], schemas.load(rows.schema), "label")
    kind = Kind.REGRESSION if np.asarray(label).dtype.kind == "f" else Kind.BINARY
    return time_order.find(rows.examples, ["train"], columns, Problem("label", kind))


def test_a_walk(helpers, tmp_path) -> None:
    warning = find(helpers, tmp_path / "dates", TIMES, WALK)
    assert "correlation 1.00" in warning
    assert warning.endswith('time_column="time".')
    warning = find(helpers, tmp_path / "n", HOURS * 60, WALK, name="epoch")
    assert warning.endswith('time_column="epoch".')


def test_rows_in_another_order(helpers, tmp_path) -> None:
    order = np.random.default_rng(2).permutation(ROWS)
    assert find(helpers, tmp_path, np.array(TIMES)[order].tolist(), WALK[order])


@pytest.mark.parametrize("form", ["%d.%m.%Y %H:%M", "%m/%d/%Y %H:%M", "%Y/%m/%d %H:%M"])
def test_dates_in_other_forms(helpers, tmp_path, form) -> None:
    times = [datetime.datetime.fromisoformat(time).strftime(form) for time in TIMES]
    order = np.random.default_rng(2).permutation(ROWS)
    warning = find(helpers, tmp_path / "walk", np.array(times)[order].tolist(), WALK[order])
    assert "correlation 1.00" in warning
    assert 'time_column="time", which needs date_formats' in warning
    assert find(helpers, tmp_path / "future", times, WALK, HOURS > 1000) == ""


def test_classes_that_last(helpers, tmp_path) -> None:
    state = (np.random.default_rng(3).random(ROWS) < 0.05).cumsum() % 2
    assert "correlation 0." in find(helpers, tmp_path, TIMES, state)


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_labels_without_memory(helpers, tmp_path, share) -> None:
    random = np.random.default_rng(4)
    assert find(helpers, tmp_path / "c", TIMES, (random.random(ROWS) < share).astype(int)) == ""
    assert find(helpers, tmp_path / "n", TIMES, random.normal(size=ROWS)) == ""


def test_splits_apart_in_time(helpers, tmp_path) -> None:
    assert find(helpers, tmp_path / "future", TIMES, WALK, HOURS > 1000) == ""
    weeks = np.random.default_rng(5).random(ROWS)[HOURS // 28] < 1 / 3
    assert find(helpers, tmp_path / "weeks", TIMES, WALK, weeks) == ""


def test_numbers_that_only_sort_the_table(helpers, tmp_path) -> None:
    assert find(helpers, tmp_path, HOURS, WALK, name="price") == ""


def test_a_table_sorted_by_class(helpers, tmp_path) -> None:
    assert find(helpers, tmp_path, TIMES, (HOURS > 700).astype(int)) == ""


@pytest.mark.parametrize(("every", "found"), [(50, True), (2, False)])
def test_missing_times(helpers, tmp_path, every, found) -> None:
    times = pa.array(TIMES, mask=HOURS % every == 0)
    assert bool(find(helpers, tmp_path, times, WALK)) == found
