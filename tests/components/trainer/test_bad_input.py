"""Each mistake ends Trainer with one clear error, and nothing else."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow as pa
import pytest

from millrace.errors import DataError, ModelError, ModuleError, ParameterError

HEAD = """
import tf_keras
from tf_keras import layers

def model_of(name="number", units=1, activation="sigmoid", loss="binary_crossentropy", rate=0.01):
    inputs = {name: tf_keras.Input((1,), name="x")}
    model = tf_keras.Model(inputs, layers.Dense(units, activation)(inputs[name]))
    model.compile(tf_keras.optimizers.SGD(rate), loss)
    return model

"""


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def build_model(args:\n", "mine.py, line"),
        ("def biuld_model(args): pass\n", "must define run_fn(…) or build_model(…), and does not"),
        ("def build_model(): pass\n", "build_model of"),
        (
            "def build_model(args):\n  return args.hyperparameters\n",
            "failed in line 12 (return args.hyperparameters): AttributeError: 'FnArgs' object",
        ),
        ("def build_model(args):\n  return 3\n", "must return a tf_keras.Model, and returned"),
        (
            "import keras\ndef build_model(args):\n  return keras.Sequential()\n",
            "That is Keras 3: import tf_keras, or set TF_USE_LEGACY_KERAS=1.",
        ),
        (
            "def build_model(args):\n  i = tf_keras.Input((1,))\n  return tf_keras.Model(i, i)\n",
            "must return a compiled model: call model.compile(…).",
        ),
        (
            "def build_model(args):\n  return model_of('nubmer')\n",
            'takes "nubmer", and the transform makes Amount, Amount_missing, grosse, level_no,'
            ' level_no_level, number. Did you mean "number"?',
        ),
        (
            "def build_model(args):\n  return model_of(units=2)\n",
            "training the model of",
        ),
        (
            "def build_model(args):\n"
            "  return model_of(units=3, activation='softmax',"
            " loss='sparse_categorical_crossentropy')\n",
            "returns (512, 3), and a binary problem needs one tensor of shape [rows, 1].",
        ),
        (
            "def build_model(args):\n  return model_of(activation=None, loss='mse')\n",
            "which are not probabilities: end it with sigmoid.",
        ),
        (
            "def build_model(args):\n"
            "  inputs = {'level_no_level': tf_keras.Input((1,), name='x', dtype='int64')}\n"
            "  small = layers.Flatten()(layers.Embedding(2, 2)(inputs['level_no_level']))\n"
            "  model = tf_keras.Model(inputs, layers.Dense(1, 'sigmoid')(small))\n"
            "  model.compile('adam', 'binary_crossentropy')\n"
            "  return model\n",
            "is not in [0, 2)",
        ),
        (
            "def run_fn(args):\n  pass\n",
            "left no SavedModel at fn_args.serving_model_dir: end it with fn_args.export(model).",
        ),
        (
            "import tensorflow as tf\n"
            "def run_fn(args):\n"
            "  tf.saved_model.save(tf.Module(), args.serving_model_dir)\n",
            "saved a model without the signature raw_features, serving_default: save it with"
            " fn_args.export(model).",
        ),
        (
            "def run_fn(args):\n  raise RuntimeError('no luck')\n",
            "run_fn of",
        ),
    ],
)
def test_modules(prepared, helpers, tmp_path, source: str, message: str) -> None:
    with pytest.raises(ModuleError) as raised:
        helpers.train(prepared["binary"], tmp_path, HEAD + source, train_steps=20)
    assert message in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"train_steps": -1}, '"train_steps" must be 0 or more, and is -1.'),
        ({"eval_steps": -5}, '"eval_steps" must be 0 or more, and is -5.'),
        ({"seed": -1}, '"seed" must be from 0 to 4294967295, and is -1.'),
        ({"seed": 2**32}, '"seed" must be from 0 to 4294967295, and is 4294967296.'),
        ({"batch_size": 0}, '"batch_size" must be 1 or more, and is 0.'),
    ],
)
def test_parameters(prepared, helpers, tmp_path, parameters: dict, message: str) -> None:
    with pytest.raises(ParameterError) as raised:
        helpers.train(prepared["binary"], tmp_path, **parameters)
    assert str(raised.value) == message


def test_no_eval_split(helpers, tmp_path) -> None:
    rows = helpers.table("binary", 200, 1)
    prepared = helpers.prepare(tmp_path, {"train": rows, "test": rows})
    with pytest.raises(DataError) as raised:
        helpers.train(prepared, tmp_path)
    assert str(raised.value) == (
        'Training needs the splits "train" and "eval", and the examples have test, train: set'
        " `splits` of ExampleGen."
    )


def test_a_split_without_rows(prepared, helpers, tmp_path) -> None:
    from millrace.data import examples

    transformed = tmp_path / "transformed"
    shutil.copytree(prepared["binary"].transformed, transformed)
    shutil.rmtree(transformed / "Split-eval")
    with examples.SplitWriter(transformed, "eval", examples.schema(transformed, "train")):
        pass
    rows = helpers.Prepared(**{**vars(prepared["binary"]), "transformed": transformed})
    with pytest.raises(DataError, match='The split "eval" has no rows'):
        helpers.train(rows, tmp_path)


FEATURES = """
import tensorflow as tf
def preprocessing_fn(inputs):
    return {
        "huge": inputs["number"] * 1e20,
        "label": tf.cast(tf.equal(inputs["label"], "yes"), tf.int64),
    }
"""


@pytest.mark.parametrize(
    ("factor", "hint"),
    [
        ("1e20", "Scale these features, which hold large values: huge."),
        ("float('inf')", "These features hold NaN or infinite values: huge."),
    ],
)
def test_loss_that_is_no_number(helpers, tmp_path, factor: str, hint: str) -> None:
    rows = {"train": helpers.table("binary", 300, 1), "eval": helpers.table("binary", 100, 2)}
    prepared = helpers.prepare(tmp_path, rows, FEATURES.replace("1e20", factor))
    build = (
        HEAD + "def build_model(args):\n  return model_of('huge', activation=None, loss='mse')\n"
    )
    with pytest.raises(ModelError) as raised:
        helpers.train(prepared, tmp_path / "model", build, train_steps=20)
    assert "The loss is no longer a finite number at step" in str(raised.value)
    assert str(raised.value).endswith(hint)


def test_loss_that_grows_beyond_all_numbers(prepared, helpers, tmp_path) -> None:
    build = (
        HEAD + "def build_model(args):\n  return model_of(activation=None, loss='mse', rate=50)\n"
    )
    with pytest.raises(ModelError, match=r"Lower the learning rate\.$"):
        helpers.train(prepared["binary"], tmp_path, build, train_steps=400)


def test_sparse_and_text_features(helpers, tmp_path) -> None:
    rows = {"train": helpers.table("binary", 200, 1), "eval": helpers.table("binary", 100, 2)}
    sparse = FEATURES.replace('inputs["number"] * 1e20', 'inputs["Amount (€)"]')
    prepared = helpers.prepare(tmp_path / "sparse", rows, sparse)
    with pytest.raises(ModuleError, match='feature "huge" is sparse'):
        helpers.train(prepared, tmp_path / "model")
    text = FEATURES.replace('inputs["number"] * 1e20', 'tf.strings.as_string(inputs["number"])')
    prepared = helpers.prepare(tmp_path / "text", rows, text)
    with pytest.raises(ModuleError, match='feature "huge" is text'):
        helpers.train(prepared, tmp_path / "model")


def test_features_of_lists_cannot_be_served(helpers, tmp_path) -> None:
    from tensorflow_metadata.proto.v0 import schema_pb2

    from millrace.data import schemas

    rows = helpers.table("binary", 200, 1)
    pairs = pa.array(np.arange(400.0).reshape(200, 2).tolist(), pa.list_(pa.float64()))
    rows = rows.append_column("pair", pairs)
    module = FEATURES.replace('inputs["number"] * 1e20', 'inputs["pair"] / 400.0')
    original = helpers.schema_of

    def schema_of(table: pa.Table) -> schema_pb2.Schema:
        schema = original(table.drop(["pair"]))
        feature = schema.feature.add(name="pair", type=schema_pb2.FLOAT)
        feature.presence.min_fraction = 1.0
        feature.shape.dim.add(size=2)
        return schema

    helpers.schema_of = schema_of
    try:
        prepared = helpers.prepare(tmp_path, {"train": rows, "eval": rows}, module)
    finally:
        helpers.schema_of = original
    assert schemas.load(prepared.schema).feature[-1].name == "pair"
    with pytest.raises(ModelError, match='"huge" is made of the column "pair", which holds lists'):
        helpers.train(prepared, tmp_path / "model", train_steps=2)
