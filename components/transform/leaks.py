"""Finds columns that leak the label: usually a copy of it that new rows will not have.

All rows are read, but a column is dropped at the first rows that contradict it.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from millrace.components.transform import rules
from millrace.data import examples
from millrace.data.lists import are_lists
from millrace.ml.arrays import Array
from millrace.ml.features import absent_as_null
from millrace.ml.moments import Moments
from millrace.ml.problem import Kind, Problem

_FEWEST = 20  # rows with both numbers
_SAMPLE = 10_000  # rows of the most frequent class, and of all others, that cuts are learned from
_SAMPLED_GROUPS = 16
_ROUNDING = 1e-9  # of the label's variance, if a column is the label in another unit
_DROP = 1e-6  # of the labels' distances from their median: smaller decreases are rounding


@dataclasses.dataclass(frozen=True)
class Leak:
    """A column that seems to leak the label.

    Attributes:
        column: Its name.
        rule: How it tells the label, and in how many rows.
    """

    column: str
    rule: str

    def warning(self, label: str) -> str:
        """Returns the rule, and what to do about it."""
        column = self.column.replace('"', '""')
        return (
            f'{self.rule}. If it is not known before "{label}" is, leave it out with a query:'
            f' SELECT * EXCLUDE ("{column}") FROM data'
        )


def find(root: Path, splits: Sequence[str], names: Sequence[str], posed: Problem) -> list[Leak]:
    """Returns those of the named columns that determine the label by themselves.

    For a classification, `rules` says how; for a regression, the column is the label in another
    unit wherever it has a value.
    """
    kinds = examples.schema(root, splits[0])
    names = [name for name in names if not are_lists(kinds.field(name).type)]
    if not names:
        return []
    table = _Table(root, splits, posed.label)
    if posed.kind is Kind.REGRESSION:
        return _find_lines(table, names)
    return _find_rules(table, names)


class _Table:
    """The rows of some splits, by row groups in random order.

    In a sorted table, only distant rows contradict a column.
    """

    def __init__(self, root: Path, splits: Sequence[str], label: str) -> None:
        self.label = label
        self._batches = [functools.partial(examples.read, root, split, [label]) for split in splits]
        groups = [
            (path, group)
            for split in splits
            for path in examples.shards(root, split)
            for group in range(pq.read_metadata(path).num_row_groups)
        ]
        self._only: pa.Table | None = None  # the row group, if there is just one
        order = np.random.default_rng(0).permutation(len(groups))
        self.groups = [groups[position] for position in order]

    def labels(self) -> Iterator[pa.Array]:
        """Yields the label of all rows, without a sentinel for missing ones."""
        for batches in self._batches:
            for batch in batches():
                yield batch.column(0)

    def read(self, group: tuple[Path, int], names: Iterable[str]) -> pa.Table:
        """Returns some columns of a row group, and the label."""
        path, number = group
        columns = [*names, self.label]
        if self._only is not None:
            return self._only.select(columns)
        with contextlib.closing(pq.ParquetFile(path)) as file:
            rows = file.read_row_group(number, columns=columns)
        if len(self.groups) == 1:
            self._only = rows
        return rows


def _find_rules(table: _Table, names: Sequence[str]) -> list[Leak]:
    classes = _classes(table)
    if classes.others < rules.FEWEST:
        return []
    suspects = _suspects(table, names, classes)
    for group in table.groups:
        if not suspects:
            break
        rows = table.read(group, suspects)
        codes = classes.codes(_whole(rows, table.label))
        for name in list(suspects):
            values = _column(rows, name)
            suspects[name] = [rule for rule in suspects[name] if rule.add(values, codes)]
            if not suspects[name]:
                del suspects[name]
    found = {
        name: next(filter(None, (rule.finding(name) for rule in held)), "")
        for name, held in suspects.items()
    }
    return [Leak(name, found[name]) for name in names if found.get(name)]


def _classes(table: _Table) -> rules.Classes:
    counts: collections.Counter[Any] = collections.Counter()
    for values in table.labels():
        counted = values.value_counts()
        keys, numbers = counted.field(0).to_pylist(), counted.field(1).to_pylist()
        counts.update(dict(zip(keys, numbers, strict=True)))
    values, numbers = zip(*counts.most_common(), strict=True)
    return rules.Classes(table.label, values, np.array(numbers))


def _suspects(
    table: _Table, names: Sequence[str], classes: rules.Classes
) -> dict[str, list[rules.Rule]]:
    """Returns the rules that each column may follow; cuts are learned from a sample."""
    sample = _sample(table, names, classes)
    codes = classes.codes(_whole(sample, table.label))
    return {name: rules.suspected(classes, _column(sample, name), codes) for name in names}


def _sample(table: _Table, names: Sequence[str], classes: rules.Classes) -> pa.Table:
    """Returns rows from all over the table, with as many of rare classes as there are."""
    groups = table.groups[:_SAMPLED_GROUPS]
    parts, share = [], -(-_SAMPLE // len(groups))
    for group in groups:
        rows = table.read(group, names)
        frequent = classes.codes(_whole(rows, table.label)) == 0
        chosen = [
            places[:: max(1, len(places) // share)]
            for places in (np.flatnonzero(frequent), np.flatnonzero(~frequent))
        ]
        parts.append(rows.take(pa.array(np.concatenate(chosen))))
    return pa.concat_tables(parts)


def _find_lines(table: _Table, names: Sequence[str]) -> list[Leak]:
    whole = Moments(1)
    for values in table.labels():
        whole.add(rules.as_numbers(values))
    most = _ROUNDING * float(whole.products[0, 0])
    lines = {name: _Line(most) for name in names}
    for group in table.groups:
        if not lines:
            break
        rows = table.read(group, lines)
        label = _whole(rows, table.label)
        lines = {
            name: line for name, line in lines.items() if line.agrees(_column(rows, name), label)
        }
    return [
        Leak(name, f'"{name}" is "{table.label}" in another unit wherever it has a value')
        for name, line in lines.items()
        if line.confirmed()
    ]


class _Line:
    """The hypothesis that a column is the label in another unit: all rows lie on one line.

    Next to a few labels of a larger magnitude, all others would seem to be on the line. So the
    label must also be monotonic in the column.
    """

    def __init__(self, most: float) -> None:
        """Sets the largest sum of squared distances from the line."""
        self._most = most
        self._moments = Moments(2)

    def agrees(self, values: pa.Array, label: pa.Array) -> bool:
        """Adds rows, and returns whether none has contradicted it yet."""
        if not rules.are_numbers(values):
            return False
        x, y = (rules.as_numbers(column) for column in (values, label))
        both = np.isfinite(x) & np.isfinite(y)
        x, y = x[both], y[both]
        self._moments.add(x, y)
        falls = self._moments.products[0, 1] < 0.0
        return self._distances() <= self._most and _in_order(-x if falls else x, y)

    def confirmed(self) -> bool:
        """Returns whether all rows together confirm it."""
        (xx, _), (_, yy) = self._moments.products
        return bool(
            self._moments.number >= _FEWEST and xx > 0.0 and self._distances() <= _ROUNDING * yy
        )

    def _distances(self) -> float:
        """Returns the sum of the squared distances of the label from the line."""
        (xx, xy), (_, yy) = self._moments.products
        return float(yy - (xy * xy / xx if xx else 0.0))


def _in_order(x: Array, y: Array) -> bool:
    """Returns whether y never falls as x grows, apart from rounding."""
    if not len(y):
        return True
    y = y[np.lexsort((y, x))]
    apart = np.abs(y - np.median(y))
    return bool(np.all(np.maximum.accumulate(y) - y <= _DROP * (apart + np.median(apart))))


def _whole(rows: pa.Table, name: str) -> pa.Array:
    return rows.column(name).combine_chunks()


def _column(rows: pa.Table, name: str) -> pa.Array:
    return absent_as_null(_whole(rows, name))
