"""The schema is the one that TFX would infer, and TensorFlow's libraries read it."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2

from millrace.artifacts import HTML, Schema
from millrace.components.schema_gen.executor import run
from millrace.data import schemas
from millrace.errors import DataError, ParameterError
from millrace.storage import digest

ROWS = 200


@pytest.fixture
def infer(tmp_path):
    runs = iter(range(10**6))

    def infer(statistics, **parameters) -> Schema:
        folder = tmp_path / f"schema-{next(runs)}"
        folder.mkdir()
        schema = Schema(str(folder / "schema"))
        run(statistics, schema, HTML(str(folder / "report.html")), **parameters)
        return schema

    return infer


def table(**columns) -> pa.Table:
    every = {
        "whole": list(range(ROWS)),
        "decimal": [n / 7 for n in range(ROWS)],
        "colour": ["red", "green"] * (ROWS // 2),
        "gaps": [None if n % 4 else n for n in range(ROWS)],
        "flag": [n % 2 for n in range(ROWS)],
        "words": [f"w{n}" for n in range(ROWS)],
    }
    return pa.table(every | columns)


def features(schema: Schema) -> dict[str, schema_pb2.Feature]:
    return {feature.name: feature for feature in schemas.load(schema.path).feature}


def page(schema: Schema) -> str:
    return (schema.path.parent / "report.html").read_text()


def test_tfdv_loads_it_and_finds_no_anomaly(describe, infer):
    statistics = describe(train=table(), eval=table(colour=["blue", "red"] * (ROWS // 2)))
    schema = infer(statistics)
    loaded = tfdv.load_schema_text(str(schema.path / "schema.pbtxt"))
    for split in ("train", "eval"):
        path = statistics.path / f"Split-{split}" / "FeatureStats.pb"
        found = tfdv.validate_statistics(tfdv.load_stats_binary(str(path)), loaded)
        assert not found.anomaly_info
    (domain,) = [one for one in loaded.string_domain if one.name == "colour"]
    assert list(domain.value) == ["blue", "green", "red"]


def test_it_is_what_tfdv_infers_but_for_floats(describe, infer):
    statistics = describe(train=table())
    path = str(statistics.path / "Split-train" / "FeatureStats.pb")
    expected = tfdv.infer_schema(tfdv.load_stats_binary(path), infer_feature_shape=True)
    actual = schemas.load(infer(statistics).path)
    for feature in actual.feature:
        feature.ClearField("float_domain")
    assert actual == expected


def test_required_columns_are_dense_and_others_sparse(describe, infer):
    schema = infer(describe(train=table(), eval=table(whole=[None, *range(1, ROWS)])))
    found = features(schema)
    assert [dim.size for dim in found["decimal"].shape.dim] == [1]
    assert not found["gaps"].HasField("shape")
    assert not found["whole"].HasField("shape")
    assert schema.metadata == {"features": 6, "required": 4, "ignored": [], "curated": False}


def test_tft_makes_the_tensors_of_the_contract(describe, infer):
    import tensorflow as tf
    from tensorflow_transform.tf_metadata import schema_utils

    schema = schemas.load(infer(describe(train=table(empty=pa.nulls(ROWS, pa.string())))).path)
    spec = schema_utils.schema_as_feature_spec(schema).feature_spec
    assert spec == {
        "whole": tf.io.FixedLenFeature([1], tf.int64),
        "decimal": tf.io.FixedLenFeature([1], tf.float32),
        "colour": tf.io.FixedLenFeature([1], tf.string),
        "gaps": tf.io.VarLenFeature(tf.int64),
        "flag": tf.io.FixedLenFeature([1], tf.int64),
        "words": tf.io.FixedLenFeature([1], tf.string),
    }


def test_without_shapes(describe, infer):
    found = features(infer(describe(train=table()), infer_feature_shape=False))
    assert not any(feature.HasField("shape") for feature in found.values())


def test_the_size_of_domains_is_limited(describe, infer):
    assert features(infer(describe(train=table())))["colour"].domain == "colour"
    limited = features(infer(describe(train=table()), max_string_domain_size=1))
    assert not limited["colour"].domain
    with pytest.raises(ParameterError, match=r'^"max_string_domain_size" is -1: give 0 or more.$'):
        infer(describe(train=table()), max_string_domain_size=-1)


def test_a_column_without_values_is_kept_and_marked(describe, infer):
    empty = {"empty": pa.nulls(ROWS, pa.string()), "none": pa.nulls(ROWS, pa.float64())}
    partly = {**empty, "none": pa.array([1.0] * ROWS)}
    statistics = describe(train=table(**empty), eval=table(**partly))
    schema = infer(statistics)
    assert schema.metadata["ignored"] == ["empty"]
    for split in ("train", "eval"):
        path = str(statistics.path / f"Split-{split}" / "FeatureStats.pb")
        loaded = tfdv.load_stats_binary(path)
        assert not tfdv.validate_statistics(loaded, schemas.load(schema.path)).anomaly_info
    found = features(schema)
    assert found["empty"].lifecycle_stage == schema_pb2.PLANNED
    assert schemas.ignored(found["empty"])
    assert not schemas.ignored(found["none"])
    assert re.search(r"No values:</span> empty\. Later steps leave this column out", page(schema))


def test_single_values_are_found_whichever_split_comes_first(describe, infer):
    some = [None, "a", "b"] * (ROWS // 2)
    full = {"text": pa.array(some[:ROWS]), "lists": pa.array([["a"], ["a", "b"]] * (ROWS // 2))}
    none = {name: pa.nulls(ROWS, column.type) for name, column in full.items()}
    for first, second in ((full, none), (none, full)):
        found = features(infer(describe(a=table(**first), b=table(**second))))
        assert (found["text"].value_count.min, found["text"].value_count.max) == (1, 1)
        assert found["lists"].value_count.max == 0


def test_a_split_without_rows_says_nothing(describe, infer):
    alone = features(infer(describe(train=table())))
    statistics = describe(train=table(), eval=table().slice(0, 0))
    assert features(infer(statistics)) == alone
    with pytest.raises(DataError, match=r"^There are no rows in eval to infer a schema from.$"):
        infer(statistics, exclude_splits=["train"])


def test_floats_may_be_neither_nan_nor_infinite(describe, infer):
    domain = features(infer(describe(train=table())))["decimal"].float_domain
    assert domain.disallow_nan
    assert domain.disallow_inf


def test_the_same_statistics_give_the_same_bytes(describe, infer):
    statistics = describe(train=table(), eval=table())
    assert len({digest.of(infer(statistics).path).hexdigest for _ in range(3)}) == 1


def test_splits_can_be_left_out(describe, infer):
    statistics = describe(train=table(), eval=table(colour=["blue"] * ROWS))
    schema = schemas.load(infer(statistics, exclude_splits=["eval"]).path)
    (domain,) = [one for one in schema.string_domain if one.name == "colour"]
    assert list(domain.value) == ["green", "red"]
    with pytest.raises(ParameterError, match='"exclude_splits" names "tests"'):
        infer(statistics, exclude_splits=["tests"])


def test_the_page_lists_every_feature(describe, infer):
    name = '<i>größe "x"</i>'
    html = page(infer(describe(train=table(**{name: [1.5] * ROWS}))))
    for text in ("required", "optional", "dense [1]", "sparse", "green, red", "no NaN or infinity"):
        assert text in html
    assert "<i>" not in html
    assert "<script" not in html


CURATED = """
feature {
  name: "colour"
  type: BYTES
  domain: "colours"
  presence { min_fraction: 1 }  # a comment
}
string_domain { name: "colours" value: "red" value: "green" }
"""


def test_a_curated_schema_is_taken(describe, infer, tmp_path):
    path = tmp_path / "mine.pbtxt"
    path.write_text(CURATED)
    schema = infer(describe(train=table()), schema_uri=str(path))
    assert list(features(schema)) == ["colour"]
    assert schema.metadata == {"features": 1, "required": 1, "ignored": [], "curated": True}
    assert path.name in page(schema)


def test_a_folder_of_an_earlier_run_is_taken(describe, infer):
    first = infer(describe(train=table()))
    again = infer(describe(train=table()), schema_uri=f"file://{first.path}")
    assert digest.of(again.path).hexdigest == digest.of(first.path).hexdigest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("feature { name: 3 }", r"mine.pbtxt is not a schema in protobuf's text format: line 1:17"),
        ("feture { }", r'mine.pbtxt is not a schema in .* line 1:1 : .*no field named "feture"'),
        ("", r"mine.pbtxt describes no feature.$"),
        ('feature { name: "a" type: INT }' * 2, r'mine.pbtxt describes feature "a" more than once'),
        ('feature { name: "a" }', r'mine.pbtxt gives feature "a" no type: INT, FLOAT or BYTES.$'),
        (
            CURATED.replace('name: "colours"', 'name: "colors"'),
            r'the domain "colours", which it does not define. Did you mean "colors"\?$',
        ),
        (b"\xff\xfe", r"Cannot read the schema .*mine.pbtxt: .*"),
    ],
)
def test_a_curated_schema_that_cannot_be_used(describe, infer, tmp_path, text, message):
    path = tmp_path / "mine.pbtxt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message) as caught:
        infer(describe(train=table()), schema_uri=str(path))
    assert "\n" not in str(caught.value)


def test_a_curated_schema_that_is_not_there(describe, infer, tmp_path):
    (tmp_path / "schema.pbtxt").write_text(CURATED)
    with pytest.raises(DataError, match=r'does not exist. Did you mean "schema.pbtxt"\?$'):
        infer(describe(train=table()), schema_uri=str(tmp_path / "schema.pbtx"))
    with pytest.raises(DataError, match=r"^There is no schema .*/nowhere/schema.pbtxt.$"):
        infer(describe(train=table()), schema_uri=str(tmp_path / "nowhere" / "schema.pbtxt"))


def test_damaged_statistics(describe, infer):
    statistics = describe(train=table())
    (statistics.path / "Split-train" / "FeatureStats.pb").write_bytes(b"\xff\xff")
    with pytest.raises(DataError, match=r"FeatureStats.pb does not hold TFDV statistics"):
        infer(statistics)
