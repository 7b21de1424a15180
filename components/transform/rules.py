"""Rules that tell the class of a row by one column, in all rows or all but a few.

    presence  the column is filled where the label is of one class, and missing elsewhere; or it is
              filled (or missing) only where the label is of one class
    values    each of its few values comes with one class
    cuts      its numbers between two cuts come with one class

Rows come in batches. A rule's errors only grow as rows are added, so a rule that has too many is
dropped early.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.ml.arrays import Array
from millrace.ml.features import cast

# The share of errors that a rule may have, of those that the most frequent class would have. That a
# useful column is filled or missing seldom tells the class, so such a rule may err more often.
_ERRORS = 0.03
_ERRORS_OF_PRESENCE = 0.1
_FREQUENT = 0.9  # the share of a class that needs no explanation
FEWEST = 20  # errors expected by chance: with fewer, none at all proves nothing
_PER_VALUE = 10  # rows per value on average: with fewer, a value may have a single class by chance
_MOST_VALUES = 10_000
_MOST_CELLS = 1_000_000  # of the table of values and classes
_CUTS = 3
_LEAST_GAIN = 0.005  # rows per row that a cut puts right: less only sets single rows apart
_CLASSES_TO_CUT = 20


@dataclasses.dataclass(frozen=True)
class Classes:
    """The label of all rows.

    Attributes:
        label: The label's name.
        values: The classes, the most frequent first.
        counts: The rows of each.
    """

    label: str
    values: Sequence[Any]
    counts: Array

    @property
    def rows(self) -> int:
        """The number of rows."""
        return int(self.counts.sum())

    @property
    def others(self) -> int:
        """The rows of other classes than the most frequent."""
        return self.rows - int(self.counts[0])

    def codes(self, labels: pa.Array) -> Array:
        """Returns the index of each row's class."""
        codes: Array = pc.index_in(labels, value_set=pa.array(self.values, labels.type)).to_numpy()
        indices: Array = codes.astype(np.int64)
        return indices


class Rule(abc.ABC):
    """A rule that is held against all rows."""

    @abc.abstractmethod
    def add(self, values: pa.Array, codes: Array) -> bool:
        """Adds rows with their classes, and returns whether the rule may still hold."""

    @abc.abstractmethod
    def finding(self, column: str) -> str:
        """Returns the rule in words if it holds in the rows, else an empty text."""


def few(errors: float, expected: float, share: float = _ERRORS) -> bool:
    """Returns whether errors are few, even if they happen to be fewer than on average.

    Args:
        errors: The errors of a rule.
        expected: The errors without the rule.
        share: The share of the expected errors that a rule may have.
    """
    if not errors:
        return expected >= FEWEST
    return errors + math.sqrt(errors) + 1 <= share * expected


def suspected(classes: Classes, values: pa.Array, codes: Array) -> list[Rule]:
    """Returns the rules that a column may follow, according to a sample of its rows.

    Args:
        classes: The label of all rows.
        values: The column in the sample.
        codes: The classes of the sample.
    """
    found: list[Rule] = [Presence(classes)]
    if not are_numbers(values):
        return [*found, Values(classes)]
    numbers = as_numbers(values)
    order = np.argsort(numbers, kind="stable")  # missing ones last
    x = numbers[order[: len(numbers) - np.count_nonzero(np.isnan(numbers))]]
    changes = np.flatnonzero(x[1:] != x[:-1]) + 1  # a difference of infinite ones is not a number
    whole = Values(classes)
    if len(changes) < whole.most:
        found.append(whole)
    if len(changes) and len(classes.values) <= _CLASSES_TO_CUT:
        cuts = _cuts(x, codes[order[: len(x)]], changes, len(classes.values))
        table = _table(_places(numbers, cuts), codes, len(cuts) + 2, len(classes.values))
        others = len(codes) - int(table.sum(axis=0).max())
        if len(codes) - int(table.max(axis=1).sum()) <= 2 * _ERRORS * others:
            found.append(Cuts(classes, cuts, table.argmax(axis=1)))
    return found


class Presence(Rule):
    """A value's presence or absence tells the class."""

    def __init__(self, classes: Classes) -> None:
        self._classes = classes
        self._counts = np.zeros((2, len(classes.values)), np.int64)  # missing, filled

    def add(self, values: pa.Array, codes: Array) -> bool:
        """Adds rows with their classes, and returns whether the rule may still hold."""
        number = len(self._classes.values)
        if values.null_count:
            filled = values.is_valid().to_numpy(zero_copy_only=False)
            self._counts += _table(filled, codes, 2, number)
        else:
            self._counts[1] += np.bincount(codes, minlength=number)
        # A group's errors are too many if they are even where all rows to come are of its class.
        errors = self._counts.sum(axis=1) - self._counts.max(axis=1)
        return bool(errors.min() <= _ERRORS_OF_PRESENCE * self._classes.rows)

    def finding(self, column: str) -> str:
        """Returns the rule in words if it holds in the rows, else an empty text."""
        rows = self._counts.sum(axis=1)
        if not rows.all():
            return ""
        label, values = self._classes.label, self._classes.values
        of = self._counts.argmax(axis=1)
        errors = rows - self._counts.max(axis=1)
        if of[0] != of[1] and few(errors.sum(), self._classes.others, _ERRORS_OF_PRESENCE):
            return (
                f'"{column}" is filled where "{label}" is {values[of[1]]!r} and missing where it is'
                f" {values[of[0]]!r}: {_so_in(int(errors.sum()), int(rows.sum()))}"
            )
        for group, state in ((1, "filled"), (0, "missing")):
            share = self._classes.counts[of[group]] / self._classes.rows
            expected = rows[group] * (1 - share)
            if share <= _FREQUENT and few(errors[group], expected):
                return (
                    f'where "{column}" is {state}, "{label}" is {values[of[group]]!r}:'
                    f" {_so_in(int(errors[group]), int(rows[group]))}, where it is so in"
                    f" {100 * share:.1f} % of all rows"
                )
        return ""


class _Counted(Rule):
    """A rule whose errors are counted."""

    def __init__(self, classes: Classes) -> None:
        self._classes = classes
        self._errors = 0

    def _may_hold(self) -> bool:
        return self._errors == 0 or few(self._errors, self._classes.others)

    def _so(self) -> str:
        """Returns the rows in which the rule holds; an empty text if they are not enough."""
        if not few(self._errors, self._classes.others):
            return ""
        return _so_in(self._errors, self._classes.rows)


class Values(_Counted):
    """Each of a column's few values, and its absence, comes with one class."""

    def __init__(self, classes: Classes) -> None:
        super().__init__(classes)
        cells = _MOST_CELLS // len(classes.values)
        self.most = min(classes.rows // _PER_VALUE, _MOST_VALUES, cells)
        self._index: dict[Any, int] = {}
        self._counts = np.zeros((0, len(classes.values)), np.int64)

    def add(self, values: pa.Array, codes: Array) -> bool:
        """Adds rows with their classes, and returns whether the rule may still hold."""
        encoded = values.dictionary_encode()
        if len(encoded.dictionary) > self.most:
            return False
        found = [*encoded.dictionary.to_pylist(), *([None] if values.null_count else [])]
        index = [self._index.setdefault(value, len(self._index)) for value in found]
        if len(index) == 0 or len(self._index) > self.most:
            return len(self._index) <= self.most
        number = len(self._classes.values)
        code = pc.fill_null(encoded.indices, len(encoded.dictionary)).to_numpy()
        pairs = _table(code.astype(np.int64), codes, len(found), number)
        if len(self._index) > len(self._counts):
            more = np.zeros((2 * len(self._index) - len(self._counts), number), np.int64)
            self._counts = np.concatenate([self._counts, more])
        self._counts[index] += pairs
        self._errors = int(self._counts.sum() - self._counts.max(axis=1).sum())
        return self._may_hold()

    def finding(self, column: str) -> str:
        """Returns the rule in words if it holds in the rows, else an empty text."""
        so = self._so()
        return so and f'"{column}" alone tells "{self._classes.label}" by its value: {so}'


class Cuts(_Counted):
    """The numbers of a column between two cuts, and its absence, come with one class."""

    def __init__(self, classes: Classes, cuts: Array, codes: Array) -> None:
        """Takes the rule.

        Args:
            classes: The label of all rows.
            cuts: The cuts, in ascending order.
            codes: The class of the numbers up to each cut, of those beyond, and of missing ones.
        """
        super().__init__(classes)
        self._cuts = cuts
        self._codes = codes

    def add(self, values: pa.Array, codes: Array) -> bool:
        """Adds rows with their classes, and returns whether the rule may still hold."""
        place = _places(as_numbers(values), self._cuts)
        self._errors += int(np.count_nonzero(self._codes[place] != codes))
        return self._may_hold()

    def finding(self, column: str) -> str:
        """Returns the rule in words if it holds in the rows, else an empty text."""
        so = self._so()
        if not so:
            return ""
        label, values = self._classes.label, self._classes.values
        if len(self._cuts) == 1 and len(values) == 2:
            high = values[int(self._codes[1])]
            return f'"{column}" > {self._cuts[0]:.10g} tells where "{label}" is {high!r}: {so}'
        cuts = ", ".join(f"{cut:.10g}" for cut in self._cuts)
        return f'"{column}" tells "{label}" by whether it is above {cuts}: {so}'


def _table(groups: Array, codes: Array, number: int, classes: int) -> Array:
    """Returns how many rows of each group are of each class."""
    counts: Array = np.bincount(groups * classes + codes, minlength=number * classes)
    return counts.reshape(number, classes)


def _places(numbers: Array, cuts: Array) -> Array:
    """Returns the number of cuts below each number, and one more than there are if missing."""
    places: Array = np.asarray(np.searchsorted(cuts, numbers))
    places[np.isnan(numbers)] = len(cuts) + 1
    return places


def _cuts(x: Array, codes: Array, changes: Array, number: int) -> Array:
    """Returns the cuts of a small decision tree on one column, by Gini impurity.

    Args:
        x: The values in ascending order.
        codes: The classes.
        changes: Where the values change.
        number: The number of classes.
    """
    before = np.zeros((len(x) + 1, number))
    np.cumsum(codes[:, np.newaxis] == np.arange(number), axis=0, out=before[1:])
    best = {(0, len(x)): _split(before, changes, 0, len(x))}
    places: list[int] = []
    while len(places) < max(_CUTS, number - 1) and best:
        (low, high), (gain, place) = max(best.items(), key=lambda item: item[1][0])
        if gain <= _LEAST_GAIN * len(x):
            break
        places.append(place)
        del best[low, high]
        best[low, place] = _split(before, changes, low, place)
        best[place, high] = _split(before, changes, place, high)
    places.sort()
    found: Array = np.array([_between(float(x[place - 1]), float(x[place])) for place in places])
    return found


def _split(before: Array, changes: Array, low: int, high: int) -> tuple[float, int]:
    """Returns how much the best cut between two rows gains, and where it is."""
    places = changes[np.searchsorted(changes, low, "right") : np.searchsorted(changes, high)]
    whole = before[high] - before[low]
    purity = float(np.square(whole).sum()) / (high - low)
    if not len(places) or purity >= high - low:
        return 0.0, low
    left = before[places] - before[low]
    gains = np.square(left).sum(axis=1) / (places - low)
    gains += np.square(whole - left).sum(axis=1) / (high - places)
    best = int(gains.argmax())
    return float(gains[best]) - purity, int(places[best])


def _between(low: float, high: float) -> float:
    """Returns the shortest decimal number from one value up to, but not including, the next."""
    middle = low + (high - low) / 2
    for digits in range(1, 17):
        short = float(f"{middle:.{digits}g}")
        if low <= short < high:
            return short
    return low


def are_numbers(values: pa.Array) -> bool:
    """Returns whether a column holds numbers."""
    return bool(pa.types.is_integer(values.type) or pa.types.is_floating(values.type))


def as_numbers(values: pa.Array) -> Array:
    """Returns numbers as float64, NaN where missing."""
    found: Array = pc.fill_null(cast(values, pa.float64()), np.nan).to_numpy()
    return found


def _so_in(errors: int, rows: int) -> str:
    if not errors:
        return f"so in all {rows:,} rows"
    share = math.floor(1000 * (rows - errors) / rows) / 10
    return f"so in {rows - errors:,} of {rows:,} rows ({share:.1f} %)"
