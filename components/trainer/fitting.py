"""Trains a Keras model, for a number of steps or with early stopping."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from millrace import progress
from millrace.components.trainer import export
from millrace.components.trainer.fn_args import FnArgs
from millrace.components.trainer.rows import Rows
from millrace.errors import ModelError
from millrace.ml.arrays import Array

logger = logging.getLogger(__name__)

TRAIN, EVAL = "train", "eval"
POINTS = 20  # points of the training curve, if the number of steps is given
CHECKS = 4  # points on the eval split among them
ROUND = (10, 500)  # fewest and most steps between two evaluations, if it is not
ROUNDS = 100
PATIENCE = 8  # rounds without a better loss before training stops
SLOWER_AFTER = 3  # rounds without a better loss before the learning rate falls
SLOWER = 0.3
LARGE = 100  # a feature with larger values is named when training diverges
CHECK_STEPS = 200  # the most batches in an evaluation


@dataclasses.dataclass
class Curves:
    """The training curves: (step, value) by metric, on each split.

    Attributes:
        train: Means over the steps since the previous point.
        eval: Values at the step.
        best_step: The step of the final weights.
        steps: The number of steps.
        chosen: Whether the loss on the eval split chose when to stop and which weights to keep.
    """

    train: dict[str, list[tuple[int, float]]] = dataclasses.field(default_factory=dict)
    eval: dict[str, list[tuple[int, float]]] = dataclasses.field(default_factory=dict)
    best_step: int = 0
    steps: int = 0
    chosen: bool = False

    def add(self, split: str, step: int, values: Mapping[str, float]) -> None:
        """Adds a point to the curves of a split, replacing one at the same step."""
        curves = self.train if split == TRAIN else self.eval
        for name, value in values.items():
            kept = [point for point in curves.get(name, []) if point[0] != step]
            curves[name] = sorted([*kept, (step, float(value))])

    def at_best(self) -> dict[str, float]:
        """Returns the values at the best step, by split and metric."""
        return {
            f"{split}_{name}": value
            for split, curves in ((TRAIN, self.train), (EVAL, self.eval))
            for name, points in curves.items()
            for step, value in points
            if step == self.best_step
        }

    @classmethod
    def of_history(cls, history: Mapping[str, Sequence[float]], steps: int) -> Curves:
        """Converts a Keras history: a list for each metric, `val_` for the eval split."""
        curves = cls(best_step=steps, steps=steps)
        for name, values in history.items():
            split = curves.eval if name.startswith("val_") else curves.train
            split[name.removeprefix("val_")] = [
                (round(steps * number / len(values)), float(value))
                for number, value in enumerate(values, start=1)
            ]
        return curves


def fit(model: tf_keras.Model, fn_args: FnArgs, steps: int) -> Curves:
    """Trains a compiled model.

    Args:
        model: The model, which ends with the weights to keep.
        fn_args: The data.
        steps: How many batches to train on. With 0, training continues until the loss on the eval
            split stops falling, and ends with the best weights.

    Raises:
        ModelError: The loss is not a finite number.
    """
    features = export.inputs(model, fn_args.features)
    batches = fn_args.train_dataset(features)
    rows = fn_args.rows(EVAL, features)
    check = _evaluation(rows, fn_args, min(fn_args.eval_steps, CHECK_STEPS))
    if steps:
        callback = _Recorder(fn_args, check, max(1, steps // POINTS), -(-steps // CHECKS), steps)
        round_, rounds = steps, 1
    else:
        epoch = fn_args.rows(TRAIN, features).steps(fn_args.batch_size)
        round_, rounds = min(max(epoch, ROUND[0]), ROUND[1]), ROUNDS
        callback = _EarlyStopping(fn_args, check, round_, round_, round_ * rounds)
    if hasattr(model.optimizer, "build"):  # otherwise the first step would be traced twice
        model.optimizer.build(model.trainable_variables)
    with _traced_once(model):
        model.fit(batches, steps_per_epoch=round_, epochs=rounds, callbacks=[callback], verbose=0)
    callback.finish()
    if fn_args.eval_steps > CHECK_STEPS:
        final = model.evaluate(
            _evaluation(rows, fn_args, fn_args.eval_steps), return_dict=True, verbose=0
        )
        callback.curves.add(EVAL, callback.curves.best_step, final)
    return callback.curves


@contextlib.contextmanager
def _traced_once(model: tf_keras.Model) -> Iterator[None]:
    """Makes functions of a model's steps, which are traced once wherever they are called.

    AutoGraph goes through the body of Keras' loop over steps twice, the first time only to learn
    what it returns.
    """
    before = dict(vars(model))
    if not model.run_eagerly:
        for step in ("train_step", "test_step"):
            vars(model)[step] = tf.function(getattr(model, step))
    try:
        yield
    finally:
        for step in ("train_step", "test_step"):
            vars(model).pop(step, None)
            if step in before:
                vars(model)[step] = before[step]


def _evaluation(rows: Rows, fn_args: FnArgs, steps: int) -> tf.data.Dataset:
    """Returns batches of the eval split: all, or always the same sample."""
    part = steps < rows.steps(fn_args.batch_size)
    return rows.dataset(fn_args.batch_size, shuffle=part, epochs=1, steps=steps)


class _Recorder(tf_keras.callbacks.Callback):  # type: ignore[misc]
    """Records losses and metrics during training."""

    def __init__(
        self, fn_args: FnArgs, check: tf.data.Dataset, point: int, check_every: int, steps: int
    ) -> None:
        super().__init__()
        self.curves = Curves()
        self._fn_args = fn_args
        self._check = check
        self._point = point
        self._check_every = check_every
        self._steps = steps
        self._before = 0  # steps of earlier epochs

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds a point to the curve when it is due."""
        logs = {name: float(value) for name, value in (logs or {}).items()}
        last, step = self.curves.steps, self._before + batch + 1
        self.curves.steps = step
        if not math.isfinite(logs.get("loss", 0.0)):
            raise ModelError(_diverged(step, self._fn_args))
        self.report(step, logs)
        if step // self._point > last // self._point or step == self._steps:
            self.curves.add(TRAIN, step, logs)
            self.model.reset_metrics()
        if step // self._check_every > last // self._check_every or step == self._steps:
            self.check()

    def report(self, step: int, logs: Mapping[str, float]) -> None:
        """Reports how far the training is."""
        progress.report(step, self._steps, "steps", **_loss(logs))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts the steps."""
        self._before = self.curves.steps

    def check(self) -> dict[str, float]:
        """Evaluates the model."""
        measured: dict[str, float] = self.model.evaluate(self._check, return_dict=True, verbose=0)
        self.model.reset_metrics()
        self.curves.add(EVAL, self.curves.steps, measured)
        values = ", ".join(f"{name} {value:.4f}" for name, value in measured.items())
        logger.info("step %d of %d: %s on the eval split", self.curves.steps, self._steps, values)
        return measured

    def finish(self) -> None:
        """Sets the best step: the last one."""
        self.curves.best_step = self.curves.steps


class _EarlyStopping(_Recorder):
    """Stops when the loss on the eval split no longer falls, and restores the best weights."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._lowest = math.inf
        self._weights: list[Array] = []
        self._waited = 0
        self._best_step = 0

    def report(self, step: int, logs: Mapping[str, float]) -> None:
        """Reports how far the training is; when it stops is not known."""
        progress.report(step / self._point, unit="epochs", **_loss(logs))

    def check(self) -> dict[str, float]:
        """Evaluates the model, and decides whether to go on and with which learning rate."""
        measured = super().check()
        if measured["loss"] < self._lowest:
            self._lowest, self._waited = measured["loss"], 0
            self._weights, self._best_step = self.model.get_weights(), self.curves.steps
            return measured
        self._waited += 1
        rate = self.model.optimizer.learning_rate
        if self._waited % SLOWER_AFTER == 0 and hasattr(rate, "assign"):
            rate.assign(rate * SLOWER)
        self.model.stop_training = self._waited >= PATIENCE
        return measured

    def finish(self) -> None:
        """Restores the weights with the lowest loss.

        Raises:
            ModelError: The loss on the eval split was never a finite number.
        """
        if not self._weights:
            features, _ = next(iter(self._check))
            raise ModelError(
                "The loss on the eval split was not a finite number in any evaluation, so training"
                f" cannot tell when to stop. {_hint(features)}"
            )
        self.model.set_weights(self._weights)
        self.curves.best_step, self.curves.chosen = self._best_step, True


def _loss(logs: Mapping[str, float]) -> dict[str, float]:
    return {"loss": logs["loss"]} if "loss" in logs else {}


def _diverged(step: int, fn_args: FnArgs) -> str:
    """Returns the message for a loss on the train split that is not finite."""
    features, _ = next(iter(fn_args.train_dataset()))
    return f"The loss is no longer a finite number at step {step}. {_hint(features)}"


def _hint(features: Mapping[str, tf.Tensor]) -> str:
    """Returns advice on a loss that is not finite, from a batch of features."""
    numbers = {
        name: values.numpy() for name, values in features.items() if values.dtype.is_floating
    }
    broken = [name for name, values in numbers.items() if not np.isfinite(values).all()]
    large = [name for name, values in numbers.items() if np.abs(values).max() > LARGE]
    if broken:
        return f"These features hold NaN or infinite values: {', '.join(broken)}."
    if large:
        return f"Scale these features, which hold large values: {', '.join(large)}."
    return "Lower the learning rate."
