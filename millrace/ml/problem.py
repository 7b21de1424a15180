"""What a model predicts: the label, the kind of problem and its classes."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import enum
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.data import examples
from millrace.errors import DataError, ParameterError, nearest
from millrace.ml.features import cast

Array: TypeAlias = np.ndarray[Any, Any]

FILE = "problem.json"
AUTO = "auto"
FEW = 20  # an integer label with at most so many values is a class …
ROWS_PER_CLASS = 5  # … if each has so many rows on average; two values always are
MOST_CLASSES = 1000
_SHOWN = 5
# A text that is a number but for a unit, a currency or marks between thousands: "$1,200", "12 kg".
_WRITTEN_NUMBER = re.compile(r"[^\w]*\d[\d.,'’\s]*[^\w]*[A-Za-z]{0,3}[^\w]*")


class Kind(str, enum.Enum):
    """The kinds of problem, and what the model's `outputs` holds for n rows."""

    BINARY = "binary"  # [n, 1], the probability of the second class
    MULTICLASS = "multiclass"  # [n, classes], a probability each
    REGRESSION = "regression"  # [n, 1], the value


@dataclasses.dataclass(frozen=True)
class Problem:
    """What a model predicts.

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

    Text is a class, and so is an integer of few different values; decimal numbers and integers of
    many values are quantities, but for decimal numbers of just two whole values.

    Args:
        root: The folder of the raw examples.
        label: The column to predict.
        kind: The kind of problem, or `auto`.
        learn_from: The splits that must have every class; all if not given.

    Raises:
        ParameterError: There is no such column or kind, or the label's values do not fit the kind.
        DataError: The label is missing in a row, constant, or lacks a class that is to be learned.
    """
    kinds = [item.value for item in Kind]
    if kind not in (AUTO, *kinds):
        raise ParameterError(
            f'problem "{kind}" is not one of {", ".join([AUTO, *kinds])}.{nearest(kind, kinds)}'
        )
    counts = {split: _count(root, split, label) for split in examples.splits(root)}
    total: collections.Counter[Any] = sum(counts.values(), collections.Counter())
    for split, counted in counts.items():
        if not counted:
            raise DataError(f'The split "{split}" has no rows.')
    decimal = pa.types.is_floating(examples.schema(root, next(iter(counts))).field(label).type)
    _refuse_missing(label, counts, decimal)
    if len(total) < 2:
        value = next(iter(total), None)
        raise DataError(
            f'The label "{label}" is constant: it is {value!r} in every row, so there is nothing'
            " to predict."
        )
    if kind != Kind.MULTICLASS.value:
        _refuse_written_numbers(label, total)
    chosen = Kind(kind) if kind != AUTO else _guess(label, total)
    if chosen is Kind.REGRESSION:
        _refuse_text(label, total)
        _refuse_beyond_float32(label, total)
        _refuse_constant_splits(label, counts)
        return Problem(label, chosen)
    problem = Problem(label, chosen, _classes(label, chosen, total))
    _refuse_absent_classes(label, problem.classes, counts, learn_from or list(counts))
    return problem


def are_written_numbers(texts: Collection[str]) -> bool:
    """Tells whether texts are numbers, some with a unit, a currency or marks between thousands.

    Texts of nothing but digits, such as postal codes, are none.
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


def _count(root: Path, split: str, label: str) -> collections.Counter[Any]:
    """Counts the values of the label in a split; NaN and infinite ones count as missing."""
    schema = examples.schema(root, split)
    if label not in schema.names:
        raise ParameterError(
            f'There is no column "{label}" to predict.{nearest(label, schema.names)}'
        )
    kind = schema.field(label).type
    if not (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_null(kind)
    ):
        raise DataError(f'The label "{label}" is {kind}; it must be a number or text.')
    counts: collections.Counter[Any] = collections.Counter()
    for batch in examples.read(root, split, [label]):
        values = batch.column(0)
        if pa.types.is_floating(kind):
            values = pc.if_else(pc.is_finite(values), values, None)
        counted = values.value_counts()
        counts.update(
            dict(zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True))
        )
    return counts


def _guess(label: str, total: collections.Counter[Any]) -> Kind:
    numbers = not any(isinstance(value, str) for value in total)
    whole = all(isinstance(value, int) for value in total)
    if len(total) == 2 and (not numbers or all(value == int(value) for value in total)):
        return Kind.BINARY
    if not numbers or (
        whole and len(total) <= FEW and total.total() >= ROWS_PER_CLASS * len(total)
    ):
        return Kind.MULTICLASS
    return Kind.REGRESSION


def _classes(label: str, kind: Kind, total: collections.Counter[Any]) -> tuple[int | str, ...]:
    if kind is Kind.BINARY and len(total) != 2:
        raise ParameterError(
            f'The problem cannot be binary: the label "{label}" has {len(total)} values,'
            f" {_some(total)}. Choose multiclass{'' if _is_text(total) else ' or regression'}."
        )
    if len(total) > MOST_CLASSES:
        raise ParameterError(
            f'The label "{label}" has {len(total):,} different values, {_some(total)}; a'
            f" classification can have at most {MOST_CLASSES:,}."
            f"{' Is it the right column?' if _is_text(total) else ' Choose regression.'}"
        )
    if _is_text(total):
        return tuple(sorted(total))
    if any(value != int(value) for value in total):
        raise ParameterError(
            f'The label "{label}" holds decimal numbers, {_some(total)}, so the problem cannot be'
            f" {kind.value}. Choose regression."
        )
    return tuple(sorted(int(value) for value in total))


def _refuse_missing(
    label: str, counts: Mapping[str, collections.Counter[Any]], decimal: bool
) -> None:
    missing = {split: counted.pop(None, 0) for split, counted in counts.items()}
    if any(missing.values()):
        where = ", ".join(f"{number:,} in {split}" for split, number in missing.items() if number)
        column = f'"{label}"'
        lacks, keep = "missing", f"{column} IS NOT NULL"
        if decimal:
            lacks, keep = "missing, NaN or infinite", f"isfinite({column})"
        raise DataError(
            f"The label {column} is {lacks} in some rows: {where}. Leave them out with a query:"
            f" SELECT * FROM data WHERE {keep}"
        )


def _refuse_written_numbers(label: str, total: collections.Counter[Any]) -> None:
    texts = [value for value in total if isinstance(value, str)]
    if len(texts) > FEW and are_written_numbers(texts):
        column = f'"{label}"'
        raise DataError(
            f"The label {column} holds numbers that are written as text, {_some(texts)}. Make"
            " numbers of them with a query, such as SELECT * REPLACE (CAST(regexp_replace("
            f"{column}, '[^0-9.-]', '', 'g') AS DOUBLE) AS {column}) FROM data"
        )


def _refuse_text(label: str, total: collections.Counter[Any]) -> None:
    if _is_text(total):
        raise ParameterError(
            f'The label "{label}" is text, {_some(total)}, so the problem cannot be regression.'
            " Choose binary or multiclass."
        )


def _refuse_beyond_float32(label: str, total: Collection[float]) -> None:
    furthest = max(total, key=abs)
    limits: Any = np.finfo(np.float32)
    if not limits.tiny <= abs(furthest) <= limits.max:
        column, unit = f'"{label}"', 10.0 ** math.floor(math.log10(abs(furthest)))
        raise DataError(
            f"The label {column} goes up to {furthest:g}, and models compute with numbers from"
            f" {limits.tiny:.2g} to {limits.max:.2g} (float32). Give it in another unit with a"
            f" query, such as SELECT * REPLACE ({column} / {unit:g} AS {column}) FROM data"
        )


def _refuse_constant_splits(label: str, counts: Mapping[str, collections.Counter[Any]]) -> None:
    for split, counted in counts.items():
        if len(counted) < 2:
            raise DataError(
                f'The label "{label}" is constant in the split "{split}", which has'
                f" {counted.total():,} rows. Give it more rows, or split by other columns."
            )


def _refuse_absent_classes(
    label: str,
    classes: Sequence[int | str],
    counts: Mapping[str, collections.Counter[Any]],
    learn_from: Sequence[str],
) -> None:
    for split, counted in counts.items():
        absent = [value for value in classes if not counted[value]]
        if len(absent) == len(classes) - 1:
            (only,) = counted
            raise DataError(
                f'The split "{split}" has rows of one class only: "{label}" is {only!r} in all'
                f" {counted.total():,} of them. Split by other columns, or give it more rows."
            )
        if absent and split in learn_from:
            raise DataError(
                f'The split "{split}" has no row where "{label}" is {_some(absent)}. Leave such'
                " rare classes out with a query, or give the split more rows."
            )


def _is_text(total: Mapping[Any, int]) -> bool:
    return any(isinstance(value, str) for value in total)


def _some(values: Any) -> str:
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
