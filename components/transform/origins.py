"""Finds the inputs of a TensorFlow graph that a tensor is computed from."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from typing import Any

import tensorflow as tf


class Origins:
    """The inputs that every operation of a graph depends on, found in one walk over it.

    Control dependencies do not count.
    """

    def __init__(self, graph: tf.Graph, inputs: Mapping[str, Any]) -> None:
        """Walks the graph.

        Args:
            graph: The graph.
            inputs: Its inputs by name: tensors, also sparse or ragged.
        """
        self._names = list(inputs)
        own = {
            tensor.op.name: 1 << position
            for position, value in enumerate(inputs.values())
            for tensor in tf.nest.flatten(value, expand_composites=True)
        }
        self._bits: dict[str, int] = {}
        for operation in graph.get_operations():  # in topological order
            name = operation.name
            self._bits[name] = functools.reduce(
                operator.or_,
                (self._bits.get(tensor.op.name, 0) for tensor in operation.inputs),
                own.get(name, 0),
            )

    def of(self, value: Any) -> list[str]:
        """Returns the names of the inputs that a tensor, or several, are computed from."""
        bits = functools.reduce(
            operator.or_,
            (
                self._bits[tensor.op.name]
                for tensor in tf.nest.flatten(value, expand_composites=True)
            ),
            0,
        )
        return [name for position, name in enumerate(self._names) if bits >> position & 1]
