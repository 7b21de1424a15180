"""Features of a flight that are known before it departs."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

LABEL = "late"
NUMBERS = ("month", "day", "sched_dep_time", "sched_arr_time", "distance", "hour", "minute")
TIMES = ("sched_dep_time", "sched_arr_time")
CATEGORIES = ("carrier", "origin", "dest", "tailnum")
BUCKETS = 24


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """Returns z-scores, bucketised times, and vocabulary indices with one for unknown values."""
    outputs = {LABEL: inputs[LABEL]}
    for name in NUMBERS:
        outputs[f"{name}_xf"] = tft.scale_to_z_score(tf.cast(inputs[name], tf.float32))
    for name in TIMES:
        outputs[f"{name}_bk"] = tft.bucketize(tf.cast(inputs[name], tf.float32), BUCKETS)
    for name in CATEGORIES:
        outputs[f"{name}_xf"] = tft.compute_and_apply_vocabulary(
            inputs[name], num_oov_buckets=1, vocab_filename=name
        )
    return outputs
