"""Flattens the graph of an exported model, from raw columns to prediction, and reads its tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from millrace.errors import ModelError
from millrace.ml.arrays import Array

Operation: TypeAlias = Any  # tf.Operation; TensorFlow has no type stubs
Tensor: TypeAlias = Any

# Operations to replace, which TFLite lacks or has in another form.
FIND, SIZE, HASH = "LookupTableFindV2", "LookupTableSizeV2", "StringToHashBucketFast"
UPPER, LOWER, EQUAL = "UpperBound", "LowerBound", "Equal"


@dataclasses.dataclass(frozen=True)
class Table:
    """The content of a lookup table.

    Attributes:
        keys: Text as bytes, or numbers; sorted.
        values: The value of each key.
    """

    keys: Array
    values: Array


@dataclasses.dataclass(frozen=True)
class FlatGraph:
    """A function without variables, calls and files.

    Attributes:
        operations: The operations that the output needs, in topological order.
        inputs: The placeholder of each raw column's input.
        output: The prediction.
        tables: The tables, by the name of their placeholder.
        definition: The whole as a GraphDef.
    """

    operations: list[Operation]
    inputs: dict[str, Operation]
    output: Tensor
    tables: dict[str, Table]
    definition: tf.compat.v1.GraphDef

    def table(self, handle: Tensor) -> str:
        """Returns the name of the table that an operation looks up."""
        name: str = _origin(handle).name
        return name


def flatten(signature: Any, output: str) -> FlatGraph:
    """Inlines a signature's calls, freezes its variables and reads its tables."""
    frozen = convert_variables_to_constants_v2(
        signature, lower_control_flow=False, aggressive_inlining=True
    )
    definition = frozen.graph.as_graph_def()
    _check_bodies(definition)
    result = frozen.outputs[sorted(signature.structured_outputs).index(output)]
    found = operations(result)
    placeholders = {op.name: op for op in found if op.type == "Placeholder"}
    captured = {inner.op.name: outer for outer, inner in signature.graph.captures}
    tables = {
        name: _read(captured[name], op, found)
        for name, op in placeholders.items()
        if op.outputs[0].dtype == tf.resource
    }
    inputs = {name: op for name, op in placeholders.items() if name not in tables}
    return FlatGraph(found, inputs, result, tables, definition)


def operations(output: Tensor) -> list[Operation]:
    """Returns the operations that compute a tensor, in topological order."""
    found: dict[str, Operation] = {}
    waiting = [output.op]
    while waiting:
        operation = waiting[-1]
        needed = [tensor.op for tensor in takes(operation) if tensor.op.name not in found]
        if operation.name in found or not needed:
            found.setdefault(operation.name, operation)
            waiting.pop()
        else:
            waiting += needed
    return list(found.values())


def takes(operation: Operation) -> Sequence[Tensor]:
    """Returns the inputs of an operation; for a hash of a number's digits, the number."""
    inputs: Sequence[Tensor] = operation.inputs
    if operation.type == HASH and inputs[0].op.type == "AsString":
        return list(inputs[0].op.inputs)
    return inputs


def _read(handle: Tensor, placeholder: Operation, found: list[Operation]) -> Table:
    """Reads a table that a graph captures."""
    uses = [op for op in found if op.type == FIND and _origin(op.inputs[0]) is placeholder]
    if not uses:
        raise ModelError(
            f"The model uses {placeholder.name}, a resource that is not a lookup table; "
            "TFLite has no operation for it."
        )
    keys, values = tf.raw_ops.LookupTableExportV2(
        table_handle=handle, Tkeys=uses[0].inputs[1].dtype, Tvalues=uses[0].outputs[0].dtype
    )
    order = np.argsort(keys.numpy(), kind="stable")  # rows are exported in any order
    return Table(keys.numpy()[order], values.numpy()[order])


def _origin(tensor: Tensor) -> Operation:
    operation = tensor.op
    while operation.type == "Identity":
        operation = operation.inputs[0].op
    return operation


def _check_bodies(definition: tf.compat.v1.GraphDef) -> None:
    """Raises ModelError if a branch or a loop has an operation that cannot be replaced there."""
    for function in definition.library.function:
        for node in function.node_def:
            text = any(each.type == tf.string.as_datatype_enum for each in node.attr.values())
            if text or node.op in (FIND, SIZE, HASH, UPPER, LOWER):
                raise ModelError(
                    f"The model computes {node.op} within a condition or a loop ({node.name}), "
                    "which TFLite cannot do. Use tf.where in place of a condition."
                )
