"""Makes smaller candidates of a float32 .tflite file with ai-edge-quantizer."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import OpResolverType
from ai_edge_quantizer import quantizer

from millrace.components.pusher import flatbuffer
from millrace.components.pusher.flatbuffer import GATHER, MIN_ELEMENTS, Weight
from millrace.components.pusher.interpreter import Rows, Runner, batches
from millrace.components.pusher.library_output import suppressed
from millrace.errors import ModelError
from millrace.ml.arrays import Array

FLOAT32, FLOAT16, DYNAMIC_RANGE, INT8 = "float32", "float16", "dynamic_range", "int8"
MEANING = {
    FLOAT32: "float32 throughout",
    FLOAT16: "weights of the network in float16, arithmetic in float32",
    DYNAMIC_RANGE: "weights of the network in int8, its activations quantised as they come",
    INT8: (
        "weights and activations of the network in int8, by ranges seen on rows of the train split "
        "(without one, of the split that is measured)"
    ),
}
# Rows of a batch when ranges are calibrated.
_BATCH = 256
_NOTHING = (
    f"the network has no dense, convolution or embedding layer of {MIN_ELEMENTS} weights or more"
)

_Ranges = dict[str, dict[str, Array]]


class Quantizer:
    """Makes candidates of one float32 file."""

    def __init__(self, float32: bytes, variables: Iterable[Array], rows: Rows) -> None:
        """Finds the weights that can be quantised.

        Args:
            float32: The file.
            variables: The values of the model's variables.
            rows: Raw rows by input, to calibrate the ranges of activations with.
        """
        self._float32, self._rows = float32, rows
        self._weights = flatbuffer.weights(flatbuffer.read(float32), variables)

    def make(self, name: str) -> bytes:
        """Returns a candidate, one of `MEANING`, as a .tflite file.

        Raises:
            ModelError: The model cannot be converted in this way.
        """
        if name == FLOAT32:
            return self._float32
        if not any(each.elements >= MIN_ELEMENTS for each in self._weights):
            raise ModelError(_NOTHING)
        if name == FLOAT16:
            return flatbuffer.halve_weights(self._float32, self._weights)
        return _quantize(self._float32, _recipe(self._weights, name == INT8), self._ranges)

    @functools.cached_property
    def _ranges(self) -> _Ranges:
        """Returns the minimum and maximum of the network's activations on some rows.

        ai-edge-quantizer could do so itself, but does not take text.
        """
        runner = Runner(
            self._float32,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        seen = {index: name for each in self._weights for index, name in each.seen.items()}
        ranges: _Ranges = {}
        for batch in batches(self._rows, _BATCH):
            runner.run(batch)
            for index, name in seen.items():
                _widen(ranges, name, runner.tensor(index))
        return ranges


def _recipe(weights: list[Weight], static: bool) -> list[dict[str, Any]]:
    """Returns ai-edge-quantizer's recipe, which quantises layers and large embeddings.

    Everything else stays in float32: raw numbers may span a wide range, of which 256 steps would
    tell few apart. The rows of an embedding are whole numbers times one scale, whatever
    goes in, so that this one rule serves both ways.
    """
    rules: dict[tuple[str, bool], list[str]] = {}
    for each in weights:
        if each.is_table and each.elements < MIN_ELEMENTS:
            continue
        with_ranges = each.operation == GATHER if each.is_table else static
        rules.setdefault((each.operation, with_ranges), []).append(re.escape(each.output))
    return [
        _rule(name, f"^(?:{'|'.join(outputs)});?$", with_ranges)
        for (name, with_ranges), outputs in rules.items()
    ]


def _rule(operation: str, outputs: str, with_ranges: bool) -> dict[str, Any]:
    int8 = {"num_bits": 8, "dtype": "INT"}
    settings: dict[str, Any] = {
        "weight_tensor_config": {**int8, "symmetric": True, "granularity": "CHANNELWISE"},
        "compute_precision": "INTEGER",
        "explicit_dequantize": False,
    }
    if with_ranges:
        activations = {**int8, "symmetric": False, "granularity": "TENSORWISE"}
        settings["activation_tensor_config"] = activations
    return {
        "regex": outputs,
        "operation": operation,
        "algorithm_key": "min_max_uniform_quantize",
        "op_config": settings,
    }


def _widen(ranges: _Ranges, name: str, values: Array) -> None:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return
    shape = (1,) * max(values.ndim, 1)
    low, high = (np.full(shape, limit, np.float32) for limit in (finite.min(), finite.max()))
    if name in ranges:
        low, high = np.minimum(low, ranges[name]["min"]), np.maximum(high, ranges[name]["max"])
    ranges[name] = {"min": low, "max": high}


def _quantize(float32: bytes, recipe: list[dict[str, Any]], ranges: _Ranges) -> bytes:
    try:
        with suppressed():
            made = quantizer.Quantizer(bytearray(float32), recipe)
            content = made.quantize(ranges).quantized_model
    except (ValueError, RuntimeError, KeyError, NotImplementedError) as error:
        raise ModelError(f"ai-edge-quantizer cannot convert it: {error}") from error
    return bytes(content)
