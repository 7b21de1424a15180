"""Each mistake ends Transform with one clear error, and nothing else."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from millrace.data import schemas
from millrace.entrypoint import coerce
from millrace.errors import DataError, MillraceError, ModuleError, ParameterError

IMPORTS = "import tensorflow as tf\nimport tensorflow_transform as tft\n"
LABEL = "tf.cast(tf.equal(inputs['label'], 'yes'), tf.int64)"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def preprocessing_fn(inputs):\n  return {\n", "mine.py, line"),
        ("import nothing_of_that_name\n", 'there is no module "nothing_of_that_name"'),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        (
            "def preprocesing_fn(inputs):\n  return inputs\n",
            'must define preprocessing_fn(…), and does not. Did you mean "preprocesing_fn"?',
        ),
        (
            "def preprocessing_fn(inputs):\n  return {'x': inputs['nubmer']}\n",
            "failed in line 4 (return {'x': inputs['nubmer']}): there is no column \"nubmer\". Did"
            ' you mean "number"?',
        ),
        (
            "def preprocessing_fn(inputs):\n  x = 1\n  return tf.matmul(x, x)\n",
            "failed in line 5 (return tf.matmul(x, x)): ",
        ),
        (
            "def preprocessing_fn(inputs):\n  return [1]\n",
            "must return a dictionary of tensors, and returned list.",
        ),
        (
            "def preprocessing_fn(inputs):\n  return None\n",
            "must return a dictionary of tensors, and returned NoneType.",
        ),
        (
            "def preprocessing_fn(inputs):\n  return {}\n",
            'must return the label under its own name, "label", and returned nothing.',
        ),
        (
            "def preprocessing_fn(inputs):\n  return {'x': inputs['number']}\n",
            'must return the label under its own name, "label", and returned x.',
        ),
        (
            f"def preprocessing_fn(inputs):\n  return {{'label_xf': {LABEL}}}\n",
            'Did you mean "label_xf"?',
        ),
        (
            f"def preprocessing_fn(inputs):\n  return {{'label': {LABEL}}}\n",
            'returned the label "label" only, and no feature to learn from.',
        ),
        (
            f"def preprocessing_fn(inputs):\n  return {{'x': 1.0, 'label': {LABEL}}}\n",
            'returned float as "x", which must be a tensor.',
        ),
        (
            "def preprocessing_fn(inputs):\n"
            f"  return {{'x': inputs['number'] > 1, 'label': {LABEL}}}\n",
            'returned "x" as bool: tf.cast it to float32 or int64, or make it a string.',
        ),
        (
            "def preprocessing_fn(inputs):\n"
            f"  return {{'x': tft.mean(inputs['number']), 'label': {LABEL}}}\n",
            'returned "x" with the shape (), which has no rows',
        ),
        (
            "def preprocessing_fn(inputs):\n"
            "  return {'x': inputs['number'], 'label': inputs['label']}\n",
            'returned the label "label" as string: return the index of its class',
        ),
        (
            "def preprocessing_fn(inputs):\n"
            f"  return {{'x': inputs['number'], 'label': {LABEL} + 1}}\n",
            "take that for 1. Return the index of the class in their sorted order: tf.argmax(tf."
            'cast(tf.equal(tf.reshape(inputs["label"], [-1, 1]), [["no", "yes"]]), tf.int32),'
            " axis=1).",
        ),
        (
            "def preprocessing_fn(inputs):\n"
            f"  label = tf.cast({LABEL}, tf.float32)\n"
            "  return {'x': inputs['number'], 'label': 1.0 / label}\n",
            "makes inf of the label \"label\" where it is 'no'",
        ),
        (
            "def preprocessing_fn(inputs):\n"
            "  label = tft.compute_and_apply_vocabulary(inputs['label'])\n"
            "  return {'x': inputs['number'], 'label': label}\n",
            "makes 0 of the label \"label\" where it is 'yes'",
        ),
        (
            "def preprocessing_fn(inputs):\n"
            f"  return {{'x': inputs['number'], 'label': tf.one_hot({LABEL}[:, 0], 2)}}\n",
            'returned the label "label" with the shape (None, 2): return one number a row',
        ),
        (
            "def preprocessing_fn(inputs):\n"
            f"  label = {LABEL}\n"
            "  return {'x': inputs['number'] * tf.cast(label, tf.float32), 'label': label}\n",
            'computes "x" from the label "label", which is not known when the model is asked',
        ),
        (
            "def preprocessing_fn(inputs):\n"
            f"  return {{'x': inputs['number'][:10], 'label': {LABEL}}}\n",
            'preprocessing_fn returned 10 rows of "x" for',
        ),
        (
            "def preprocessing_fn(inputs):\n"
            "  x = tf.sparse.expand_dims(inputs['optional number'], 1)\n"
            f"  return {{'x': x, 'label': {LABEL}}}\n",
            'returned "x" sparse or ragged in more than two dimensions: return it dense.',
        ),
    ],
)
def test_modules(rows, helpers, tmp_path, source: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(IMPORTS + source)
    with pytest.raises(ModuleError) as raised:
        helpers.transform(rows, tmp_path / "out", module_file=str(tmp_path / "mine.py"))
    assert message in str(raised.value)


def test_a_quantity_stays_as_it_is(helpers, tmp_path) -> None:
    table = pa.table({"x": [1.0, 2.5] * 20, "label": [200_000.1, 300_000.2] * 20})
    rows = helpers.write(tmp_path, {"train": table, "eval": table})
    module = tmp_path / "mine.py"
    made = IMPORTS + "def preprocessing_fn(inputs):\n  return {'x': inputs['x'], 'label': %s}\n"
    module.write_text(made % "inputs['label'] / 1000.0 * 1000.0")
    helpers.transform(rows, tmp_path / "out", module_file=str(module))
    module.write_text(made % "tf.math.log(inputs['label'])")
    with pytest.raises(ModuleError) as raised:
        helpers.transform(rows, tmp_path / "out", module_file=str(module))
    assert str(raised.value).endswith(
        'makes 12.2061 of the label "label" where it is 200000.1, and the steps that measure the'
        ' model take that for 200000. Return inputs["label"] as it is. To learn it in another unit,'
        " let the model end with a Rescaling layer, or compute the column with ExampleGen's query."
    )


def test_module_that_is_not_there(rows, helpers, tmp_path) -> None:
    with pytest.raises(ModuleError, match=r"There is no file /no/where\.py"):
        helpers.transform(rows, tmp_path, module_file="/no/where.py")
    with pytest.raises(ModuleError, match=r'Cannot import "no\.where"'):
        helpers.transform(rows, tmp_path, module_file="no.where")


def test_errors_inside_the_graph_name_the_module(rows, helpers, tmp_path) -> None:
    (tmp_path / "mine.py").write_text(
        IMPORTS + "def preprocessing_fn(inputs):\n"
        "  x = tf.debugging.assert_less(inputs['number'], 0.0, message='too large')\n"
        "  with tf.control_dependencies([x]):\n"
        f"    return {{'x': tf.identity(inputs['number']), 'label': {LABEL}}}\n"
    )
    with pytest.raises(ModuleError, match="too large"):
        helpers.transform(rows, tmp_path / "out", module_file=str(tmp_path / "mine.py"))


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"label": "lable"}, ParameterError, 'no column "lable" to predict. Did you mean "label"'),
        ({"label": "price"}, ParameterError, 'column "price" to predict. There are "'),
        ({"problem": "ranking"}, ParameterError, 'problem "ranking" is not one of auto, binary'),
        ({"problem": "regression"}, ParameterError, "is text, 'no', 'yes', so the problem cannot"),
        ({"analyze_splits": []}, ParameterError, "must name a split to learn from: eval, train"),
        (
            {"analyze_splits": ["trian"]},
            ParameterError,
            'names "trian", and the examples have eval, train. Did you mean "train"?',
        ),
    ],
)
def test_parameters(rows, helpers, tmp_path, parameters: dict, error: type, message: str) -> None:
    with pytest.raises(error) as raised:
        helpers.transform(rows, tmp_path, **parameters)
    assert message in str(raised.value)


@pytest.mark.parametrize("value", ["{}", [1], 3])
def test_custom_config_of_another_type(value: Any) -> None:
    with pytest.raises(ParameterError, match='"custom_config" must be dict, and is'):
        coerce("custom_config", value, dict[str, Any])


def test_no_feature_left(helpers, tmp_path) -> None:
    table = pa.table({
        "constant": [1] * 300,
        "empty": pa.nulls(300, pa.string()),
        "uuid": [f"{number:x}" for number in range(300)],
        "label": ["no", "yes"] * 150,
    })  # fmt: skip
    rows = helpers.write(tmp_path / "rows", {"train": table, "eval": table})
    with pytest.raises(DataError) as raised:
        helpers.transform(rows, tmp_path / "out")
    assert str(raised.value) == (
        'No column is left to learn from. "constant": it is 1 in every row; "empty": it has no'
        ' values; "uuid": it looks like an identifier: nearly every row has a text of its own.'
        " Write a preprocessing_fn that makes features of them."
    )


def test_columns_that_are_not_what_the_schema_says(helpers, tmp_path) -> None:
    table = pa.table({"x": [1.5, 2.5, 3.5] * 4, "label": [0, 1] * 6})
    missing = pa.table({"x": [1.5, None, 2.5] * 4, "label": [0, 1] * 6})
    rows = helpers.write(tmp_path / "rows", {"train": table, "eval": missing})
    schemas.save(rows.schema, helpers.schema_of(table))
    with pytest.raises(DataError, match='"x" is missing in 4 of 12 rows, and the schema requires'):
        helpers.transform(rows, tmp_path / "missing")
    text = helpers.schema_of(table)
    text.feature[0].type = 1  # BYTES
    rows = helpers.write(tmp_path / "numbers", {"train": table, "eval": table})
    schemas.save(rows.schema, text)
    with pytest.raises(MillraceError, match='"x" is double, and the schema says BYTES'):
        helpers.transform(rows, tmp_path / "text")
