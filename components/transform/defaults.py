"""The default transform, made from the schema and a profile of the columns.

    number      z-score, clipped to ±10; a missing, NaN or infinite value becomes the mean, and a
                second feature marks it
    level       an integer with few distinct values: a number, and a category too
    category    index in a vocabulary; rare and unseen values share one index, and missing has one
    left out    constant and empty columns, identifiers, free text, dates and lists

It uses only operations that TFLite has, apart from the vocabulary's table, which Pusher rewrites.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_metadata.proto.v0 import schema_pb2

from millrace.components.transform import engine, profile
from millrace.components.transform.profile import LARGEST, Column
from millrace.ml.features import active_features, input_names
from millrace.ml.problem import Kind, Problem

NUMBER, LEVEL, CATEGORY, LEFT_OUT = "number", "level", "category", "left out"
VOCABULARY = 10_000  # the most tokens that a vocabulary keeps
RARE = 3  # in a column with more than `COMMON` values, rarer ones count as unseen
COMMON = 100
CLIP = 10.0  # standard deviations
_UNIQUE = 0.9  # the share of distinct values at which a column is an identifier
# Row numbers span at most this many times the rows of one split. Of random numbers from such a
# range, a smaller share than `_UNIQUE` is distinct.
_SPREAD = 3.0
_FREE_TEXT_SPACES = 3.0
_IDENTIFIER = re.compile(
    r"(?:^|[^A-Za-z])(?i:id|uuid|guid|rowid|index|key)$|[a-z](?:Id|ID|Uuid|UUID|Index|Key)$"
    # Row numbers, also of a table from which these rows are a sample: as pandas, readr and Spark
    # name a column without a name, and as people do.
    r"|^(?i:unnamed: ?\d+|\.\.\.\d+|_c0|level_0|row_?n(?:um(?:ber)?|o|r)?|rn)$"
)
_COARSE = 0.1  # of a column's standard deviation: larger steps of float32 hide differences
_TINY = 1e-30
# Magnitudes whose squares, and sums of squares over a batch, float32 can represent.
_ORDINARY = (1e-6, 1e15)
_DIGITS = 37  # the largest exponent of a power of ten in float32


@dataclasses.dataclass(frozen=True)
class Choice:
    """How a column is transformed.

    Attributes:
        column: The raw column.
        kind: number, level, category or left out.
        reason: Why, in a few words.
        outputs: The features made of it.
    """

    column: Column
    kind: str
    reason: str
    outputs: tuple[str, ...] = ()
    missing: bool = False


def choose(columns: Iterable[Column], optional: set[str], label: str) -> list[Choice]:
    """Decides how each column is transformed.

    Args:
        columns: The columns.
        optional: Those that may be missing in a row.
        label: The label, whose name no feature may have.
    """
    choices = [_choose(column, column.name in optional) for column in columns]
    names = input_names([choice.column.name for choice in choices])
    taken = {label}
    named = []
    for choice in choices:
        outputs = tuple(
            _unused(names[choice.column.name] + suffix, taken) for suffix in _suffixes(choice)
        )
        named.append(dataclasses.replace(choice, outputs=outputs))
    return named


def is_unique(column: Column) -> bool:
    """Returns whether nearly every row has a whole number or a text of its own in a column."""
    return column.type != schema_pb2.FLOAT and column.distinct >= _UNIQUE * column.present


def unfit(schema: schema_pb2.Schema, known: pa.Schema, label: str) -> list[Choice]:
    """Returns the features of a schema that cannot be used, whatever their values.

    Args:
        schema: The schema.
        known: The schema of the examples.
        label: The label, which is not among them.
    """
    active = {feature.name for feature in active_features(schema)}
    choices = []
    for feature in schema.feature:
        if feature.name not in active:
            stage = schema_pb2.LifecycleStage.Name(feature.lifecycle_stage).lower()
            reason = f"the schema marks it as {stage}"
            if feature.lifecycle_stage == schema_pb2.PLANNED:
                reason += ", as it does a column without values"
        else:
            reason = profile.unfit(feature, known)
        if reason and feature.name != label:
            choices.append(Choice(Column(feature.name, feature.type, 0, 0, 0), LEFT_OUT, reason))
    return choices


def preprocessing_fn(
    choices: Iterable[Choice], problem: Problem
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Returns the function that makes the chosen features, and the label."""
    choices = list(choices)
    numeric = [choice for choice in choices if choice.kind in (NUMBER, LEVEL)]

    def transform(inputs: dict[str, Any]) -> dict[str, Any]:
        outputs: dict[str, Any] = {problem.label: _label(inputs[problem.label], problem)}
        if numeric:
            outputs.update(_numbers(numeric, inputs))
        for choice in choices:
            if choice.kind == LEVEL:
                value = inputs[choice.column.name]
                outputs[choice.outputs[1]] = _level(value, choice.column.levels)
            elif choice.kind == CATEGORY:
                outputs[choice.outputs[0]] = _category(inputs[choice.column.name], choice)
        return outputs

    return transform


def precision_warnings(choices: Iterable[Choice]) -> list[str]:
    """Returns a warning for each column whose differences are lost in float32.

    Models take decimal numbers as float32. Integers are exact.
    """
    warnings = []
    for column in (choice.column for choice in choices if choice.kind == NUMBER):
        step = float(np.spacing(np.float32(max(abs(column.low), abs(column.high)))))
        if column.type == schema_pb2.FLOAT and step > _COARSE * column.deviation > 0:
            name = '"' + column.name.replace('"', '""') + '"'
            warnings.append(
                f'models see the column "{column.name}" in steps of {step:g}, which is what float32'
                f" has at {column.high:.6g}, but its standard deviation is only"
                f" {column.deviation:.3g}. Subtract an offset with a query: SELECT * REPLACE"
                f" ({name} - {column.offset:.0f} AS {name}) FROM data"
            )
    return warnings


def sources(choices: Iterable[Choice], label: str) -> dict[str, list[str]]:
    """Returns the raw column that each feature is computed from."""
    made = {output: [choice.column.name] for choice in choices for output in choice.outputs}
    return {**made, label: [label]}


# --- Choosing ---


def _choose(column: Column, optional: bool) -> Choice:
    missing = optional or column.present < column.rows
    kind, reason = _text(column) if column.type == schema_pb2.BYTES else _numeric(column)
    if column.present == 0:
        kind, reason = LEFT_OUT, "it has no values"
        if column.type == schema_pb2.FLOAT:
            reason += " that float32 can hold"
    elif column.distinct == 1 and column.present == column.rows:
        kind, reason = LEFT_OUT, f"it is {column.example} in every row"
    return Choice(column, kind, reason, missing=missing)


def _numeric(column: Column) -> tuple[str, str]:
    if column.type == schema_pb2.FLOAT:
        return NUMBER, "decimal numbers"
    if is_unique(column) and (
        _IDENTIFIER.search(column.name) or column.high - column.low < _SPREAD * column.present
    ):
        return LEFT_OUT, "it looks like an identifier: nearly every row has a number of its own"
    if column.levels:
        return LEVEL, f"whole numbers, of which there are {len(column.levels)}"
    return NUMBER, "whole numbers"


def _text(column: Column) -> tuple[str, str]:
    if column.dates:
        return LEFT_OUT, "it looks like a date: compute its parts with a query"
    if column.written_numbers and column.distinct > COMMON:
        return LEFT_OUT, (
            f"it looks like numbers written as text, such as {column.example}: make numbers of them"
            " with a query"
        )
    if column.spaces >= _FREE_TEXT_SPACES and column.distinct > COMMON:
        return LEFT_OUT, f"it looks like free text: {column.characters:.0f} characters on average"
    if is_unique(column) and column.present > 2 * COMMON:
        return LEFT_OUT, "it looks like an identifier: nearly every row has a text of its own"
    if column.distinct > VOCABULARY:
        return (
            CATEGORY,
            f"text; the {VOCABULARY:,} most frequent of about {column.distinct:,} values",
        )
    return CATEGORY, "text"


def _suffixes(choice: Choice) -> tuple[str, ...]:
    if choice.kind == LEFT_OUT:
        return ()
    if choice.kind == CATEGORY:
        return ("",)
    level = ("_level",) if choice.kind == LEVEL else ()
    return ("", *level, *(("_missing",) if choice.missing else ()))


def _unused(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


# --- Tracing ---


def _numbers(choices: Sequence[Choice], inputs: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """Returns the z-scores of all columns, and marks of missing values.

    They are computed as one matrix: tracing a pair of analyzers for each of hundreds of columns
    would take minutes.
    """
    numbers = tf.concat(
        [_number(inputs[choice.column.name], choice.column.offset) for choice in choices], axis=1
    )
    present = tf.abs(numbers) <= LARGEST  # false for NaN too
    scales = [_scale(choice.column) for choice in choices]
    if any(scale != 1.0 for scale in scales):
        numbers *= tf.constant([scales], tf.float32)
    # TFT ignores NaN and infinite values in both.
    mean = tft.mean(numbers, reduce_instance_dims=False)
    variance = tft.var(numbers, reduce_instance_dims=False)
    scale = tf.where(variance > 0.0, tf.math.rsqrt(tf.maximum(variance, _TINY)), 1.0)
    scores = tf.clip_by_value((tf.where(present, numbers, mean) - mean) * scale, -CLIP, CLIP)
    outputs = dict(zip((choice.outputs[0] for choice in choices), _columns(scores), strict=True))
    missing = _columns(1.0 - tf.cast(present, tf.float32))
    for choice, column in zip(choices, missing, strict=True):
        if choice.missing:
            outputs[choice.outputs[-1]] = column
    return outputs


def _scale(column: Column) -> float:
    """Returns a power of ten that scales a column to near 1 if its variance exceeds float32."""
    magnitude = max(abs(column.low - column.offset), abs(column.high - column.offset))
    if magnitude == 0.0 or _ORDINARY[0] <= magnitude <= _ORDINARY[1]:
        return 1.0
    digits = math.floor(math.log10(magnitude))
    return float(10.0 ** -min(max(digits, -_DIGITS), _DIGITS))


def _columns(matrix: tf.Tensor) -> list[tf.Tensor]:
    columns: list[tf.Tensor] = tf.split(matrix, matrix.shape[1], axis=1)
    return columns


def _number(value: Any, offset: float) -> tf.Tensor:
    """Returns a column minus an offset as float32 of shape [rows, 1], NaN where missing."""
    if isinstance(value, tf.SparseTensor):
        return _densify(value.indices, _less(value.values, offset), value, float("nan"))
    return tf.reshape(_less(value, offset), [-1, 1])


def _less(values: tf.Tensor, offset: float) -> tf.Tensor:
    """Returns values minus an offset as float32, subtracted exactly for integers."""
    if offset:
        values -= tf.constant(int(offset) if values.dtype.is_integer else offset, values.dtype)
    return tf.cast(values, tf.float32)


def _level(value: Any, levels: tuple[int, ...]) -> tf.Tensor:
    """Returns the index of an integer among its levels, or the number of levels for others."""
    if isinstance(value, tf.SparseTensor):
        value = _densify(value.indices, value.values, value, tf.int64.min)
    same = tf.cast(tf.equal(value, tf.constant([levels], tf.int64)), tf.int64)
    seen = tf.reduce_sum(same, axis=1, keepdims=True)
    index = tf.reduce_sum(same * tf.range(len(levels), dtype=tf.int64), axis=1, keepdims=True)
    index += (1 - seen) * len(levels)
    engine.set_range(index, len(levels))
    return index


def _category(value: Any, choice: Choice) -> tf.Tensor:
    many = choice.column.distinct > COMMON
    name = f"{choice.outputs[0]}_vocabulary"
    index = tft.compute_and_apply_vocabulary(
        value,
        top_k=VOCABULARY if many else None,
        frequency_threshold=RARE if many else None,
        num_oov_buckets=1,
        vocab_filename=name,
    )
    size = tft.experimental.get_vocabulary_size_by_name(name)
    if isinstance(index, tf.SparseTensor):
        # TFLite's SparseToDense does not accept text, so the index is made dense instead.
        index = _densify(index.indices, index.values + 1, index, 0)
        size += 1
    engine.set_range(index, size)
    return index


def _densify(
    indices: tf.Tensor, values: tf.Tensor, like: tf.SparseTensor, default: Any
) -> tf.Tensor:
    shape = tf.stack([like.dense_shape[0], tf.constant(1, tf.int64)])
    dense = tf.sparse.to_dense(tf.SparseTensor(indices, values, shape), default)
    return tf.reshape(dense, [-1, 1])


def _label(value: Any, problem: Problem) -> tf.Tensor:
    if isinstance(value, tf.SparseTensor):
        default = "" if value.dtype == tf.string else 0
        value = _densify(value.indices, value.values, value, default)
    value = tf.reshape(value, [-1, 1])
    if problem.kind is Kind.REGRESSION:
        return tf.cast(value, tf.float32)
    classes = tf.constant([problem.classes], value.dtype)
    return tf.argmax(tf.cast(tf.equal(value, classes), tf.int32), axis=1)[:, tf.newaxis]
