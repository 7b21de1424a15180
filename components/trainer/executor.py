"""Trainer: trains a model on transformed rows and exports it with its transform."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # so that a user's `tf.keras` is Keras 2 as well

import tensorflow as tf
import tf_keras

from millrace import modules
from millrace.artifacts import HTML, Examples, Input, Metrics, Model, Output, Schema, TransformGraph
from millrace.components.trainer import charts, default_model, fitting, user_code
from millrace.components.trainer.fitting import EVAL, TRAIN
from millrace.components.trainer.fn_args import DataAccessor, FnArgs
from millrace.data import examples as data
from millrace.data import schemas
from millrace.errors import DataError, ParameterError
from millrace.ml.problem import Problem
from millrace.report import page

logger = logging.getLogger(__name__)

_UNSHOWN_LAYERS = {"InputLayer", "Flatten", "TFOpLambda"}  # layers that the report leaves out
_SEEDS = 2**32  # accepted by numpy
EPOCHS = 10  # for a `run_fn`, if no number of steps is given


def run(
    transformed_examples: Input[Examples],
    transform_graph: Input[TransformGraph],
    schema: Input[Schema],
    model: Output[Model],
    metrics: Output[Metrics],
    report: Output[HTML],
    module_file: str = "",
    train_steps: int = 0,
    eval_steps: int = 0,
    batch_size: int = 512,
    seed: int = 1,
    custom_config: dict[str, Any] = {},
) -> None:
    """Runs the step; see `component.py` for the arguments."""
    _check(transformed_examples.path, train_steps, eval_steps, batch_size, seed)
    skip_keras()
    tf_keras.backend.clear_session()  # so that layers have the same names in every run
    tf_keras.utils.set_random_seed(seed)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        fn_args = FnArgs(
            train_files=[str(path) for path in data.shards(transformed_examples.path, TRAIN)],
            eval_files=[str(path) for path in data.shards(transformed_examples.path, EVAL)],
            train_steps=train_steps,
            eval_steps=eval_steps,
            batch_size=batch_size,
            seed=seed,
            transform_output=str(transform_graph.path),
            schema_path=str(schema.path / schemas.FILE),
            serving_model_dir=str(model.path),
            model_run_dir=scratch,
            custom_config=custom_config,
            problem=Problem.load(transform_graph.path),
            data_accessor=DataAccessor(seed),
        )
        fn_args.eval_steps = eval_steps or fn_args.rows(EVAL).steps(batch_size)
        trained = _train(fn_args, module_file)
    seconds = time.perf_counter() - started
    logger.info("trained and exported in %.1f s", seconds)

    values = {
        name: value for name, value in trained.curves.at_best().items() if math.isfinite(value)
    }
    metrics.metadata |= {
        **values,
        "steps": trained.curves.steps,
        "parameters": trained.parameters,
        "seconds": round(seconds, 2),
    }
    model.metadata |= {
        "problem": fn_args.problem.kind.value,
        "label": fn_args.problem.label,
        "framework": "tf_keras",
        "seed": seed,
        **values,
    }
    report.path.write_text(
        page.render(
            Path(__file__).with_name("report.html.j2"),
            fn_args=fn_args,
            trained=trained,
            charts=charts.charts(trained.curves),
            values=values,
            module_file=module_file,
        ),
        encoding="utf-8",
    )


def skip_keras() -> None:
    """Adds Keras 2 to the packages that AutoGraph does not convert.

    TensorFlow has a list of these with `keras` in it. Keras 2 is now `tf_keras`, which the list of
    TensorFlow 2.16 lacks (that of 2.21 has it). Without it, AutoGraph spends about 12 s before the
    first training step on code that needs no conversion.
    """
    from tensorflow.python.autograph.core import config

    rule = config.DoNotConvert("tf_keras")
    if not any(getattr(known, "_prefix", "") == "tf_keras" for known in config.CONVERSION_RULES):
        config.CONVERSION_RULES = (rule, *config.CONVERSION_RULES)


class Layer(NamedTuple):
    """A layer of a network, as the report shows it."""

    name: str
    kind: str
    shape: str
    parameters: int


@dataclasses.dataclass(frozen=True)
class Trained:
    """The result of the training.

    Attributes:
        curves: Losses and metrics by step.
        parameters: The number of trained weights; 0 if a `run_fn` does not return its model.
        layers: The layers; none in that case.
    """

    curves: fitting.Curves
    parameters: int = 0
    layers: Sequence[Layer] = ()


def _train(fn_args: FnArgs, module_file: str) -> Trained:
    """Trains and exports a model, with the user's `run_fn` if there is one."""
    if not module_file:
        keras_model = default_model.build_model(fn_args)
        curves = fitting.fit(keras_model, fn_args, fn_args.train_steps)
    else:
        name, function = modules.named_function(module_file, "run_fn", "build_model")
        if name == "run_fn":
            if not fn_args.train_steps:
                fn_args.train_steps = EPOCHS * fn_args.rows(TRAIN).steps(fn_args.batch_size)
            history = user_code.run(function, fn_args, module_file)
            return Trained(fitting.Curves.of_history(history, fn_args.train_steps))
        keras_model = user_code.build(function, fn_args, module_file)
        with modules.calling(module_file, "training the model", (ValueError, tf.errors.OpError)):
            curves = fitting.fit(keras_model, fn_args, fn_args.train_steps)
        user_code.check_outputs(keras_model, fn_args, module_file)
    fn_args.export(keras_model)
    layers = [
        Layer(layer.name, type(layer).__name__, _shape(layer), _parameters(layer.weights))
        for layer in keras_model.layers
        if layer.weights or type(layer).__name__ not in _UNSHOWN_LAYERS
    ]
    return Trained(curves, _parameters(keras_model.weights), layers)


def _parameters(weights: Sequence[tf.Variable]) -> int:
    return sum(int(weight.shape.num_elements()) for weight in weights)


def _shape(layer: tf_keras.layers.Layer) -> str:
    try:
        return str(layer.output_shape)
    except (AttributeError, RuntimeError):
        return ""  # Keras does not keep it for layers within a subclass of Model


def _check(root: Path, train_steps: int, eval_steps: int, batch_size: int, seed: int) -> None:
    for name, value, least in (
        ("train_steps", train_steps, 0),
        ("eval_steps", eval_steps, 0),
        ("batch_size", batch_size, 1),
    ):
        if value < least:
            raise ParameterError(f'"{name}" must be {least} or more, and is {value}.')
    if not 0 <= seed < _SEEDS:
        raise ParameterError(f'"seed" must be from 0 to {_SEEDS - 1}, and is {seed}.')
    known = data.splits(root)
    for split in (TRAIN, EVAL):
        if split not in known:
            raise DataError(
                f'Training needs the splits "{TRAIN}" and "{EVAL}", and the examples have'
                f" {', '.join(known) or 'none'}: set `splits` of ExampleGen."
            )
        if not data.num_rows(root, split):
            raise DataError(f'The split "{split}" has no rows.')
