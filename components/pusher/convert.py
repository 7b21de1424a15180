"""Converts an exported model to one TFLite file of built-in operations, raw columns included."""

from __future__ import annotations

import re
import tempfile

import tensorflow as tf

from millrace.components.pusher.flatbuffer import number_tables
from millrace.components.pusher.library_output import suppressed
from millrace.components.pusher.rewrite import Rewritten, rewrite
from millrace.errors import ModelError
from millrace.ml.exported import SIGNATURE, ExportedModel

_MISSING = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op")


def to_float32(model: ExportedModel) -> bytes:
    """Returns the model as a .tflite file with float32 weights.

    Raises:
        ModelError: The model needs an operation that TFLite does not have.
    """
    rewritten = rewrite(model.signature, model.output)
    with tempfile.TemporaryDirectory(prefix="millrace-") as scratch, suppressed():
        folder = f"{scratch}/model"
        _save(rewritten, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            content: bytes = converter.convert()
        except Exception as error:  # the converter raises its own class, and plain ValueErrors
            raise ModelError(_explain(error)) from error
    return number_tables(content)


def _save(rewritten: Rewritten, folder: str) -> None:
    """Writes a SavedModel in TensorFlow 1's format.

    TensorFlow 2's format has three functions for each table, which take longer to trace than
    everything else.
    """
    with rewritten.graph.as_default(), tf.compat.v1.Session() as session:
        signature = tf.compat.v1.saved_model.predict_signature_def(
            rewritten.inputs, {"outputs": rewritten.output}
        )
        builder = tf.compat.v1.saved_model.Builder(folder)
        builder.add_meta_graph_and_variables(
            session,
            [tf.saved_model.SERVING],
            {SIGNATURE: signature},
            main_op=rewritten.initializer,
        )
        builder.save()


def _explain(error: Exception) -> str:
    message = str(error)
    missing = sorted(
        set(re.findall(r"'tf\.(\w+)' op is neither a custom op nor a flex op", message))
    )
    if missing:
        return (
            f"The model computes {', '.join(missing)}, which TFLite cannot. "
            "Use other operations in `preprocessing_fn` or in the network."
        )
    lines = message.strip().splitlines() or [type(error).__name__]
    return f"TensorFlow's converter to TFLite failed: {lines[0]}"
