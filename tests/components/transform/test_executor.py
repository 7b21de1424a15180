"""Transform's artifacts, with a module and without one."""

from __future__ import annotations

import html
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from millrace.data import examples
from millrace.ml.problem import Kind, Problem
from millrace.storage import digest

# Transforms rows in a separate process, and prints its peak memory.
ALONE = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import conftest
examples, schema, root = map(Path, sys.argv[2:])
conftest.transform(conftest.Rows(examples, schema), root)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""

MODULE = """
import tensorflow as tf
import tensorflow_transform as tft

def preprocessing_fn(inputs, custom_config):
    text = tft.compute_and_apply_vocabulary(inputs["text"], vocab_filename="words")
    return {
        "number_z": tft.scale_to_z_score(inputs["number"]) * custom_config["times"],
        "pair": tf.concat([inputs["number"], tf.cast(inputs["whole"], tf.float32)], 1),
        "words": tf.squeeze(text, 1),
        "seldom": tft.scale_to_0_1(inputs["optional number"]),
        "label": tf.cast(tf.equal(inputs["label"], "yes"), tf.int64),
    }
"""


@pytest.fixture(scope="module")
def by_module(rows, helpers, tmp_path_factory):
    root = tmp_path_factory.mktemp("by_module")
    (root / "mine.py").write_text(MODULE)
    return helpers.transform(
        rows, root, module_file=str(root / "mine.py"), custom_config={"times": 2.0}
    )


def test_problem_lies_beside_the_graph(by_default) -> None:
    posed = Problem.load(by_default.graph.path)
    assert posed == Problem("label", Kind.BINARY, ("no", "yes"))


def test_tft_loads_the_graph(by_default, rows) -> None:
    output = tft.TFTransformOutput(str(by_default.graph.path))
    raw = pa.Table.from_batches(examples.read(rows.examples, "eval"))
    features = output.transform_features_layer()(
        {
            "number": tf.constant(raw["number"].to_numpy().reshape(-1, 1), tf.float32),
            **{
                name: tf.constant(raw[name].to_numpy().reshape(-1, 1))
                for name in ("whole", "level", "text", "many", "label")
            },
            **{name: _sparse(raw[name]) for name in raw.column_names if raw[name].null_count},
        }
    )
    written = by_default.split("eval")
    assert sorted(features) == sorted(written.column_names)
    for name, values in features.items():
        np.testing.assert_array_equal(values.numpy()[:, 0], written[name].to_numpy())
    assert sorted(output.raw_feature_spec()) == sorted(raw.column_names)


def _sparse(column: pa.ChunkedArray) -> tf.SparseTensor:
    present = np.flatnonzero(column.is_valid().to_numpy())
    values = column.drop_null()
    kind = tf.float32 if pa.types.is_floating(values.type) else None
    return tf.SparseTensor(
        np.stack([present, np.zeros_like(present)], 1),
        tf.constant(values.to_numpy(), kind),
        [len(column), 1],
    )


def test_every_row_is_transformed_in_its_order(by_default, rows) -> None:
    for split, number in (("train", 3000), ("eval", 1000)):
        raw = pa.Table.from_batches(examples.read(rows.examples, split, ["label"]))
        features = by_default.split(split)
        assert features.num_rows == number
        expected = np.array(raw["label"].to_pylist()) == "yes"
        np.testing.assert_array_equal(features["label"].to_numpy(), expected)


def test_features_are_plain_numbers(by_default) -> None:
    schema = by_default.split("train").schema
    assert {str(field.type) for field in schema} == {"float", "int64"}
    assert schema.names == [
        "grosse",
        "label",
        "level",
        "level_level",
        "many",
        "number",
        "optional_level",
        "optional_level_level",
        "optional_level_missing",
        "optional_number",
        "optional_number_missing",
        "optional_whole",
        "optional_whole_missing",
        "text",
        "whole",
    ]


def test_metadata_has_rows_and_the_problem(by_default) -> None:
    features = len(by_default.split("train").column_names) - 1
    assert by_default.examples.metadata == {
        "splits": ["eval", "train"],
        "split_rows": {"eval": 1000, "train": 3000},
        "rows": 4000,
        "features": features,
    }
    assert by_default.graph.metadata == {
        "problem": "binary",
        "label": "label",
        "features": features,
        "engine": "local",
    }


def test_module_makes_the_features(by_module, helpers) -> None:
    features = by_module.split("train")
    # A list's items are named by the version of pyarrow that wrote them.
    kinds = {field.name: str(field.type).replace("element", "item") for field in features.schema}
    assert kinds == {
        "label": "int64",
        "number_z": "float",
        "pair": "fixed_size_list<item: float>[2]",
        "seldom": "list<item: float>",
        "words": "int64",
    }
    z = features["number_z"].to_numpy() / 2
    assert abs(z.mean()) < 1e-5
    assert abs(z.std() - 1) < 1e-3
    missing = [value == [] for value in features["seldom"].to_pylist()]
    assert missing == helpers.table()["optional number"].is_null().to_pylist()


def test_sources_say_which_columns_a_feature_is_made_of(by_default, by_module) -> None:
    def sources(transformed) -> dict[str, list[str]]:
        return json.loads((transformed.graph.path / "sources.json").read_text("utf-8"))

    assert sources(by_module)["pair"] == ["number", "whole"]
    assert sources(by_module)["label"] == ["label"]
    assert sources(by_default)["grosse"] == ["größe"]


def test_report_shows_features_and_classes(by_default, by_module) -> None:
    for word in ("grosse", "größe", "category of", "4,000"):
        assert word in by_default.report
    assert "mine.py" in by_module.report
    assert "2 × number" in by_module.report
    for page in (by_default.report, by_module.report):
        assert "http" not in page
        assert "<script" not in page


@pytest.mark.parametrize("by_module", [False, True])
def test_a_leak_is_named_with_what_to_do(helpers, tmp_path, by_module) -> None:
    label = np.arange(60) % 2
    table = pa.table({"copy": label + 3, "x": np.arange(60) / 7, "label": label})
    rows = helpers.write(tmp_path, {"train": table, "eval": table})
    module = tmp_path / "mine.py"
    module.write_text("def preprocessing_fn(inputs):\n    return inputs\n")
    made = helpers.transform(rows, tmp_path / "out", module_file=str(module) if by_module else "")
    (warning,) = (text for text in made.graph.metadata["warning_texts"] if "copy" in text)
    assert "so in all 60 rows" in warning
    assert 'SELECT * EXCLUDE ("copy") FROM data' in warning
    assert warning in html.unescape(made.report)


def test_warnings_are_counted_and_on_the_page(helpers, tmp_path, caplog) -> None:
    rng = np.random.default_rng(0)
    twice = np.tile(np.arange(300), 2)
    table = pa.table({
        "order_id": np.arange(600),
        "time": [f"2026-01-{1 + row // 24:02d} {row % 24:02d}:00:00" for row in range(600)],
        "x": rng.normal(size=300)[twice],
        "z": rng.normal(size=300)[twice],
        "label": np.where(np.arange(600) % 300 < 297, "ok", "fraud"),
    })  # fmt: skip
    evaluated = pa.array((np.arange(600) % 7 == 2) | (np.arange(600) % 7 == 3))
    parts = {"train": table.filter(pc.invert(evaluated)), "eval": table.filter(evaluated)}
    made = helpers.transform(helpers.write(tmp_path, parts), tmp_path / "out")
    assert made.graph.metadata["warnings"] == len(made.graph.metadata["warning_texts"]) == 2
    for words in ("'fraud' in 3 of eval, 3 of train", 'but for "order_id", "time"'):
        assert words in caplog.text
        assert words in html.unescape(made.report)


@pytest.mark.parametrize(("offset", "warned"), [(1.6e9, True), (1.6e5, False)])
def test_a_label_that_float32_rounds_is_warned_of(
    helpers, tmp_path, caplog, offset, warned
) -> None:
    values = np.random.default_rng(0).normal(size=300)
    table = pa.table({"x": values, "label": offset + 100 * values})
    rows = helpers.write(tmp_path, {"train": table, "eval": table})
    page = helpers.transform(rows, tmp_path / "out").report
    message = 'label "label" is learned and predicted in steps of 128, which is what float32 has at'
    assert (message in caplog.text) == warned
    assert ("steps of 128" in page) == warned
    assert ("- 1599999700 AS" in page) == warned


def test_a_label_that_is_zero_but_in_a_few_rows_is_not_coarse(helpers, tmp_path, caplog) -> None:
    label = np.zeros(10_000)
    label[[1, 4097, 9999]] = 100, 50, 20  # not among the rows that the picture is drawn from
    table = pa.table({"x": np.arange(10_000) % 7 / 3, "label": label})
    rows = helpers.write(tmp_path, {"train": table, "eval": table}, batch_rows=10_000)
    page = helpers.transform(rows, tmp_path / "out", problem="regression").report
    assert "is learned and predicted in steps of" not in caplog.text
    assert "predicted in steps of" not in page


def test_a_label_far_from_zero_may_be_a_decimal_number(helpers, tmp_path) -> None:
    label = 0.1 + 1e-7 * np.random.default_rng(0).random(300)
    table = pa.table({"x": np.arange(300) % 7 / 3, "label": label})
    rows = helpers.write(tmp_path, {"train": table, "eval": table})
    page = helpers.transform(rows, tmp_path / "out").report
    assert "- 0.1 AS" in page


def test_a_long_name_and_a_category_of_rare_values(helpers, tmp_path) -> None:
    values = [f"value {number // 2}" for number in range(300)]
    table = pa.table({"long " * 60: values, "label": [0, 1, 1] * 100})
    rows = helpers.write(tmp_path, {"train": table, "eval": table})
    transformed = helpers.transform(rows, tmp_path / "out")
    assert transformed.graph.metadata["features"] == 1
    assert "every value is rare" in transformed.report
    assert '<td class="name"><b>long_long_' in transformed.report  # is broken into lines


def test_statistics_are_learned_from_the_splits_to_analyze(rows, helpers, tmp_path) -> None:
    both = helpers.transform(rows, tmp_path, analyze_splits=["train", "eval"])
    numbers = np.concatenate(
        [both.split(split)["number"].to_numpy() for split in ("train", "eval")]
    )
    assert abs(numbers.mean()) < 1e-5
    assert abs(numbers.std() - 1) < 1e-3


def alone(rows, root: Path) -> int:
    command = [sys.executable, "-c", ALONE, Path(__file__).parent, rows.examples, rows.schema, root]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout)


@pytest.mark.slow
def test_same_rows_give_the_same_bytes(rows, tmp_path: Path) -> None:
    found = []
    for name in ("first", "second"):
        root = tmp_path / name
        root.mkdir()
        alone(rows, root)
        found.append([digest.of(root / part) for part in ("graph", "transformed")])
    assert found[0] == found[1]


def test_what_only_beam_can_do_runs_on_beam(rows, helpers, tmp_path) -> None:
    (tmp_path / "mine.py").write_text(
        "import apache_beam as beam, tensorflow as tf, tensorflow_transform as tft\n"
        "def preprocessing_fn(inputs):\n"
        "    number = inputs['number']\n"
        "    (rows,) = tft.experimental.ptransform_analyzer(\n"
        "        [number], beam.combiners.Count.Globally(), [tf.int64], [[]])\n"
        "    batches = tf.zeros_like(number) + tf.cast(rows, tf.float32)\n"
        "    label = tf.cast(tf.equal(inputs['label'], 'yes'), tf.int64)\n"
        "    return {'batches': batches, 'label': label}\n"
    )
    transformed = helpers.transform(rows, tmp_path, module_file=str(tmp_path / "mine.py"))
    assert transformed.graph.metadata["engine"] == "Beam"
    batches = set(transformed.split("eval")["batches"].to_pylist())
    assert len(batches) == 1
    assert batches.pop() > 0
    sources = json.loads((transformed.graph.path / "sources.json").read_text())
    assert sources == {"label": ["label"], "batches": ["number"]}


@pytest.mark.slow
def test_wide_tables_stay_small(helpers, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    columns = {f"n{number}": rng.normal(size=60) for number in range(150)}
    wide = pa.table({**columns, "label": np.arange(60) % 2})
    rows = helpers.write(tmp_path / "rows", {"train": wide, "eval": wide})
    transformed = helpers.transform(rows, tmp_path / "out")
    assert transformed.graph.metadata["features"] == 150
    assert len(transformed.report) < 300_000


@pytest.mark.slow
def test_ten_times_the_rows_take_no_more_memory(helpers, tmp_path: Path) -> None:
    peaks = []
    for times in (2, 20):
        root = tmp_path / str(times)
        large = pa.concat_tables([helpers.table(20_000, seed) for seed in range(times)])
        splits = {"train": large, "eval": helpers.table(1000)}
        peaks.append(alone(helpers.write(root, splits, batch_rows=20_000), root))
        shutil.rmtree(root)
    assert peaks[1] < 1.3 * peaks[0], peaks
