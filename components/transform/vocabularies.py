"""Implements TFT's vocabularies for the interpreter.

A vocabulary is a list of (frequency, token), or of ((informativeness, frequency), token), until it
is written.
"""

from __future__ import annotations

import collections
import functools
import hashlib
import heapq
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_transform import analyzers, tf_utils
from tensorflow_transform.beam import analyzer_impls

from millrace.components.transform.interpreter import (
    Columns,
    Interpreter,
    Lazy,
    Unsupported,
    each,
    implements,
)
from millrace.ml.arrays import Array

_Ordering = analyzers._VocabOrderingType
_INFORMATIVE = (_Ordering.MUTUAL_INFORMATION, _Ordering.WEIGHTED_MUTUAL_INFORMATION)
# The sentinels for the total over all tokens.
_ALL_TOKENS = (tf_utils.GLOBAL_Y_COUNT_SENTINEL_STRING, tf_utils.GLOBAL_Y_COUNT_SENTINEL_INT)


@implements("VocabularyAccumulate")
def _accumulate_tokens(interpreter: Interpreter, operation: Any, columns: Columns) -> Lazy:
    ordering = operation.vocab_ordering_type
    if ordering == _Ordering.FREQUENCY:
        accumulated = columns.fold(collections.Counter, _count)
    elif ordering == _Ordering.WEIGHTED_FREQUENCY:
        accumulated = columns.fold(collections.Counter, _weigh)
    elif ordering in _INFORMATIVE:
        weighted = ordering == _Ordering.WEIGHTED_MUTUAL_INFORMATION
        combiner = analyzer_impls._WeightedMeanCombineFn((None,), compute_weighted=weighted)
        accumulated = columns.fold(dict, functools.partial(_relate, combiner, weighted))
    else:
        raise Unsupported("a vocabulary ordered by labelled weights")
    return functools.cache(lambda: list(accumulated().items()))


def _count(counts: collections.Counter[Any], batch: tuple[Array, ...]) -> Any:
    (tokens,) = batch
    counts.update(tokens.tolist())
    return counts


def _weigh(counts: collections.Counter[Any], batch: tuple[Array, ...]) -> Any:
    tokens, weights = batch
    for token, weight in zip(tokens.tolist(), weights.tolist(), strict=True):
        counts[token] += weight
    return counts


def _relate(combiner: Any, weighted: bool, means: dict[Any, Any], batch: Any) -> dict[Any, Any]:
    """Adds the mean of the labels by token."""
    for token, mean in analyzer_impls._flatten_to_key_and_means_accumulator_list(batch, weighted):
        state = means[token] if token in means else combiner.create_accumulator()
        means[token] = combiner.add_input(state, mean)
    return means


@implements("VocabularyMerge")
def _merge_tokens(interpreter: Interpreter, operation: Any, collection: Lazy) -> Lazy:
    if operation.vocab_ordering_type in _INFORMATIVE:
        return functools.cache(lambda: _informativeness(operation, dict(collection())))
    return each(collection, lambda item: (item[1], item[0]))


def _informativeness(operation: Any, means: dict[Any, Any]) -> list[tuple[Any, Any]]:
    """Returns the mutual information of each token with the label, and its frequency."""
    sentinels = [means.pop(sentinel, None) for sentinel in _ALL_TOKENS]
    overall = next(mean for mean in sentinels if mean is not None)
    least = operation.min_diff_from_avg
    if least is None:
        least = analyzers.calculate_recommended_min_diff_from_avg(overall.count * overall.weight)
    result = []
    for item in means.items():
        token, (information, _, frequency) = (
            analyzer_impls._calculate_mutual_information_for_feature_value(
                item, overall, operation.use_adjusted_mutual_info, least
            )
        )
        result.append(((information, frequency), token))
    return result


@implements("VocabularyCount")
def _size(interpreter: Interpreter, operation: Any, collection: Lazy) -> Lazy:
    # An empty vocabulary is written with one dummy token.
    return functools.cache(lambda: [np.int64(max(len(collection()), 1))])


@implements("VocabularyPrune")
def _prune(interpreter: Interpreter, operation: Any, collection: Lazy) -> Lazy:
    def prune() -> list[tuple[Any, Any]]:
        kept = _above(
            collection(), operation.frequency_threshold, operation.informativeness_threshold
        )
        if operation.input_dtype != tf.string.name:
            kept = [(count, tf.compat.as_bytes(str(token))) for count, token in kept]
        if operation.top_k is not None:
            kept = heapq.nlargest(operation.top_k, kept)
        return _add_coverage(kept, operation, collection()) if operation.key_fn else kept

    return functools.cache(prune)


def _above(counts: list[Any], frequency: float, informativeness: float) -> list[tuple[Any, Any]]:
    """Returns the tokens that reach both thresholds, with the number that they are ordered by."""
    kept = []
    for count, token in counts:
        first, times = count if isinstance(count, tuple) else (count, count)
        if times >= (frequency or 0) and (first >= informativeness or not isinstance(count, tuple)):
            kept.append((first, token))
    return kept


def _add_coverage(kept: list[Any], operation: Any, counts: list[Any]) -> list[tuple[Any, Any]]:
    """Adds the first tokens of every key, so that each is covered."""
    by_key = collections.defaultdict(list)
    for item in _above(
        counts,
        operation.coverage_frequency_threshold,
        operation.coverage_informativeness_threshold,
    ):
        by_key[operation.key_fn(item[1])].append(item)
    covered = [
        item
        for items in by_key.values()
        for item in heapq.nlargest(operation.coverage_top_k, items)
    ]
    return list(dict.fromkeys([*kept, *covered]))


@implements("ExtractVocabularyReservedTokens")
def _reserved_tokens(interpreter: Interpreter, operation: Any) -> Lazy:
    return functools.cache(
        lambda: [tf_utils.fetch_vocabulary_reserved_tokens(interpreter.graph, operation.name)]
    )


@implements("VocabularyOrderAndWrite")
def _write(
    interpreter: Interpreter, operation: Any, collection: Lazy, reserved: Lazy | None = None
) -> Lazy:
    def write() -> list[Array]:
        first = list(reserved()[0]) if reserved else []
        taken = set(first)
        counts = [tuple(item) for item in collection() if item[1] not in taken]
        if operation.fingerprint_shuffle:
            counts.sort(key=lambda item: hashlib.sha1(item[1]).digest())  # noqa: S324 - as TFT does
        elif not operation.input_is_sorted or taken:
            counts.sort(reverse=True)
        counts = analyzer_impls.maybe_add_empty_vocabulary_dummy(
            [(-1, token) for token in first] + counts, operation.input_dtype
        )
        path = interpreter.folder / operation.vocab_filename
        lines = (
            analyzer_impls._count_and_token_to_bytes(*item)
            if operation.store_frequency
            else item[1]
            for item in counts
        )
        return [np.array(_write_lines(path, lines, operation.file_format))]

    return functools.cache(write)


def _write_lines(path: Path, lines: Iterable[bytes], file_format: str) -> str:
    if file_format == "tfrecord_gzip":
        name = f"{path}.tfrecord.gz"
        with tf.io.TFRecordWriter(name, "GZIP") as records:
            for line in lines:
                records.write(line)
        return name
    with path.open("wb") as file:
        file.writelines(line + b"\n" for line in lines)
    return str(path)
