"""Calls a user's `build_model` or `run_fn`, and checks the result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras

from millrace import modules
from millrace.components.trainer import export
from millrace.components.trainer.fn_args import FnArgs
from millrace.errors import ModuleError, nearest
from millrace.ml.problem import Kind

SIGNATURES = ("serving_default", "raw_features")


def build(function: Callable[[FnArgs], Any], fn_args: FnArgs, module_file: str) -> tf_keras.Model:
    """Returns the model that `build_model` makes.

    Raises:
        ModuleError: It fails, or returns anything but a compiled Keras 2 model of known features.
    """
    with modules.calling(module_file, "build_model"):
        model = function(fn_args)
    if not isinstance(model, tf_keras.Model):
        hint = ""
        if type(model).__module__.startswith("keras."):
            hint = " That is Keras 3: import tf_keras, or set TF_USE_LEGACY_KERAS=1."
        raise ModuleError(
            f"build_model of {module_file} must return a tf_keras.Model, and returned"
            f" {type(model).__module__}.{type(model).__name__}.{hint}"
        )
    if model.optimizer is None:
        raise ModuleError(
            f"build_model of {module_file} must return a compiled model: call model.compile(…)."
        )
    for name in export.inputs(model, fn_args.features):
        if name not in fn_args.features:
            raise ModuleError(
                f'The model of {module_file} takes "{name}", and the transform makes'
                f" {', '.join(fn_args.features)}.{nearest(name, fn_args.features)}"
            )
    return model


def check_outputs(model: tf_keras.Model, fn_args: FnArgs, module_file: str) -> None:
    """Checks a trained model's predictions against its kind of problem.

    Raises:
        ModuleError: They have another shape, or are not probabilities.
    """
    problem = fn_args.problem
    features, _ = next(iter(fn_args.eval_dataset(export.inputs(model, fn_args.features))))
    outputs = model(features, training=False)
    wanted = len(problem.classes) if problem.kind is Kind.MULTICLASS else 1
    shape = outputs.shape if isinstance(outputs, tf.Tensor) else type(outputs).__name__
    if not isinstance(outputs, tf.Tensor) or outputs.shape.rank != 2 or outputs.shape[1] != wanted:
        raise ModuleError(
            f"The model of {module_file} returns {shape}, and a {problem.kind.value} problem needs"
            f" one tensor of shape [rows, {wanted}]."
        )
    if problem.kind is Kind.REGRESSION:
        return
    low, high = float(tf.reduce_min(outputs)), float(tf.reduce_max(outputs))
    if low < 0 or high > 1:
        end = "sigmoid" if problem.kind is Kind.BINARY else "softmax"
        raise ModuleError(
            f"The model of {module_file} returns values from {low:.3g} to {high:.3g}, which are not"
            f" probabilities: end it with {end}."
        )


def run(
    function: Callable[[FnArgs], Any], fn_args: FnArgs, module_file: str
) -> dict[str, list[float]]:
    """Calls `run_fn` and returns the history of the training, if it returns one.

    Raises:
        ModuleError: It fails, or writes no SavedModel with the signatures that later steps call.
    """
    with modules.calling(module_file, "run_fn"):
        returned = function(fn_args)
    folder = Path(fn_args.serving_model_dir)
    if not (folder / "saved_model.pb").is_file():
        raise ModuleError(
            f"run_fn of {module_file} left no SavedModel at fn_args.serving_model_dir: end it with"
            " fn_args.export(model)."
        )
    lacking = sorted(set(SIGNATURES) - set(_signatures(folder)))
    if lacking:
        raise ModuleError(
            f"run_fn of {module_file} saved a model without the signature {', '.join(lacking)}:"
            " save it with fn_args.export(model)."
        )
    history = getattr(returned, "history", returned)
    return history if isinstance(history, dict) else {}


def _signatures(folder: Path) -> list[str]:
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    return [name for graph in saved.meta_graphs for name in graph.signature_def]
