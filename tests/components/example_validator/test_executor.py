"""Anomalies are TFDV's, have helpful descriptions, and stop the pipeline once written."""

from __future__ import annotations

import math
import re

import duckdb
import pyarrow as pa
import pytest
from tensorflow_data_validation.utils import anomalies_util

from millrace.artifacts import HTML, Anomalies, Schema
from millrace.components.example_validator.executor import run
from millrace.components.schema_gen import inference
from millrace.data import schemas
from millrace.data import statistics as stored
from millrace.errors import AnomaliesError, DataError, ParameterError

ROWS = 100


def table(**columns) -> pa.Table:
    every = {
        "n": list(range(ROWS)),
        "x": [n / 7 for n in range(ROWS)],
        "colour": ["red", "green"] * (ROWS // 2),
    }
    return pa.table(every | columns)


@pytest.fixture
def schema(describe, tmp_path) -> Schema:
    statistics = describe(good=table())
    found = {"good": stored.load(statistics.path, "good")}
    schemas.save(tmp_path / "schema", inference.infer(found, True, 100))
    (statistics.path / "Split-good" / stored.FILE).unlink()
    (statistics.path / "Split-good").rmdir()
    return Schema(str(tmp_path / "schema"))


@pytest.fixture
def validate(schema, tmp_path):
    def validate(statistics, **parameters) -> Anomalies:
        anomalies = Anomalies(str(tmp_path / "anomalies"))
        run(statistics, schema, anomalies, HTML(str(tmp_path / "report.html")), **parameters)
        return anomalies

    return validate


@pytest.fixture
def page(tmp_path):
    return lambda: (tmp_path / "report.html").read_text()


def test_good_data(describe, validate, page):
    anomalies = validate(describe(train=table(), eval=table()))
    assert anomalies.metadata == {"splits": ["eval", "train"], "anomalies": 0, "warnings": 0}
    for split in ("train", "eval"):
        path = anomalies.path / f"Split-{split}" / "SchemaDiff.pb"
        assert not anomalies_util.load_anomalies_binary(str(path)).anomaly_info
    assert "Every column of every split matches the schema." in page()


BAD = {
    "an unexpected value": (
        table(colour=["blue", "green"] * (ROWS // 2)),
        'split train, feature "colour": Examples contain values missing from the schema: blue '
        "(~50%). Mend the values in ExampleGen's query, or allow it in a schema of your own, as "
        "SchemaGen's schema_uri.",
    ),
    "a lost column": (
        table().drop(["n"]),
        'split train, feature "n": Column is completely missing. See why the source lost the',
    ),
    "a new column": (
        table(**{'a "new" one.': [1] * ROWS}),
        'split train, feature "a "new" one.": New column (column in data but not in schema). '
        "Leave the column out in ExampleGen's query",
    ),
    "missing values": (
        table(n=[None] * 10 + [1] * (ROWS - 10)),
        'split train, feature "n": The feature was present in fewer examples than expected: '
        "minimum fraction = 1.000000, actual = 0.900000.",
    ),
    "another type": (
        table(n=[str(n) for n in range(ROWS)]),
        'split train, feature "n": Expected data of type: INT but got STRING.',
    ),
    "NaN": (
        table(x=[math.nan] * 3 + [1.0] * (ROWS - 3)),
        'split train, feature "x": Float feature has NaN values (3 of 100). Turn such values into '
        'missing ones in ExampleGen\'s query: SELECT * REPLACE (CASE WHEN isfinite("x") THEN '
        '"x" END AS "x") FROM data.',
    ),
    "infinity": (
        table(x=[math.inf, -math.inf] + [1.0] * (ROWS - 2)),
        'split train, feature "x": Float feature has Inf values (2 of 100). Turn such values',
    ),
}


@pytest.mark.parametrize(("bad", "reason"), BAD.values(), ids=BAD)
def test_an_anomaly_stops_the_pipeline_and_says_why(
    describe, validate, page, tmp_path, bad, reason
):
    with pytest.raises(AnomaliesError, match=re.escape(reason)) as caught:
        validate(describe(train=bad, eval=table()))
    assert str(caught.value).startswith("The data is not what the schema says: split train, ")
    assert "\n" not in str(caught.value)
    path = tmp_path / "anomalies" / "Split-train" / "SchemaDiff.pb"
    assert len(anomalies_util.load_anomalies_binary(str(path)).anomaly_info) == 1
    assert re.search('badge bad">[12] found', page())


def test_a_split_without_rows(describe, validate):
    with pytest.raises(AnomaliesError, match=r'split eval, feature "all features": The split hol'):
        validate(describe(train=table(), eval=table().slice(0, 0)))


def test_a_replaced_value_passes():
    query = 'SELECT * REPLACE (CASE WHEN isfinite("x") THEN "x" END AS "x") FROM data'
    connection = duckdb.connect()
    connection.execute("CREATE TABLE data AS SELECT 'inf'::DOUBLE AS x UNION ALL SELECT 1.5")
    assert sorted(connection.execute(query).fetchall(), key=str) == [(1.5,), (None,)]


def test_many_anomalies_are_counted(describe, validate, page):
    new = {f"new {n}": [n] * ROWS for n in range(5)}
    statistics = describe(train=table(**new), eval=table(**new))
    with pytest.raises(AnomaliesError) as caught:
        validate(statistics)
    assert str(caught.value).count("split eval, feature") == 3
    assert "And 7 more. Leave the column out" in str(caught.value)
    assert "10 found" in page()


def test_the_pipeline_may_go_on(describe, validate):
    anomalies = validate(describe(train=table().drop(["n"])), fail_on_anomalies=False)
    assert anomalies.metadata == {"splits": ["train"], "anomalies": 1, "warnings": 0}


def test_splits_can_be_left_out(describe, validate):
    statistics = describe(train=table(), eval=table().drop(["n"]))
    assert validate(statistics, exclude_splits=["eval"]).metadata["splits"] == ["train"]
    with pytest.raises(ParameterError, match='"exclude_splits" names "test"'):
        validate(statistics, exclude_splits=["test"])


def test_a_damaged_schema(describe, validate, schema):
    (schema.path / "schema.pbtxt").write_text("feature {")
    with pytest.raises(DataError, match=r"schema.pbtxt is not a schema in protobuf's text format"):
        validate(describe(train=table()))


def test_the_page_is_escaped(describe, validate, page):
    with pytest.raises(AnomaliesError):
        validate(describe(train=table(**{"<script>": ["x"] * ROWS})))
    assert "<script" not in page()
    assert "&lt;script&gt;" in page()
