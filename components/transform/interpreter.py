"""Interprets TensorFlow Transform's analysis graph over a stream of batches.

A PCollection of Beam corresponds to
- a `Pass` over the data, or some `Columns` of it: a stream of batches that is read once for all
  accumulators;
- after accumulation, a `Lazy` list, which is computed when it is first needed.
Nothing is computed while the graph is visited, so all accumulators of a phase are known when its
pass begins. The operations are implemented here, in `combiners` and in `vocabularies`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow_transform import nodes

from millrace.ml.arrays import Array

Lazy = Callable[[], Any]


class Unsupported(Exception):  # noqa: N818 - not an error: Beam takes over
    """The analysis needs something that only Beam can do."""


@dataclasses.dataclass
class Phase:
    """A state of the TensorFlow graph.

    Attributes:
        learned: The results of earlier phases, by the name of the tensor that they replace.
        outputs: The tensors that this phase computes.
    """

    learned: dict[str, tf.Tensor]
    outputs: Mapping[str, tf.Tensor]


class Pass:
    """One pass over the data, which fills every accumulator of a phase."""

    def __init__(self, run: Callable[[Phase], Iterable[Mapping[str, Array]]], phase: Lazy) -> None:
        self._run = run
        self._phase = phase
        self._folds: list[tuple[Callable[[], Any], Callable[[Any, Any], Any]]] = []
        self._results = functools.cache(self._read)

    def fold(self, start: Callable[[], Any], add: Callable[[Any, Any], Any]) -> Lazy:
        """Registers an accumulator.

        `start()` creates it, and `add(accumulator, tensors)` folds a batch into it.
        """
        position = len(self._folds)
        self._folds.append((start, add))
        return lambda: self._results()[position]

    def _read(self) -> list[Any]:
        accumulators = [start() for start, _ in self._folds]
        for tensors in self._run(self._phase()):
            for position, (_, add) in enumerate(self._folds):
                accumulators[position] = add(accumulators[position], tensors)
        return accumulators


@dataclasses.dataclass
class Columns:
    """Some tensors of a pass."""

    source: Pass
    keys: tuple[str, ...]

    def fold(self, start: Callable[[], Any], add: Callable[[Any, Any], Any]) -> Lazy:
        """Registers an accumulator, see `Pass.fold`; `add` gets a tuple of these tensors."""
        return self.source.fold(
            start, lambda state, tensors: add(state, tuple(tensors[key] for key in self.keys))
        )


class Interpreter(nodes.Visitor):  # type: ignore[misc]
    """Evaluates each operation of the graph; the root becomes the last `Phase`, lazily."""

    def __init__(
        self,
        run: Callable[[Phase], Iterable[Mapping[str, Array]]],
        graph: tf.Graph,
        folder: Path,
    ) -> None:
        """Prepares for one graph.

        Args:
            run: Computes a phase's outputs, batch by batch.
            graph: The traced graph behind the operations.
            folder: Where to write the vocabularies.
        """
        self.run = run
        self.graph = graph
        self.folder = folder

    def validate_value(self, value: Any) -> None:
        """Accepts whatever `visit` returns."""

    def visit(self, operation: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Returns the outputs of an operation.

        Raises:
            Unsupported: The operation is unknown.
        """
        name = type(operation).__name__
        if name not in _MEANINGS:
            raise Unsupported(f"the analyzer {name} ({operation.label})")
        outputs = _MEANINGS[name](self, operation, *inputs)
        return outputs if isinstance(outputs, tuple) else (outputs,)


_MEANINGS: dict[str, Callable[..., Any]] = {}


def implements(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers the implementation of operations.

    The function takes the interpreter, the operation and the values of its inputs.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        _MEANINGS.update(dict.fromkeys(names, function))
        return function

    return register


def each(collection: Lazy, function: Callable[[Any], Any]) -> Lazy:
    """Returns a lazy list of a function applied to each item."""
    return functools.cache(lambda: [function(item) for item in collection()])


# --- The data and the TensorFlow graph ---


@implements("ExtractInputForSavedModel")
def _data(interpreter: Interpreter, operation: Any) -> None:
    """Returns the only data set, which `Interpreter.run` reads."""


@implements("CreateSavedModel")
def _phase(interpreter: Interpreter, operation: Any, *bindings: Lazy) -> Lazy:
    return functools.cache(
        lambda: Phase(dict(binding() for binding in bindings), operation.output_signature)
    )


@implements("CreateTensorBinding")
def _binding(interpreter: Interpreter, operation: Any, collection: Lazy) -> Lazy:
    def bind() -> tuple[str, tf.Tensor]:
        (value,) = collection()
        return operation.tensor_name, tf.constant(value, tf.dtypes.as_dtype(operation.dtype_enum))

    return functools.cache(bind)


@implements("ApplySavedModel")
def _apply(interpreter: Interpreter, operation: Any, phase: Lazy, data: None) -> Pass:
    return Pass(interpreter.run, phase)


@implements("ExtractFromDict")
def _extract(interpreter: Interpreter, operation: Any, source: Pass | Lazy) -> Columns | Lazy:
    if isinstance(source, Pass):
        return Columns(source, operation.keys)
    return each(source, lambda item: item[operation.keys])


@implements("Flatten")
def _flatten(interpreter: Interpreter, operation: Any, *inputs: Lazy) -> Lazy:
    return functools.cache(lambda: [item for collection in inputs for item in collection()])


@implements("FlattenLists")
def _flatten_lists(interpreter: Interpreter, operation: Any, collection: Lazy) -> Lazy:
    return functools.cache(lambda: [item for items in collection() for item in items])


@implements("AddKey")
def _add_key(interpreter: Interpreter, operation: Any, collection: Lazy) -> Lazy:
    return each(collection, lambda item: (operation.key, item))


@implements("ExtractOutputs", "ExtractCombineMergeOutputs", "ExtractPackedCombineMergeOutputs")
def _outputs(interpreter: Interpreter, operation: Any, collection: Lazy) -> tuple[Lazy, ...]:
    return tuple(
        each(collection, lambda item, position=position: item[position])  # type: ignore[misc]
        for position in range(operation.num_outputs)
    )
