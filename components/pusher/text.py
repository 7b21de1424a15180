"""Replaces text in a graph by numbers.

TFLite supports few operations on text. So every text in the graph, from a vocabulary or a constant,
gets a number, and one more number stands for all other text. The graph then computes with numbers,
and each text column is looked up once, at the input.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf

from millrace.components.pusher.graph import FIND, HASH, FlatGraph, Operation, Table
from millrace.errors import ModelError
from millrace.ml.arrays import Array

# Operations that only move or compare text, and work the same on numbers.
_MOVES = frozenset({
    "BroadcastTo", "ConcatV2", "Const", "Equal", "ExpandDims", "Fill", "GatherNd", "GatherV2",
    "Identity", "NotEqual", "Pack", "Placeholder", "PlaceholderWithDefault", "Rank", "Reshape",
    "Select", "SelectV2", "Shape", "Size", "Slice", "SparseToDense", "Split", "Squeeze",
    "StopGradient", "StridedSlice", "Tile", "Transpose", "Unpack",
})  # fmt: skip


class Numbering:
    """The numbers of all texts that may reach the same tensor.

    Attributes:
        numbers: The number of each known text.
        identity: The table whose values are the numbers of its keys, if there is one.
    """

    def __init__(self, constants: Iterable[bytes], tables: Mapping[str, Table]) -> None:
        """Numbers texts so that, if possible, the largest table maps each number to itself."""
        self.identity = next(
            (
                name
                for name, table in sorted(tables.items(), key=lambda item: -len(item[1].keys))
                if _is_numbering(table)
            ),
            "",
        )
        self.numbers: dict[bytes, int] = {}
        if self.identity:
            table = tables[self.identity]
            self.numbers = dict(zip(table.keys, table.values.tolist(), strict=True))
        further = {text for table in tables.values() for text in table.keys} | set(constants)
        for text in sorted(further - set(self.numbers)):
            self.numbers[text] = len(self.numbers)

    @property
    def unknown(self) -> int:
        """The number of every unknown text."""
        return len(self.numbers)

    def encode(self, texts: Array) -> Array:
        """Returns the numbers of known texts."""
        codes = [self.numbers[text] for text in texts.reshape(-1)]
        numbers: Array = np.array(codes, np.int64).reshape(texts.shape)
        return numbers


def number(graph: FlatGraph) -> dict[str, Numbering]:
    """Returns the numbering of each tensor of text, by the tensor's name.

    Raises:
        ModelError: An operation on text has no equivalent on numbers.
    """
    meeting = _Sets()
    for operation in graph.operations:
        texts = [t.name for t in (*operation.inputs, *operation.outputs) if t.dtype == tf.string]
        _check(operation, texts)
        for name in texts:
            meeting.join(texts[0], name)
    constants: dict[str, set[bytes]] = {}
    tables: dict[str, dict[str, Table]] = {}
    for operation in graph.operations:
        if operation.type == "Const" and operation.outputs[0].dtype == tf.string:
            known = tf.make_ndarray(operation.get_attr("value")).reshape(-1).tolist()
            constants.setdefault(meeting.of(operation.outputs[0].name), set()).update(known)
        elif operation.type == FIND and operation.inputs[1].dtype == tf.string:
            name = graph.table(operation.inputs[0])
            tables.setdefault(meeting.of(operation.inputs[1].name), {})[name] = graph.tables[name]
    made: dict[str, Numbering] = {}
    for representative in set(map(meeting.of, meeting.members)):
        made[representative] = Numbering(
            constants.get(representative, ()), tables.get(representative, {})
        )
    return {name: made[meeting.of(name)] for name in meeting.members}


def _check(operation: Operation, texts: list[str]) -> None:
    if not texts or operation.type in _MOVES or operation.type == HASH:
        return
    if operation.type == FIND and operation.outputs[0].dtype != tf.string:
        return
    raise ModelError(
        f"The model computes {operation.type} of text ({operation.name}), which TFLite cannot do. "
        "Do it in the query of ExampleGen rather than in `preprocessing_fn`."
    )


def _is_numbering(table: Table) -> bool:
    if not np.issubdtype(table.values.dtype, np.integer):
        return False
    return bool(np.array_equal(np.sort(table.values), np.arange(len(table.values))))


class _Sets:
    """Disjoint sets of names."""

    def __init__(self) -> None:
        self.members: dict[str, str] = {}

    def of(self, name: str) -> str:
        """Returns the name that stands for a name's set."""
        self.members.setdefault(name, name)
        while self.members[name] != name:
            self.members[name] = self.members[self.members[name]]
            name = self.members[name]
        return name

    def join(self, one: str, other: str) -> None:
        """Joins the sets of two names."""
        self.members[self.of(one)] = self.of(other)
