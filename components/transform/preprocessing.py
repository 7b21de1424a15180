"""Loads a user's `preprocessing_fn`, and checks what it returns."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from millrace import modules
from millrace.errors import ModuleError, nearest

_DTYPES = (tf.float32, tf.int64, tf.string)


def load(
    module_file: str, label: str, custom_config: dict[str, Any]
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Returns the `preprocessing_fn` of a module, with errors in the user's terms.

    Raises:
        ModuleError: The module cannot be loaded, or has no such function.
    """
    function = modules.function(module_file, "preprocessing_fn")
    takes_config = "custom_config" in inspect.signature(function).parameters

    def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
        known = sorted(inputs)
        with modules.calling(module_file, "preprocessing_fn"):
            try:
                outputs = function(inputs, custom_config) if takes_config else function(inputs)
            except KeyError as error:
                name = str(error.args[0]) if error.args else ""
                raise ModuleError(
                    f"preprocessing_fn of {module_file} failed{modules.where(error, module_file)}:"
                    f' there is no column "{name}".{nearest(name, known)}'
                ) from error
        return checked(outputs, label, module_file)

    return preprocessing_fn


def checked(outputs: Any, label: str, module_file: str) -> dict[str, Any]:
    """Returns the outputs of a `preprocessing_fn` if TFT and Trainer can use them.

    Raises:
        ModuleError: They are not a dictionary of tensors, lack the label or features, or are of
            a type or shape that features cannot have.
    """
    who = f"preprocessing_fn of {module_file}"
    if not isinstance(outputs, dict):
        raise ModuleError(
            f"{who} must return a dictionary of tensors, and returned {type(outputs).__name__}."
        )
    if label not in outputs:
        raise ModuleError(
            f'{who} must return the label under its own name, "{label}", and returned'
            f" {', '.join(map(str, outputs)) or 'nothing'}.{nearest(label, map(str, outputs))}"
        )
    for name, tensor in outputs.items():
        if not isinstance(tensor, (tf.Tensor, tf.SparseTensor, tf.RaggedTensor)):
            raise ModuleError(
                f'{who} returned {type(tensor).__name__} as "{name}", which must be a tensor.'
            )
        if tensor.dtype not in _DTYPES:
            raise ModuleError(
                f'{who} returned "{name}" as {tensor.dtype.name}: tf.cast it to float32 or int64,'
                " or make it a string."
            )
        if isinstance(tensor, tf.Tensor) and not tensor.shape.rank:
            raise ModuleError(
                f'{who} returned "{name}" with the shape {tensor.shape}, which has no rows: its'
                " first dimension must be the batch."
            )
    if outputs[label].dtype == tf.string or not isinstance(outputs[label], tf.Tensor):
        raise ModuleError(
            f'{who} returned the label "{label}" as {_kind(outputs[label])}: return the index of'
            " its class as int64, or its value as float32, dense."
        )
    if outputs[label].shape[1:].num_elements() not in (1, None):
        raise ModuleError(
            f'{who} returned the label "{label}" with the shape {outputs[label].shape}: return one'
            " number a row, which is the index of the class, or the value."
        )
    if len(outputs) == 1:
        raise ModuleError(f'{who} returned the label "{label}" only, and no feature to learn from.')
    return outputs


def _kind(tensor: Any) -> str:
    kinds = {tf.SparseTensor: "sparse ", tf.RaggedTensor: "ragged "}
    return f"{kinds.get(type(tensor), '')}{tensor.dtype.name}"
