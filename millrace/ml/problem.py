"""The prediction problem: the label, the kind of problem and its classes."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.data import examples
from millrace.errors import DataError, MillraceError, ParameterError, nearest
from millrace.ml import spellings
from millrace.ml.arrays import Array
from millrace.ml.features import cast
from millrace.ml.labels import KEPT, Labels, count

FILE = "problem.json"
AUTO = "auto"
FEW = 20  # an integer label with at most this many values is a class …
ROWS_PER_CLASS = 5  # … if each has this many rows on average; two values always are
MOST_CLASSES = 1000
_SHOWN = 5
# A number with a unit, a currency or thousands separators: "$1,200", "12 kg".
_WRITTEN_NUMBER = re.compile(r"[^\w]*\d[\d.,'’\s]*[^\w]*[A-Za-z]{0,3}[^\w]*")


class Kind(str, enum.Enum):
    """The kinds of problem, with the shape of the model's `outputs` for n rows."""

    BINARY = "binary"  # [n, 1], the probability of the second class
    MULTICLASS = "multiclass"  # [n, classes], the probability of each class
    REGRESSION = "regression"  # [n, 1], the value


@dataclasses.dataclass(frozen=True)
class Problem:
    """The prediction problem of a model.

    Attributes:
        label: The raw column to predict.
        kind: Binary or multi-class classification, or regression.
        classes: The label's raw values in the order of the model's outputs; empty for regression.
    """

    label: str
    kind: Kind
    classes: tuple[int | str, ...] = ()

    def save(self, folder: Path) -> None:
        """Writes `problem.json` into a folder."""
        text = json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=1)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Problem:
        """Reads `problem.json` from a folder."""
        fields = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return cls(fields["label"], Kind(fields["kind"]), tuple(fields["classes"]))


def infer(
    root: Path, label: str, kind: str = AUTO, learn_from: Sequence[str] | None = None
) -> Problem:
    """Infers the problem from the label's values in all splits.

    Text is a class, and so are integers with few distinct values. Decimals, and integers with many
    values, are quantities, except for decimals with just two whole values.

    Memory is bounded, however many distinct values a quantity has.

    Args:
        root: The folder of the raw examples.
        label: The column to predict.
        kind: The kind of problem, or `auto`.
        learn_from: The splits that must have every class; all if not given.

    Raises:
        ParameterError: There is no such column or kind, or the label's values do not fit the kind.
        DataError: The label is missing in a row, constant, or lacks a class in `learn_from`.
    """
    kinds = [item.value for item in Kind]
    if kind not in (AUTO, *kinds):
        raise ParameterError(
            f'problem "{kind}" is not one of {", ".join([AUTO, *kinds])}.{nearest(kind, kinds)}'
        )
    labels = {split: count(root, split, label) for split in examples.splits(root)}
    total = Labels.merge(labels.values())
    for split, found in labels.items():
        if not found.rows and not found.missing:
            raise DataError(f'The split "{split}" has no rows.')
    decimal = pa.types.is_floating(examples.schema(root, next(iter(labels))).field(label).type)
    _refuse_missing(label, labels, decimal)
    if len(total.counts) < 2:
        value = next(iter(total.counts), None)
        raise DataError(
            f'The label "{label}" is constant: it is {value!r} in every row, so there is nothing'
            " to predict."
        )
    if kind != Kind.MULTICLASS.value:
        _refuse_written_numbers(label, total)
    chosen = Kind(kind) if kind != AUTO else _guess(total)
    if chosen is Kind.REGRESSION:
        _refuse_text(label, total)
        _refuse_beyond_float32(label, total)
        _refuse_constant_splits(label, labels)
        return Problem(label, chosen)
    try:
        problem = Problem(label, chosen, _classes(label, chosen, total))
        _refuse_absent_classes(label, problem.classes, labels, learn_from or list(labels))
    except MillraceError as error:
        if advice := spellings.advice(label, total.counts):
            raise type(error)(f"{error} {advice}") from error
        raise
    return problem


def are_written_numbers(texts: Collection[str]) -> bool:
    """Returns whether texts are formatted numbers, with units, currencies or separators.

    Texts of digits only, such as postal codes, do not count.
    """
    return all(map(_WRITTEN_NUMBER.fullmatch, texts)) and not all(map(str.isdigit, texts))


def encode(batch: pa.RecordBatch, what: Problem, split: str) -> Array:
    """Returns the labels of raw rows: the index of the class (int32), or the value (float64).

    Raises:
        DataError: A label is missing, or not one of the classes, or not a number.
    """
    values = batch.column(batch.schema.get_field_index(what.label))
    if values.null_count:
        raise DataError(
            f'The label "{what.label}" is missing in split "{split}" (rows: {values.null_count}). '
            "Leave such rows out with the query of ExampleGen."
        )
    if what.kind is Kind.REGRESSION:
        return _as_numbers(values, what.label, split)
    classes = pa.array([str(value) for value in what.classes])
    index = pc.index_in(_as_text(values), value_set=classes)
    if index.null_count:
        unknown = values.filter(index.is_null())
        some = ", ".join(str(value) for value in unknown.unique().to_pylist()[:5])
        raise DataError(
            f'The label "{what.label}" in split "{split}" has values that the model does not know: '
            f"{some} (rows: {len(unknown)}). It knows {', '.join(map(str, what.classes[:10]))}. "
            "Train on data with these classes, or leave the rows out."
        )
    labels: Array = index.to_numpy(zero_copy_only=False)
    return labels


def _guess(total: Labels) -> Kind:
    values, numbers = total.counts, not total.are_text
    whole = all(isinstance(value, int) for value in values)
    if len(values) == 2 and (not numbers or all(value == int(value) for value in values)):
        return Kind.BINARY
    if not numbers or (whole and len(values) <= FEW and total.rows >= ROWS_PER_CLASS * len(values)):
        return Kind.MULTICLASS
    return Kind.REGRESSION


def _classes(label: str, kind: Kind, total: Labels) -> tuple[int | str, ...]:
    values = total.counts
    number = f"{len(values):,}" if total.complete else f"more than {KEPT:,}"
    if kind is Kind.BINARY and len(values) != 2:
        raise ParameterError(
            f'The problem cannot be binary: the label "{label}" has {number} values,'
            f" {_some(values)}. Choose multiclass{'' if total.are_text else ' or regression'}."
        )
    if len(values) > MOST_CLASSES:
        raise ParameterError(
            f'The label "{label}" has {number} different values, {_some(values)}; a'
            f" classification can have at most {MOST_CLASSES:,}."
            f"{' Is it the right column?' if total.are_text else ' Choose regression.'}"
        )
    if total.are_text:
        return tuple(sorted(values))
    if any(value != int(value) for value in values):
        raise ParameterError(
            f'The label "{label}" holds decimal numbers, {_some(values)}, so the problem cannot be'
            f" {kind.value}. Choose regression."
        )
    return tuple(sorted(int(value) for value in values))


def _refuse_missing(label: str, labels: Mapping[str, Labels], decimal: bool) -> None:
    missing = {split: found.missing for split, found in labels.items() if found.missing}
    if missing:
        where = ", ".join(f"{number:,} in {split}" for split, number in missing.items())
        column = f'"{label}"'
        lacks, keep = "missing", f"{column} IS NOT NULL"
        if decimal:
            lacks, keep = "missing, NaN or infinite", f"isfinite({column})"
        raise DataError(
            f"The label {column} is {lacks} in some rows: {where}. Leave them out with a query:"
            f" SELECT * FROM data WHERE {keep}"
        )


def _refuse_written_numbers(label: str, total: Labels) -> None:
    texts = [value for value in total.counts if isinstance(value, str)]
    if len(texts) > FEW and are_written_numbers(texts):
        column = f'"{label}"'
        raise DataError(
            f"The label {column} holds numbers that are written as text, {_some(texts)}. Make"
            " numbers of them with a query, such as SELECT * REPLACE (CAST(regexp_replace("
            f"{column}, '[^0-9.-]', '', 'g') AS DOUBLE) AS {column}) FROM data"
        )


def _refuse_text(label: str, total: Labels) -> None:
    if total.are_text:
        raise ParameterError(
            f'The label "{label}" is text, {_some(total.counts)}, so the problem cannot be'
            " regression. Choose binary or multiclass."
        )


def _refuse_beyond_float32(label: str, total: Labels) -> None:
    furthest = max(total.low or 0.0, total.high or 0.0, key=abs)
    limits: Any = np.finfo(np.float32)
    if not limits.tiny <= abs(furthest) <= limits.max:
        column, unit = f'"{label}"', 10.0 ** math.floor(math.log10(abs(furthest)))
        raise DataError(
            f"The label {column} goes up to {furthest:g}, and models compute with numbers from"
            f" {limits.tiny:.2g} to {limits.max:.2g} (float32). Give it in another unit with a"
            f" query, such as SELECT * REPLACE ({column} / {unit:g} AS {column}) FROM data"
        )


def _refuse_constant_splits(label: str, labels: Mapping[str, Labels]) -> None:
    for split, found in labels.items():
        if len(found.counts) < 2:
            raise DataError(
                f'The label "{label}" is constant in the split "{split}", which has'
                f" {found.rows:,} rows. Give it more rows, or split by other columns."
            )


def _refuse_absent_classes(
    label: str,
    classes: Sequence[int | str],
    labels: Mapping[str, Labels],
    learn_from: Sequence[str],
) -> None:
    for split, found in labels.items():
        absent = [value for value in classes if not found.counts[value]]
        if len(absent) == len(classes) - 1:
            (only,) = found.counts
            raise DataError(
                f'The split "{split}" has rows of one class only: "{label}" is {only!r} in all'
                f" {found.rows:,} of them. Split by other columns, or give it more rows."
            )
        if absent and split in learn_from:
            raise DataError(
                f'The split "{split}" has no row where "{label}" is {_some(absent)}. Leave such'
                " rare classes out with a query, or give the split more rows."
            )


def _some(values: Iterable[Any]) -> str:
    values = sorted(values)
    shown = ", ".join(repr(value) for value in values[:_SHOWN])
    return shown + (", …" if len(values) > _SHOWN else "")


def _as_numbers(values: pa.Array, label: str, split: str) -> Array:
    try:
        numbers: Array = cast(values, pa.float64()).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f'The label "{label}" is {values.type} and must be a number.') from error
    if not np.isfinite(numbers).all():
        count = int((~np.isfinite(numbers)).sum())
        raise DataError(
            f'The label "{label}" is NaN or infinite in split "{split}" (rows: {count}). '
            "Leave such rows out with the query of ExampleGen."
        )
    return numbers


def _as_text(values: pa.Array) -> pa.Array:
    """Returns class labels as text; a whole number reads the same whether stored as 1 or as 1.0."""
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    if pa.types.is_floating(values.type):
        with contextlib.suppress(pa.ArrowInvalid):
            values = values.cast(pa.int64())
    return values.cast(pa.string())
