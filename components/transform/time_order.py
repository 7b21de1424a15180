"""Finds rows in order of time whose neighbours are alike, in splits that were drawn at random.

A model then fills gaps between rows that it has learned, and looks better than it will on the rows
of the future.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from tensorflow_metadata.proto.v0 import schema_pb2

from millrace.components.transform.profile import Column
from millrace.data import examples
from millrace.ml.arrays import Array
from millrace.ml.features import cast
from millrace.ml.problem import Kind, Problem

_ROWS = 200_000  # rows of a split that are looked at
_FEWEST = 100
_FILLED = 0.9  # the share of rows with a time
_MOMENTS = 20  # distinct times, at least
_ALIKE = 0.5  # correlation of neighbours
_CHANGES = 10  # of the class, without which the table is sorted by it
_BETWEEN = 0.3  # the share of rows next to one of another split
_TIME = re.compile(
    r"(?:^|[^A-Za-z])(?i:time|timestamp|ts|date|datetime|epoch|unix\w*|day|week|month|year|dt|minute|period|tick|step"
    r"|seconds|t)(?:$|[^A-Za-z])|(?i:timestamp|datetime)|[a-z](?:Time|Date)$"
)
_ISO = re.compile(r"\d{4}-\d\d-\d\d")
_FIRST = re.compile(r"\d+")


def find(root: Path, learned: Sequence[str], columns: Iterable[Column], posed: Problem) -> str:
    """Returns a warning if rows between others in time are measured, and neighbours are alike.

    Args:
        root: The folder of the raw examples.
        learned: The splits to learn from.
        columns: The columns' profiles.
        posed: The problem.
    """
    splits = [learned[0], *(name for name in examples.splits(root) if name not in learned)]
    for column in columns:
        if len(splits) < 2 or column.present < max(_FILLED * column.rows, _FEWEST):
            continue
        if not _tells_time(column):
            continue
        parts = [_read(root, split, [column.name, posed.label]) for split in splits[:2]]
        correlation = _correlation(parts, column, posed)
        if correlation >= _ALIKE:
            return _warning(
                column, posed.label, splits[1], correlation, _is_iso(parts[0].column(0))
            )
    return ""


def _is_iso(moments: pa.ChunkedArray) -> bool:
    """Returns whether ExampleGen can order such values: numbers, and dates as ISO 8601."""
    return not pa.types.is_string(moments.type) or bool(_ISO.match(moments[0].as_py()))


def _tells_time(column: Column) -> bool:
    if column.distinct < _MOMENTS:
        return False
    if column.type == schema_pb2.BYTES:
        return column.dates
    return bool(_TIME.search(column.name))


def _read(root: Path, split: str, names: Sequence[str]) -> pa.Table:
    batches, rows = [], 0
    for batch in examples.read(root, split, list(names)):
        batches.append(batch)
        rows += batch.num_rows
        if rows >= _ROWS:
            break
    table = pa.Table.from_batches(batches).select(list(names))
    return table.filter(table.column(0).is_valid())


def _correlation(parts: Sequence[pa.Table], column: Column, posed: Problem) -> float:
    """Returns how alike the labels of neighbours in time are; 0 if splits are apart in time."""
    if not all(part.num_rows for part in parts):
        return 0.0
    moments = [_numbers(part.column(0)) for part in _as_ranks(parts)]
    in_order = all(bool(np.all(moment[1:] >= moment[:-1])) for moment in moments)
    if column.type != schema_pb2.BYTES and not in_order:
        return 0.0
    which = np.repeat([0, 1], [len(moment) for moment in moments])
    which = which[np.argsort(np.concatenate(moments), kind="stable")]
    beside = np.zeros(len(which), bool)
    beside[1:] |= which[:-1] == 0
    beside[:-1] |= which[1:] == 0
    if beside[which == 1].mean() < _BETWEEN:
        return 0.0
    label = parts[0].column(1).take(pa.array(np.argsort(moments[0], kind="stable")))
    if len(label) < _FEWEST:
        return 0.0
    if posed.kind is Kind.REGRESSION:
        return _autocorrelation(_numbers(label))
    return _agreement(label)


def _as_ranks(parts: Sequence[pa.Table]) -> list[pa.Table]:
    """Replaces texts of the first column by their positions in the order of all of them."""
    if not pa.types.is_string(parts[0].column(0).type):
        return list(parts)
    texts = pa.concat_tables(part.select([0]) for part in parts).column(0).unique()
    texts = texts.take(_order(texts))
    name = parts[0].column_names[0]
    return [
        part.set_column(0, name, pc.index_in(part.column(0), value_set=texts)) for part in parts
    ]


def _order(texts: pa.Array) -> pa.Array:
    """Returns the indices that sort dates; those of no known form come last."""
    if _ISO.match(texts[0].as_py()):
        return pc.sort_indices(texts)
    first = (_FIRST.match(text) for text in texts.to_pylist())
    dayfirst = any(match and 12 < int(match[0]) <= 31 for match in first)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forms that pandas has to guess
        times = pd.to_datetime(texts.to_pandas(), errors="coerce", dayfirst=dayfirst, utc=True)
    return pa.array(np.argsort(times.to_numpy(), kind="stable"))


def _autocorrelation(values: Array) -> float:
    ranks = np.unique(values, return_inverse=True)[1].astype(np.float64)
    before, after = ranks[:-1], ranks[1:]
    if not before.std() or not after.std():
        return 0.0
    return float(np.corrcoef(before, after)[0, 1])


def _agreement(label: pa.ChunkedArray) -> float:
    """Returns Cohen's kappa of each class and the next."""
    codes = pc.index_in(label, value_set=label.unique()).to_numpy()
    same = codes[:-1] == codes[1:]
    if np.count_nonzero(~same) < _CHANGES:
        return 0.0
    shares = np.bincount(codes) / len(codes)
    by_chance = float(np.square(shares).sum())
    return float((same.mean() - by_chance) / (1 - by_chance))


def _numbers(values: pa.ChunkedArray) -> Array:
    found: Array = cast(values, pa.float64()).to_numpy()
    return found


def _warning(column: Column, label: str, split: str, correlation: float, iso: bool) -> str:
    formats = "" if iso else ", which needs date_formats to know how its dates are written"
    return (
        f'"{column.name}" puts the rows in order of time, in which "{label}" is much like that of'
        f" the row before (correlation {correlation:.2f}), but the splits were drawn at random:"
        f" rows of {split} lie between rows that are learned, so the model will do worse on the"
        " future than on them. Split by time, with ExampleGen's"
        f" time_column={json.dumps(column.name)}{formats}."
    )
