"""Runs a .tflite file on raw rows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from millrace.errors import ModelError
from millrace.ml.arrays import Array
from millrace.ml.exported import SIGNATURE

Rows = Mapping[str, Array]

_BATCH = 1024


class Runner:
    """A .tflite file, loaded to run in one thread.

    Attributes:
        inputs: The index of each input's tensor, by name.
    """

    def __init__(self, content: bytes, **options: Any) -> None:
        """Loads a file; `options` are the interpreter's own."""
        self._interpreter = Interpreter(model_content=content, num_threads=1, **options)
        signature = self._interpreter.get_signature_runner(SIGNATURE)
        self.inputs = {name: each["index"] for name, each in signature.get_input_details().items()}
        self._output = signature.get_output_details()["outputs"]["index"]
        self._size = 0

    def run(self, rows: Rows) -> float:
        """Runs the model on some rows, and returns the seconds, without those for copies."""
        size = len(next(iter(rows.values())))
        try:
            if size != self._size:
                for index in self.inputs.values():
                    self._interpreter.resize_tensor_input(index, [size, 1])
                self._interpreter.allocate_tensors()
                self._size = size
            for name, index in self.inputs.items():
                self._interpreter.set_tensor(index, rows[name])
            begin = time.perf_counter()
            self._interpreter.invoke()
            return time.perf_counter() - begin
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"TFLite cannot run it: {str(error).strip()}") from error

    def tensor(self, index: int) -> Array:
        """Returns the value of a tensor after the last run."""
        values: Array = self._interpreter.get_tensor(index)
        return values

    def predict(self, rows: Rows) -> tuple[Array, float]:
        """Returns the predictions for any number of rows, and the seconds they took."""
        parts, seconds = [], 0.0
        for batch in batches(rows, _BATCH):
            seconds += self.run(batch)
            parts.append(self.tensor(self._output))
        return np.concatenate(parts), seconds


def batches(rows: Rows, size: int) -> Iterator[dict[str, Array]]:
    """Yields rows in batches."""
    total = len(next(iter(rows.values())))
    for begin in range(0, total, size):
        yield {name: values[begin : begin + size] for name, values in rows.items()}
