"""Rewrites a model's graph so that TFLite's built-in operations can compute it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from millrace.components.pusher.graph import (
    EQUAL,
    FIND,
    HASH,
    LOWER,
    SIZE,
    UPPER,
    FlatGraph,
    Operation,
    Tensor,
    flatten,
    takes,
)
from millrace.components.pusher.text import Numbering, number
from millrace.errors import ModelError
from millrace.ml.arrays import Array

# The widest range of integer keys that are looked up by position.
_SPAN = 1 << 20


@dataclasses.dataclass(frozen=True)
class Rewritten:
    """A graph of operations that TFLite supports.

    Attributes:
        graph: The graph.
        inputs: The raw columns by input.
        output: The prediction.
        initializer: Initialises the tables of text.
    """

    graph: tf.Graph
    inputs: dict[str, Tensor]
    output: Tensor
    initializer: Operation


def rewrite(signature: Any, output: str) -> Rewritten:
    """Returns a graph equivalent to a signature, without text, tables or searches.

    Text is converted to numbers at the input, by one table per column. The table is initialised
    from a tensor, the only kind that TFLite supports.

    Raises:
        ModelError: An operation has no equivalent.
    """
    flat = flatten(signature, output)
    numberings = number(flat)
    # TensorFlow lower-cases the placeholder names of a loaded signature.
    spelled = {name.lower(): name for name in signature.structured_input_signature[1]}
    with tf.Graph().as_default() as graph:
        inputs, numbered = {}, {}
        for name, operation in flat.inputs.items():
            placeholder = operation.outputs[0]
            raw = numbered[name] = tf.compat.v1.placeholder(placeholder.dtype, [None, 1], name)
            inputs[spelled[name]] = raw
            if placeholder.dtype == tf.string:
                found = _table(numberings[placeholder.name]).lookup(raw)
                # The converter loses the shape of a table's output.
                numbered[name] = tf.reshape(found, [-1, 1])
        predicted = tf.identity(_Builder(flat, numberings)(numbered), "outputs")
        return Rewritten(graph, inputs, predicted, tf.compat.v1.tables_initializer())


def _table(numbering: Numbering) -> tf.lookup.StaticHashTable:
    keys = tf.constant(list(numbering.numbers) or [b""], tf.string)
    values = tf.constant(list(numbering.numbers.values()) or [numbering.unknown], tf.int64)
    initializer = tf.lookup.KeyValueTensorInitializer(keys, values)
    return tf.lookup.StaticHashTable(initializer, numbering.unknown)


class _Builder:
    """Rebuilds the graph in stages: the operations between replaced ones are imported together."""

    def __init__(self, graph: FlatGraph, numberings: dict[str, Numbering]) -> None:
        self._graph = graph
        self._numberings = numberings
        self._nodes = {node.name: node for node in graph.definition.node}
        self._replace: dict[str, Callable[[Operation, list[Tensor]], Tensor]] = {
            FIND: self._find,
            SIZE: self._size,
            HASH: self._hash,
            UPPER: _upper_bound,
            LOWER: _lower_bound,
            EQUAL: lambda _, taken: _equal(*taken),
        }
        self._stages = self._plan()

    def __call__(self, inputs: dict[str, Tensor]) -> Tensor:
        built = {f"{name}:0": value for name, value in inputs.items()}
        for kept, replaced in self._stages:
            self._import(kept, built)
            for operation in replaced:
                taken = [built.get(tensor.name) for tensor in takes(operation)]
                built[operation.outputs[0].name] = self._replace[operation.type](operation, taken)
        return built[self._graph.output.name]

    def _plan(self) -> list[tuple[list[Operation], list[Operation]]]:
        """Returns the operations to import and those to replace, for each stage."""
        stage: dict[str, int] = {}
        plan: dict[int, tuple[list[Operation], list[Operation]]] = {}
        for operation in self._graph.operations:
            if operation.type == "Placeholder" or self._is_handle(operation):
                stage[operation.name] = 0
                continue
            before = [
                stage[tensor.op.name] + (tensor.op.type in self._replace)
                for tensor in takes(operation)
            ]
            at = stage[operation.name] = max(before, default=0)
            kept, replaced = plan.setdefault(at, ([], []))
            (replaced if operation.type in self._replace else kept).append(operation)
        return [plan[at] for at in sorted(plan)]

    def _is_handle(self, operation: Operation) -> bool:
        return bool(operation.outputs) and operation.outputs[0].dtype == tf.resource

    def _import(self, operations: list[Operation], built: dict[str, Tensor]) -> None:
        """Imports operations into the new graph, with numbers in place of text."""
        part = tf.compat.v1.GraphDef(
            versions=self._graph.definition.versions, library=self._graph.definition.library
        )
        names = {operation.name for operation in operations}
        external: dict[str, Tensor] = {}
        for operation in operations:
            node = part.node.add()
            node.CopyFrom(self._nodes[operation.name])
            del node.input[:]
            for tensor in operation.inputs:
                node.input.append(tensor.name)
                if tensor.op.name not in names:
                    external[tensor.name] = built[tensor.name]
            self._number(operation, node)
        results = [tensor.name for operation in operations for tensor in operation.outputs]
        imported = tf.graph_util.import_graph_def(part, external, results, name="")
        built.update(zip(results, imported, strict=True))

    def _number(self, operation: Operation, node: Any) -> None:
        """Changes a node on text to one on numbers."""
        if node.op == "Const" and operation.outputs[0].dtype == tf.string:
            texts = tf.make_ndarray(node.attr["value"].tensor)
            codes = self._numberings[operation.outputs[0].name].encode(texts)
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(codes, tf.int64))
        for attribute in node.attr.values():
            if attribute.type == tf.string.as_datatype_enum:
                attribute.type = tf.int64.as_datatype_enum

    def _find(self, operation: Operation, taken: list[Tensor]) -> Tensor:
        name = self._graph.table(operation.inputs[0])
        table, keys, default = self._graph.tables[name], taken[1], taken[2]
        if operation.inputs[1].dtype != tf.string:
            return _find_number(table.keys, table.values, keys, default)
        numbering = self._numberings[operation.inputs[1].name]
        if numbering.identity == name:
            return tf.where(keys < len(table.keys), tf.cast(keys, default.dtype), default)
        known = numbering.encode(table.keys)
        return _pick(known, table.values, numbering.unknown + 1, keys, default)

    def _size(self, operation: Operation, _: list[Tensor]) -> Tensor:
        table = self._graph.tables[self._graph.table(operation.inputs[0])]
        return tf.constant(len(table.keys), tf.int64)

    def _hash(self, operation: Operation, taken: list[Tensor]) -> Tensor:
        buckets = operation.get_attr("num_buckets")
        if buckets > 1:
            raise ModelError(
                f"The model spreads unknown values over {buckets} buckets by hash, which TFLite "
                f"cannot do ({operation.name}). Give the vocabulary num_oov_buckets=1."
            )
        return tf.zeros_like(taken[0], tf.int64)


def _find_number(keys: Array, values: Array, wanted: Tensor, default: Tensor) -> Tensor:
    """Looks integers up: by position if they are close together, else by comparing with each."""
    low, high = int(keys.min()), int(keys.max())
    if high - low < _SPAN:
        default_at = high - low + 1
        at = tf.where(
            (wanted < low) | (wanted > high), tf.constant(default_at, wanted.dtype), wanted - low
        )
        return _pick(keys - low, values, default_at + 1, at, default)
    same = _equal(tf.expand_dims(wanted, -1), tf.constant(keys))
    found = tf.reduce_sum(tf.where(same, tf.constant(values), tf.zeros([], values.dtype)), -1)
    return tf.where(tf.reduce_any(same, -1), found, default)


def _equal(first: Tensor, second: Tensor) -> Tensor:
    """Returns where integers are equal.

    Where one side is broadcast, TFLite's own comparison ignores the upper 32 bits, and takes the
    integer that means missing for 0.
    """
    if first.dtype != tf.int64:
        return tf.equal(first, second)
    return tf.cast(1 - tf.cast(tf.not_equal(first, second), tf.int32), tf.bool)


def _pick(at: Array, values: Array, size: int, wanted: Tensor, default: Tensor) -> Tensor:
    """Looks up by position; a position without a value gives the default."""
    held = np.zeros(size, np.bool_)
    held[at] = True
    content = np.zeros(size, values.dtype)
    content[at] = values
    return tf.where(tf.gather(held, wanted), tf.gather(content, wanted), default)


def _upper_bound(operation: Operation, taken: list[Tensor]) -> Tensor:
    """Counts the sorted values that are at most each value, as a search from the right does."""
    limits, values = tf.expand_dims(taken[0], 1), tf.expand_dims(taken[1], -1)
    # The converter would turn "not below" into "at least", which is wrong for NaN.
    return tf.cast(tf.shape(limits)[-1], operation.outputs[0].dtype) - _count(
        values < limits, operation
    )


def _lower_bound(operation: Operation, taken: list[Tensor]) -> Tensor:
    """Counts the sorted values that are below each value, as a search from the left does."""
    limits, values = tf.expand_dims(taken[0], 1), tf.expand_dims(taken[1], -1)
    return _count(limits < values, operation)


def _count(truth: Tensor, operation: Operation) -> Tensor:
    counts = tf.reduce_sum(tf.cast(truth, tf.int32), -1)
    return tf.cast(counts, operation.outputs[0].dtype)
