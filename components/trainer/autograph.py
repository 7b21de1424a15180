"""Keeps AutoGraph from converting Keras."""

from __future__ import annotations


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
