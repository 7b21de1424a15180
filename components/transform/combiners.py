"""Implements TFT's combiners for the interpreter: means, extremes, quantiles, also by key."""

from __future__ import annotations

import collections
import functools
from typing import Any

import tensorflow as tf
from tensorflow_transform.beam import analyzer_impls

from millrace.components.transform.interpreter import (
    Columns,
    Interpreter,
    Lazy,
    Pass,
    each,
    implements,
)
from millrace.ml.arrays import Array


@implements("CacheableCombineAccumulate")
def _accumulate(interpreter: Interpreter, operation: Any, columns: Columns) -> Lazy:
    combiner = operation.combiner
    accumulated = columns.fold(combiner.create_accumulator, combiner.add_input)
    return functools.cache(lambda: [combiner.compact(accumulated())])


@implements("PackedCombineAccumulate")
def _accumulate_packed(interpreter: Interpreter, operation: Any, source: Pass) -> Lazy:
    accumulated = {
        packed.label: _accumulate(interpreter, packed, Columns(source, packed.keys))
        for packed in operation.combiners
    }
    return functools.cache(
        lambda: [{label: collection()[0] for label, collection in accumulated.items()}]
    )


@implements("CacheableCombineMerge")
def _merge(interpreter: Interpreter, operation: Any, collection: Lazy) -> Lazy:
    combiner = operation.combiner
    return functools.cache(
        lambda: [combiner.extract_output(combiner.merge_accumulators(collection()))]
    )


@implements("PackedCombineMerge")
def _merge_packed(interpreter: Interpreter, operation: Any, collection: Lazy) -> Lazy:
    def merge() -> list[dict[str, Any]]:
        accumulators = collections.defaultdict(list)
        for label, accumulator in collection():
            accumulators[label].append(accumulator)
        return [
            {
                packed.label: packed.combiner.extract_output(
                    packed.combiner.merge_accumulators(accumulators[packed.label])
                )
                for packed in operation.combiners
            }
        ]

    return functools.cache(merge)


@implements("CacheableCombinePerKeyAccumulate")
def _accumulate_by_key(interpreter: Interpreter, operation: Any, columns: Columns) -> Lazy:
    combiner = operation.combiner

    def add(states: dict[Any, Any], batch: tuple[Array, ...]) -> dict[Any, Any]:
        for key, values in analyzer_impls._split_inputs_by_key(batch):
            state = states[key] if key in states else combiner.create_accumulator()
            states[key] = combiner.add_input(state, values)
        return states

    accumulated = columns.fold(dict, add)
    return functools.cache(
        lambda: [(key, combiner.compact(state)) for key, state in accumulated().items()]
    )


@implements("CacheableCombinePerKeyMerge")
def _merge_by_key(interpreter: Interpreter, operation: Any, collection: Lazy) -> Lazy:
    combiner = operation.combiner
    return each(
        collection,
        lambda item: (item[0], combiner.extract_output(combiner.merge_accumulators([item[1]]))),
    )


@implements("CacheableCombinePerKeyFormatKeys")
def _format_keys(interpreter: Interpreter, operation: Any, collection: Lazy) -> tuple[Lazy, ...]:
    dtypes = [info.dtype for info in operation.combiner.output_tensor_infos()]
    tagged = functools.cache(
        lambda: [
            output.value for output in analyzer_impls._merge_outputs_by_key(collection(), dtypes)
        ]
    )
    return tuple(
        functools.cache(lambda position=position: [tagged()[position]])
        for position in range(operation.num_outputs)
    )


@implements("CacheableCombinePerKeyFormatLarge")
def _format_large(interpreter: Interpreter, operation: Any, collection: Lazy) -> Lazy:
    text = tf.compat.as_str_any
    return each(collection, lambda item: (",".join(text(value) for value in item[1]), item[0]))


@implements("ScaleAndFlattenPerKeyBucketBouandaries")
def _flatten_boundaries(
    interpreter: Interpreter, operation: Any, collection: Lazy
) -> tuple[Lazy, ...]:
    joined = functools.cache(lambda: analyzer_impls._join_boundary_rows(collection()[0]))
    return tuple(
        functools.cache(lambda position=position: [joined()[position]])
        for position in range(operation.num_outputs)
    )
