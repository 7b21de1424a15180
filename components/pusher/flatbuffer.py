"""Reads and edits TFLite files: finds the weights and makes small changes."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from typing import Any, TypeAlias

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from millrace.ml.arrays import Array

Model: TypeAlias = Any  # schema.ModelT; generated code has no types for mypy

# The operations with weights.
_OP = schema.BuiltinOperator
GATHER = "GATHER"
OPERATIONS = {
    _OP.FULLY_CONNECTED: "FULLY_CONNECTED",
    _OP.CONV_2D: "CONV_2D",
    _OP.DEPTHWISE_CONV_2D: "DEPTHWISE_CONV_2D",
    _OP.BATCH_MATMUL: "BATCH_MATMUL",
    _OP.GATHER: GATHER,
    _OP.EMBEDDING_LOOKUP: "EMBEDDING_LOOKUP",
}
_TABLES = (GATHER, "EMBEDDING_LOOKUP")
# Smaller weights stay as they are: the added operation would cost more than it saves.
MIN_ELEMENTS = 256
_FILE_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16


@dataclasses.dataclass(frozen=True)
class Weight:
    """A float32 constant that an operation of the network multiplies by or gathers from.

    Attributes:
        operation: One of `OPERATIONS`.
        tensor: The index of the constant.
        elements: The number of its elements.
        output: The name of the operation's output.
        seen: The name of every float32 input and output of the operation, by index.
    """

    operation: str
    tensor: int
    elements: int
    output: str
    seen: dict[int, str]

    @property
    def is_table(self) -> bool:
        """Whether it is an embedding table."""
        return self.operation in _TABLES


def read(content: bytes) -> Model:
    """Unpacks a .tflite file."""
    return schema.ModelT.InitFromPackedBuf(content, 0)


def weights(model: Model, variables: Iterable[Array]) -> list[Weight]:
    """Returns the weights of layers and embeddings in the main graph, without preprocessing tables.

    Args:
        model: The unpacked file.
        variables: The model's variables, which distinguish embeddings from lookup tables of
            preprocessing.
    """
    trained = {_digest(each.tobytes()) for each in variables}
    graph, found = model.subgraphs[0], []
    for operation in graph.operators:
        name = OPERATIONS.get(_code(model.operatorCodes[operation.opcodeIndex]), "")
        if not name:
            continue
        index = int(operation.inputs[0 if name == GATHER else 1])
        data = model.buffers[graph.tensors[index].buffer].data
        if name in _TABLES and (data is None or _digest(bytes(data)) not in trained):
            continue
        seen = {
            int(each): graph.tensors[each].name.decode()
            for each in (*operation.inputs, *operation.outputs)
            if each >= 0 and graph.tensors[each].type == schema.TensorType.FLOAT32
        }
        if index in seen and data is not None and len(data):
            output = graph.tensors[operation.outputs[0]].name.decode()
            found.append(Weight(name, index, len(data) // 4, output, seen))
    return found


def halve_weights(content: bytes, found: Iterable[Weight]) -> bytes:
    """Returns the file with the network's weights as float16, which loading turns into float32.

    TensorFlow's own conversion to float16 also rounds the constants of preprocessing, such as a
    mean of 1,341 minutes or the boundaries of buckets.
    """
    model = read(content)
    graph = model.subgraphs[0]
    chosen = {each.tensor for each in found if each.elements >= MIN_ELEMENTS}
    casts = []
    for index in sorted(chosen):
        whole = graph.tensors[index]
        numbers = np.frombuffer(bytes(model.buffers[whole.buffer].data), np.float32)
        half = schema.TensorT()
        half.name, half.shape = whole.name + b"_float16", whole.shape
        half.type, half.buffer = schema.TensorType.FLOAT16, len(model.buffers)
        model.buffers.append(schema.BufferT())
        model.buffers[-1].data = numbers.astype(np.float16).view(np.uint8)
        graph.tensors.append(half)
        whole.buffer = 0  # by the format, the empty buffer
        casts.append(_dequantize(model, len(graph.tensors) - 1, index))
    graph.operators[:0] = casts
    return _pack(model)


def number_tables(content: bytes) -> bytes:
    """Returns the file with its lookup tables numbered from 1 in their order.

    The converter derives a table's number from a random name, so no two files would be equal.
    """
    result = bytearray(content)
    numbers: dict[int, int] = {}
    model = schema.Model.GetRootAs(result, 0)
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        for operation in map(graph.Operators, range(graph.OperatorsLength())):
            if operation.BuiltinOptionsType() != schema.BuiltinOptions.HashtableOptions:
                continue
            table = operation.BuiltinOptions()
            options = schema.HashtableOptions()
            options.Init(table.Bytes, table.Pos)
            number = numbers.setdefault(options.TableId(), len(numbers) + 1)
            at = table.Pos + table.Offset(4)
            result[at : at + 4] = number.to_bytes(4, "little")
    return bytes(result)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _code(operator_code: Any) -> int:
    # Some converters write codes up to 127 to the older of the two fields.
    return int(max(operator_code.builtinCode, operator_code.deprecatedBuiltinCode))


def _dequantize(model: Model, source: int, target: int) -> Any:
    """Returns an operation that converts a float16 tensor to float32."""
    codes = [_code(each) for each in model.operatorCodes]
    if _OP.DEQUANTIZE not in codes:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = _OP.DEQUANTIZE
        code.version = 3  # the first version that accepts float16
        model.operatorCodes.append(code)
        codes.append(_OP.DEQUANTIZE)
    operation = schema.OperatorT()
    operation.opcodeIndex = codes.index(_OP.DEQUANTIZE)
    operation.inputs, operation.outputs = [source], [target]
    return operation


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """A buffer aligned to 16 bytes, as the format demands."""

    def Pack(self, builder: Any) -> int:  # noqa: N802
        builder.Prep(_ALIGNMENT, len(self.data))
        offset: int = super().Pack(builder)
        return offset


def _pack(model: Model) -> bytes:
    used = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    used |= {each.buffer for each in model.metadata or []}
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None
        elif buffer.data is not None and len(buffer.data):
            model.buffers[index] = aligned = _AlignedBuffer()
            aligned.data = buffer.data
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=_FILE_IDENTIFIER)
    return bytes(builder.Output())
