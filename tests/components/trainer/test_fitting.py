"""When training stops, and with which weights."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from millrace.components.trainer import fitting
from millrace.components.trainer.charts import charts
from millrace.components.trainer.fitting import Curves
from millrace.errors import ModelError


class Playing(fitting._EarlyStopping):
    """Early stopping with given losses on the eval split."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__(None, None, 1, 1, len(losses))
        self.model = types.SimpleNamespace(
            evaluate=lambda *_, **__: {"loss": losses[self.curves.steps - 1]},
            get_weights=lambda: [np.array([self.curves.steps])],
            set_weights=self.take,
            reset_metrics=lambda: None,
            stop_training=False,
            optimizer=tf_keras.optimizers.SGD(1.0),
        )
        self.weights: Any = None

    def take(self, weights: list[np.ndarray]) -> None:
        self.weights = weights

    def play(self, steps: int) -> None:
        for step in range(steps):
            if self.model.stop_training:
                break
            self.on_train_batch_end(step, {"loss": 1.0})
        self.finish()


def test_it_goes_back_to_the_lowest_loss() -> None:
    losses = [5.0, 4.0, 3.0, 2.0] + [2.5] * 50
    player = Playing(losses)
    player.play(50)
    assert player.curves.steps == 4 + fitting.PATIENCE
    assert player.curves.best_step == 4
    assert player.weights[0].tolist() == [4]
    assert player.curves.at_best() == {"train_loss": 1.0, "eval_loss": 2.0}


def test_steps_get_shorter_when_it_does_not_help() -> None:
    player = Playing([1.0] + [2.0] * 50)
    player.play(1 + fitting.SLOWER_AFTER)
    assert float(player.model.optimizer.learning_rate.numpy()) == pytest.approx(fitting.SLOWER)


def test_it_ends_with_the_best_even_if_it_never_stops() -> None:
    player = Playing([3.0, 1.0, 2.0])
    player.play(3)
    assert player.curves.best_step == 2
    assert player.weights[0].tolist() == [2]


@pytest.mark.parametrize("value", [0.5, float("inf")])
def test_an_eval_loss_that_is_never_finite(value: float) -> None:
    player = Playing([float("nan")] * 50)
    player._check = [({"x": tf.constant([[value]])}, tf.constant([[1.0]]))]
    advice = "Lower the learning rate" if value == 0.5 else "These features hold NaN .*: x"
    with pytest.raises(ModelError, match=f"eval split was not a finite number .* {advice}"):
        player.play(50)
    assert player.curves.steps == fitting.PATIENCE
    assert player.weights is None


def test_history_becomes_curves() -> None:
    history = {"loss": [3.0, 2.0], "val_loss": [4.0, 1.0], "auc": [0.5, 0.6]}
    curves = Curves.of_history(history, steps=100)
    assert curves.train == {"loss": [(50, 3.0), (100, 2.0)], "auc": [(50, 0.5), (100, 0.6)]}
    assert curves.eval == {"loss": [(50, 4.0), (100, 1.0)]}
    assert curves.at_best() == {"train_loss": 2.0, "eval_loss": 1.0, "train_auc": 0.6}


def test_charts_leave_out_what_cannot_be_drawn() -> None:
    nan, infinity = float("nan"), float("inf")
    curves = Curves(
        train={"auc": [(10, 0.5), (20, nan), (30, 0.7)], "f1": [(10, nan)], "loss": [(10, 1.0)]},
        eval={"loss": [(20, 1.5), (30, infinity)], "f1": [(20, nan)]},
        steps=30,
    )
    loss, auc = charts(curves)
    assert [loss.name, auc.name] == ["loss", "auc"]
    assert [name for name, _, _ in loss.series] == ["train", "eval"]
    assert loss.y_range == (1.0, 1.5)
    assert auc.series[0][2] == [(10, 0.5), (30, 0.7)]
    assert auc.x_range == (0, 30)


def test_autograph_leaves_keras_alone() -> None:
    from tensorflow.python.autograph.impl import conversion

    from millrace.components.trainer.executor import skip_keras

    skip_keras()
    skip_keras()
    assert conversion.is_allowlisted(tf_keras.layers.Dense.call)
    assert not conversion.is_allowlisted(test_history_becomes_curves)
    assert tf.__version__


@pytest.mark.parametrize(("eagerly", "calls"), [(False, 1), (True, 8)])
def test_a_training_step_is_traced_once(eagerly: bool, calls: int) -> None:
    class Counting(tf_keras.Sequential):  # type: ignore[misc]
        calls = 0

        def train_step(self, data: Any) -> Any:
            Counting.calls += 1
            return super().train_step(data)

    model = Counting([tf_keras.layers.Dense(1, input_shape=(2,))])
    metrics = [tf_keras.metrics.MeanAbsoluteError()]
    model.compile("sgd", "mse", metrics, steps_per_execution=4, run_eagerly=eagerly)
    model.optimizer.build(model.trainable_variables)
    with fitting._traced_once(model):
        model.fit(np.ones((32, 2)), np.ones(32), batch_size=4, verbose=0)
    assert Counting.calls == calls
    assert "train_step" not in vars(model)
