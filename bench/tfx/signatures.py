"""Serving signatures of the exported model."""

import json, os
import tensorflow as tf


def signatures(m, tfo, label):
    m.tft_serve, m.tft_eval = tfo.transform_features_layer(), tfo.transform_features_layer()
    sig = [tf.TensorSpec([None], tf.string, name="examples")]
    names = set(m.input.keys()) if isinstance(m.input, dict) else {t.name for t in m.inputs}

    @tf.function(input_signature=sig)
    def serve(x):
        spec = tfo.raw_feature_spec()
        spec.pop(label)
        f = m.tft_serve(tf.io.parse_example(x, spec))
        return {"outputs": m({k: _col(f[k]) for k in names})}

    @tf.function(input_signature=sig)
    def feats(x):
        return m.tft_eval(tf.io.parse_example(x, tfo.raw_feature_spec()))

    return {"serving_default": serve, "transform_features": feats}


def _col(t):
    return tf.expand_dims(t, -1) if t.shape.rank == 1 else t


def log_history(h, m):
    p = os.environ.get("TFX_HISTORY")
    if p:
        json.dump(
            {"params": int(m.count_params()), **{k: v[-1] for k, v in h.history.items()}},
            open(p, "w"),
        )
