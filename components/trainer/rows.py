"""Reads transformed rows as batches for Keras, shuffled over the whole split, in bounded memory.

A split that fits into `MEMORY` is held as arrays, and every epoch takes a new permutation of its
rows. A larger one is read in row groups of random order, each time as many as fit, and permuted
within those.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf

from millrace.errors import ModuleError
from millrace.ml.arrays import Array

Arrays = dict[str, Array]
# Bytes of arrays.
MEMORY = 96 << 20
_BATCHES_AT_ONCE = 64  # passed from Python to TensorFlow
_TEXT_BYTES = sys.getsizeof(b"") + np.dtype(object).itemsize  # in addition to the text itself
_DTYPES = {pa.float32(): tf.float32, pa.int64(): tf.int64}


@dataclasses.dataclass(frozen=True)
class _Group:
    """A row group of a shard.

    Attributes:
        path: The shard.
        index: The row group's place in it.
        bytes: The size of its columns as arrays.
    """

    path: Path
    index: int
    bytes: int


@dataclasses.dataclass(frozen=True)
class Rows:
    """The transformed rows of a split.

    Attributes:
        files: Its shards.
        label: The column to predict.
        features: The columns to predict it from.
        seed: Makes the order repeatable.
        memory: The most bytes of arrays in memory.
    """

    files: Sequence[Path]
    label: str
    features: Sequence[str]
    seed: int
    memory: int = MEMORY

    @functools.cached_property
    def number(self) -> int:
        """The number of rows."""
        return sum(pq.read_metadata(path).num_rows for path in self.files)

    def steps(self, batch_size: int) -> int:
        """Returns how many batches hold all rows."""
        return -(-self.number // batch_size)

    def dataset(
        self,
        batch_size: int,
        shuffle: bool = True,
        epochs: int | None = None,
        steps: int | None = None,
    ) -> tf.data.Dataset:
        """Returns batches of `(features, label)`, every tensor with two dimensions or more.

        Args:
            batch_size: Rows in a batch; if endless, a smaller last batch of an epoch is dropped.
            shuffle: Whether to draw the rows in a random order, a new one every epoch.
            epochs: The number of passes over the rows; None is endless.
            steps: The most batches of an epoch.
        """
        size = min(batch_size, self.number) if epochs is None else batch_size
        chunks = functools.partial(self._chunks, size, shuffle, epochs, steps)
        batches = tf.data.Dataset.from_generator(chunks, output_signature=self._signature).flat_map(
            lambda *arrays: tf.data.Dataset.from_tensor_slices(arrays)
        )
        if epochs is not None:
            number = self.steps(size) if steps is None else min(steps, self.steps(size))
            batches = batches.apply(tf.data.experimental.assert_cardinality(epochs * number))
        return batches.prefetch(8)

    @functools.cached_property
    def _schema(self) -> pa.Schema:
        schema = pq.read_schema(self.files[0])
        return pa.schema([schema.field(name) for name in (*self.features, self.label)])

    @functools.cached_property
    def _signature(self) -> tuple[dict[str, tf.TensorSpec], tf.TensorSpec]:
        specs = {field.name: _spec(field) for field in self._schema}
        return specs, specs.pop(self.label)

    @functools.cached_property
    def _groups(self) -> list[_Group]:
        """Every row group. Texts are read once to measure their length."""
        width = sum(_width(field.type) for field in self._schema)
        texts = [field.name for field in self._schema if _is_text(_value_type(field.type))]
        groups = []
        for path in self.files:
            file = pq.ParquetFile(path)
            for index in range(file.num_row_groups):
                size = file.metadata.row_group(index).num_rows * width
                for name in texts:  # one by one, as a table of all of them may be large
                    column = file.read_row_group(index, [name]).column(0)
                    size += sum(map(_text_bytes, column.chunks))
                groups.append(_Group(path, index, size))
        return groups

    @functools.cached_property
    def _fits(self) -> bool:
        return sum(group.bytes for group in self._groups) <= self.memory

    @functools.cached_property
    def _all(self) -> Arrays:
        return self._read(self._groups)

    def _chunks(
        self, size: int, shuffle: bool, epochs: int | None, steps: int | None
    ) -> Iterator[tuple[Arrays, Array]]:
        """Yields some batches at a time, as arrays of shape [batches, rows, …]."""
        for epoch in itertools.count() if epochs is None else range(epochs):
            random = np.random.default_rng([self.seed, epoch]) if shuffle else None
            left = self.steps(size) if steps is None else steps
            for chunk in self._epoch(size, random, drop=epochs is None):
                if left > 0:
                    chunk = {name: values[:left] for name, values in chunk.items()}
                    left -= len(chunk[self.label])
                    yield chunk, chunk.pop(self.label)

    def _epoch(self, size: int, random: np.random.Generator | None, drop: bool) -> Iterator[Arrays]:
        """Yields chunks of one pass over the rows; a smaller batch at the end may be dropped."""
        rest: Arrays = {}
        for arrays, order in self._portions(random):
            if rest:  # complete the current batch
                wanted = size - len(rest[self.label])
                rest = _join(rest, _take(arrays, order[:wanted]))
                order = order[wanted:]
                if len(rest[self.label]) < size:
                    continue
                yield {name: values[np.newaxis] for name, values in rest.items()}
            whole = len(order) // size * size
            for start in range(0, whole, size * _BATCHES_AT_ONCE):
                end = min(start + size * _BATCHES_AT_ONCE, whole)
                yield _take(arrays, order[start:end].reshape(-1, size))
            rest = _take(arrays, order[whole:]) if whole < len(order) else {}
        if rest and not drop:
            yield {name: values[np.newaxis] for name, values in rest.items()}

    def _portions(self, random: np.random.Generator | None) -> Iterator[tuple[Arrays, Array]]:
        """Yields rows in arrays, with the order to take them in."""
        if self._fits:
            yield self._all, _order(self.number, random)
            return
        groups = self._groups
        if random is not None:
            groups = [groups[position] for position in random.permutation(len(groups))]
        for portion in _portions(groups, self.memory):
            arrays = self._read(portion)
            yield arrays, _order(len(arrays[self.label]), random)

    def _read(self, groups: Sequence[_Group]) -> Arrays:
        """Reads the columns one by one, so that only one is in memory twice."""
        files = {group.path: pq.ParquetFile(group.path) for group in groups}
        arrays = {}
        for name in self._schema.names:
            parts = [
                files[group.path].read_row_group(group.index, [name]).column(0) for group in groups
            ]
            arrays[name] = _array(
                pa.chunked_array([chunk for part in parts for chunk in part.chunks], parts[0].type)
            )
        return arrays


def _portions(groups: Sequence[_Group], memory: int) -> Iterator[list[_Group]]:
    """Yields runs of row groups that fit into memory, or a single one that does not."""
    portion: list[_Group] = []
    held = 0
    for group in groups:
        if portion and held + group.bytes > memory:
            yield portion
            portion, held = [], 0
        portion.append(group)
        held += group.bytes
    yield portion


def _order(number: int, random: np.random.Generator | None) -> Array:
    return np.arange(number) if random is None else random.permutation(number)


def is_sparse(feature: str) -> ModuleError:
    """Returns the error for a feature that has no fixed number of values."""
    return ModuleError(
        f'The feature "{feature}" is sparse. Training takes dense features: make it dense in'
        " preprocessing_fn, for example with tf.sparse.to_dense."
    )


def _take(arrays: Arrays, index: Array) -> Arrays:
    return {name: values[index] for name, values in arrays.items()}


def _join(first: Arrays, second: Arrays) -> Arrays:
    return {name: np.concatenate([values, second[name]]) for name, values in first.items()}


def _spec(field: pa.Field) -> tf.TensorSpec:
    kind, width = field.type, 1
    if pa.types.is_fixed_size_list(kind):
        kind, width = kind.value_type, kind.list_size
    elif pa.types.is_list(kind):
        raise is_sparse(field.name)
    return tf.TensorSpec([None, None, width], _DTYPES.get(kind, tf.string))


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_fixed_size_list(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    return not pa.types.is_primitive(kind)


def _width(kind: pa.DataType) -> int:
    """Returns the bytes of a value in an array, without the characters of a text."""
    values = kind.list_size if pa.types.is_fixed_size_list(kind) else 1
    kind = _value_type(kind)
    return int(values) * (_TEXT_BYTES if _is_text(kind) else kind.bit_width // 8)


def _text_bytes(texts: pa.Array) -> int:
    """Returns the total length of some texts."""
    if pa.types.is_fixed_size_list(texts.type):
        texts = texts.flatten()
    return pc.sum(pc.binary_length(texts)).as_py() or 0


def _array(column: pa.ChunkedArray) -> Array:
    width = 1
    if pa.types.is_fixed_size_list(column.type):
        width = column.type.list_size
        column = pa.chunked_array([chunk.flatten() for chunk in column.chunks])
    values: Array = column.to_numpy().reshape(-1, width)
    return values
