"""The default transform of columns."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import schema_pb2

from millrace.components.transform import defaults, profile
from millrace.components.transform.defaults import CATEGORY, LEFT_OUT, LEVEL, NUMBER
from millrace.components.transform.inputs import RawInputs
from millrace.components.transform.profile import Column
from millrace.data import schemas

INT, FLOAT, BYTES = schema_pb2.INT, schema_pb2.FLOAT, schema_pb2.BYTES


def column(name: str = "c", kind: int = FLOAT, distinct: int = 500, **fields: Any) -> Column:
    return dataclasses.replace(Column(name, kind, 1000, 1000, distinct, high=1e6), **fields)


@pytest.mark.parametrize(
    ("described", "kind", "reason"),
    [
        (column(), NUMBER, "decimal numbers"),
        (column(kind=INT), NUMBER, "whole numbers"),
        (column(kind=INT, distinct=1000), NUMBER, "whole numbers"),
        (column(kind=INT, distinct=1000, high=999), LEFT_OUT, "identifier"),
        (column(kind=INT, distinct=1000, high=1999), LEFT_OUT, "identifier"),
        (column(kind=INT, distinct=1000, high=5000), NUMBER, "whole numbers"),
        (column("passenger_id", INT, 1000), LEFT_OUT, "identifier"),
        (column("PassengerId", INT, 1000), LEFT_OUT, "identifier"),
        (column("Unnamed: 0", INT, 1000), LEFT_OUT, "identifier"),
        (column("row_number", INT, 1000), LEFT_OUT, "identifier"),
        (column("rows", INT, 1000), NUMBER, "whole numbers"),
        (column("paid", INT, 1000), NUMBER, "whole numbers"),
        (column(kind=INT, distinct=3, levels=(1, 2, 3)), LEVEL, "there are 3"),
        (column(kind=INT, distinct=2, levels=()), NUMBER, "whole numbers"),
        (column(kind=BYTES, distinct=10), CATEGORY, "text"),
        (column(kind=BYTES, distinct=850), CATEGORY, "text"),
        (column(kind=BYTES, distinct=950), LEFT_OUT, "identifier"),
        (column(kind=BYTES, distinct=800, spaces=5.0), LEFT_OUT, "free text"),
        (column(kind=BYTES, distinct=9, spaces=5.0), CATEGORY, "text"),
        (column(kind=BYTES, distinct=900, dates=True), LEFT_OUT, "date"),
        (
            column(kind=BYTES, distinct=300, written_numbers=True, example="$1,200"),
            LEFT_OUT,
            "numbers written as text, such as $1,200",
        ),
        (column(kind=BYTES, distinct=5, written_numbers=True), CATEGORY, "text"),
        (
            column(kind=BYTES, distinct=20_000, rows=10**6, present=10**6),
            CATEGORY,
            "the 10,000 most frequent of about 20,000",
        ),
        (column(kind=BYTES, distinct=1, example="x"), LEFT_OUT, "it is x in every row"),
        (column(kind=BYTES, distinct=1, present=600), CATEGORY, "text"),
        (column(kind=FLOAT, distinct=1, example="3"), LEFT_OUT, "it is 3 in every row"),
        (column(kind=FLOAT, distinct=0, present=0), LEFT_OUT, "no values"),
        (column(kind=BYTES, distinct=0, present=0), LEFT_OUT, "no values"),
    ],
)
def test_choice(described: Column, kind: str, reason: str) -> None:
    (choice,) = defaults.choose([described], set(), "label")
    assert choice.kind == kind
    assert reason in choice.reason


@pytest.mark.parametrize(
    "text",
    ["2020-01-31", "2020-01-31T10:00:00Z", "01/31/2020", "31.1.20", "31 January 2020",
     "31-Jan-2020", "Jan 31, 2020", "2020/01/31 10:00"],
)  # fmt: skip
def test_dates_in_other_writings(text: str) -> None:
    summary = profile._TextSummary()
    summary.add(pa.array([text, None, text]))
    assert summary.column(schema_pb2.Feature(name="c", type=BYTES), 3).dates


@pytest.mark.parametrize("text", ["2020-01", "12:30", "1.2.3", "may", "1/2", "May flower"])
def test_texts_that_are_no_dates(text: str) -> None:
    summary = profile._TextSummary()
    summary.add(pa.array([text]))
    assert not summary.column(schema_pb2.Feature(name="c", type=BYTES), 1).dates


def test_features_that_are_not_looked_at() -> None:
    schema = schema_pb2.Schema()
    for name in ("kept", "planned", "old", "lists", "absent", "label", "singles", "open"):
        schema.feature.add(name=name, type=INT).value_count.max = 1
    schema.feature[1].lifecycle_stage = schema_pb2.PLANNED
    schema.feature[2].lifecycle_stage = schema_pb2.DEPRECATED
    schema.feature[7].ClearField("value_count")
    schema.feature[5].lifecycle_stage = schema_pb2.DEPRECATED
    known = pa.schema({
        feature.name: pa.list_(pa.int64()) if feature.name in ("lists", "singles") else pa.int64()
        for feature in schema.feature
        if feature.name != "absent"
    })  # fmt: skip
    reasons = {each.column.name: each.reason for each in defaults.unfit(schema, known, "label")}
    assert reasons == {
        "planned": "the schema marks it as planned, as it does a column without values",
        "old": "the schema marks it as deprecated",
        "lists": "it holds lists",
        "absent": "the examples do not have it",
        "singles": "it holds lists",
        "open": "the schema lets it hold lists",
    }


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (INT, [[1]]),
        (BYTES, [["a"], ["a", "b"]]),
        (BYTES, [[], ["a"]]),
        (BYTES, [None, ["a"], ["a", "b"]]),
        (FLOAT, [[0.5], None, []]),
    ],
)
def test_lists_of_any_length_are_left_out(helpers, tmp_path, kind, values) -> None:
    table = pa.table({
        "list": pa.array((values * 60)[:60]),
        "number": np.arange(60) % 7 / 3,
        "label": np.arange(60) % 2,
    })  # fmt: skip
    rows = helpers.write(tmp_path, {"train": table, "eval": table})
    schema = schemas.load(rows.schema)
    schema.feature[0].type = kind
    if len(values) > 1:  # TFDV then leaves the number of values open
        schema.feature[0].ClearField("shape")
        schema.feature[0].ClearField("value_count")
    schemas.save(rows.schema, schema)
    transformed = helpers.transform(rows, tmp_path)
    assert "it holds lists" in transformed.report
    assert transformed.split("train").column_names == ["label", "number"]


def test_outputs_are_named_apart() -> None:
    columns = [
        column("a"),
        column("A", present=900),
        column("a_missing"),
        column("é", INT, 4, levels=(1, 2, 3, 4)),
        column("label x", BYTES, 5),
    ]
    choices = defaults.choose(columns, {"é"}, "label_x")
    outputs = [output for choice in choices for output in choice.outputs]
    assert outputs == [
        "a_2", "A", "A_missing", "a_missing", "e", "e_level", "e_missing", "label_x_",
    ]  # fmt: skip
    assert len(set(outputs)) == len(outputs)


def test_features_of_awkward_rows(helpers, tmp_path) -> None:
    nan, inf = float("nan"), float("inf")
    numbers = [1.0, 2.0, 3.0, nan, inf, -inf, None, 4.0]
    train = pa.table({
        "number": pa.array(numbers * 20, pa.float64()),
        "huge": [*range(159), 10**12],
        "level": pa.array([1, 5, 9, None] * 40),
        "text": pa.array(["a", "a", "b", None] * 40),
        "required": ["x", "y"] * 80,
        "label": ["no", "yes"] * 80,
    })  # fmt: skip
    unseen = pa.table({
        "number": pa.array([2.5, nan], pa.float64()),
        "huge": [0, 1],
        "level": [5, 7],
        "text": ["c", "a"],
        "required": ["z", "x"],
        "label": ["no", "yes"],
    })  # fmt: skip
    rows = helpers.write(tmp_path / "rows", {"train": train, "eval": unseen})
    helpers.schemas.save(rows.schema, helpers.schema_of(train))
    transformed = helpers.transform(rows, tmp_path / "out")
    here, there = (transformed.split(split).to_pydict() for split in ("train", "eval"))

    deviation = np.std([1.0, 2.0, 3.0, 4.0])
    expected = [-1.5 / deviation, -0.5 / deviation, 0.5 / deviation, 0, 0, 0, 0, 1.5 / deviation]
    np.testing.assert_allclose(here["number"][:8], expected, atol=1e-5)
    assert here["number_missing"][:8] == [0, 0, 0, 1, 1, 1, 1, 0]
    assert max(here["huge"]) == 10.0
    assert here["level_level"][:4] == [0, 1, 2, 3]
    assert there["level_level"] == [1, 3]
    assert here["text"][:4] == [1, 1, 2, 0]
    assert there["text"] == [3, 1]
    assert sorted(set(here["required"])) == [0, 1]
    assert there["required"] == [2, here["required"][0]]
    assert there["label"] == [0, 1]


def test_scores_do_not_depend_on_the_unit(helpers, tmp_path) -> None:
    mass = np.random.default_rng(0).lognormal(0, 1, 500)
    units = {
        "kg": 1.0,
        "sun": 2e30,
        "charge": 1.6e-19,
        "largest": 3e38 / mass.max(),
        "least": 1e-36,
    }
    table = pa.table({
        **{name: mass * unit for name, unit in units.items()},
        "whole": (mass * 1e17).astype(int),
        "beyond": [1e300, *mass[1:]],  # one value that float32 cannot hold
        "label": [0, 1] * 250,
    })  # fmt: skip
    rows = helpers.write(tmp_path / "rows", {"train": table, "eval": table})
    scores = helpers.transform(rows, tmp_path / "out").split("train")
    expected = np.minimum((mass - mass.mean()) / mass.std(), defaults.CLIP)
    for name in (*units, "whole"):
        np.testing.assert_allclose(scores[name].to_numpy(), expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(scores["beyond"].to_numpy()[1:], expected[1:], atol=0.05)


def test_an_offset_costs_no_digits(helpers, tmp_path) -> None:
    values = np.random.default_rng(0).integers(-1000, 1000, 500)
    offsets = {"epoch": 1_700_000_000, "easting": 10_000_000, "id_like": 2**60, "small": 3}
    table = pa.table({
        **{name: values + offset for name, offset in offsets.items()},
        "optional": pa.array(values + 10**9, mask=np.arange(500) % 7 == 0),
        "decimal": values / 8 + 100_000.0,  # which float32 holds exactly
        "label": [0, 1] * 250,
    })  # fmt: skip
    rows = helpers.write(tmp_path / "rows", {"train": table, "eval": table})
    scores = helpers.transform(rows, tmp_path / "out").split("train")
    expected = (values - values.mean()) / values.std()
    for name in (*offsets, "decimal"):
        np.testing.assert_allclose(scores[name].to_numpy(), expected, rtol=1e-3, atol=1e-4)
    there = np.arange(500) % 7 > 0
    some = values[there]
    np.testing.assert_allclose(
        scores["optional"].to_numpy()[there], (some - some.mean()) / some.std(), atol=1e-4
    )


def test_a_column_that_float32_rounds_is_warned_of(helpers, tmp_path, caplog) -> None:
    values = np.random.default_rng(0).normal(size=300)
    table = pa.table({"pressure": 1e6 + 0.05 * values, "x": values, "label": [0, 1, 0] * 100})
    rows = helpers.write(tmp_path, {"train": table, "eval": table})
    page = helpers.transform(rows, tmp_path / "out").report
    message = 'models see the column "pressure" in steps of 0.0625, which is what float32 has at'
    assert message in caplog.text
    assert caplog.text.count("models see the column") == 1
    assert "- 1000000 AS" in page


@pytest.mark.parametrize(
    ("labels", "encoded"),
    [
        (["b", "a", "c"], [1, 0, 2]),
        ([7, 3, 5], [2, 0, 1]),
        ([0.25, 0.5, 1.5], [0.25, 0.5, 1.5]),
    ],
)
def test_label_is_encoded(helpers, tmp_path, labels, encoded) -> None:
    table = pa.table({"x": np.arange(30) / 7, "label": labels * 10})
    rows = helpers.write(tmp_path / "rows", {"train": table, "eval": table})
    transformed = helpers.transform(rows, tmp_path / "out")
    assert transformed.split("eval")["label"].to_pylist() == encoded * 10


def test_the_empty_text_is_a_class(helpers, tmp_path) -> None:
    table = pa.table({"x": [0, 1, 2, 3] * 60, "label": ["", "yes", ""] * 80})
    rows = helpers.write(tmp_path / "rows", {"train": table, "eval": table})
    transformed = helpers.transform(rows, tmp_path / "out")
    assert transformed.split("eval")["label"].to_pylist() == [0, 1, 0] * 80
    schema = helpers.schema_of(table)
    for feature in schema.feature:
        feature.ClearField("shape")
        feature.value_count.max = 1
    (batch,) = table.slice(0, 2).to_batches()
    listed = RawInputs(schema, "label").lists(batch)
    assert listed.to_pydict() == {"x": [[0], [1]], "label": [[b""], [b"yes"]]}


def test_categories_have_a_range_in_the_transformed_schema(by_default) -> None:
    import tensorflow_transform as tft

    schema = tft.TFTransformOutput(str(by_default.graph.path)).transformed_metadata.schema
    sizes = {
        feature.name: feature.int_domain.max + 1
        for feature in schema.feature
        if feature.int_domain.is_categorical
    }
    # Words, one index for unseen ones, and one more if the column may be missing.
    assert sizes["text"] == 5 + 1
    assert sizes["grosse"] == 5 + 2
    assert sizes["level_level"] == 6 + 1
    assert sizes["optional_level_level"] == 4 + 1
    assert 50 < sizes["many"] <= 201


# --- Profiles ---


def profiled(helpers, root, table: pa.Table) -> dict[str, Column]:
    rows = helpers.write(root, {"train": table, "eval": table})
    schema = helpers.schema_of(table)
    return {each.name: each for each in profile.columns(rows.examples, ["train"], schema, "label")}


def test_profile(helpers, tmp_path) -> None:
    table = pa.table({
        "f": pa.array([1.5, float("nan"), float("inf"), None, -2.0]),
        "i": pa.array([3, 1, 2, 3, None]),
        "t": ["a b c", "", "é", "a b c", None],
        "d": ["2020-01-01", "2020-01-02 10:00", None, "2021-02-03T04:05:06", "2020-01-01"],
        "n": pa.nulls(5, pa.string()),
        "label": [0, 1, 0, 1, 0],
    })  # fmt: skip
    found = profiled(helpers, tmp_path, table)
    assert found.pop("f").deviation == 1.75
    assert found == {
        "i": Column("i", INT, 5, 4, 3, "1", 1.0, 3.0, np.std([3, 1, 2, 3]), levels=(1, 2, 3)),
        "t": Column("t", BYTES, 5, 3, 2, "a b c", characters=4.0, spaces=4 / 3),
        "d": Column(
            "d", BYTES, 5, 4, 3, "2020-01-02 10:00", characters=13.75, spaces=0.25, dates=True
        ),
        "n": Column("n", BYTES, 5, 0, 0),
    }


@settings(max_examples=20)
@given(st.lists(st.integers(-50, 50), min_size=1, max_size=60))
def test_few_values_are_counted_exactly(tmp_path_factory, helpers, values) -> None:
    root = tmp_path_factory.mktemp("few")
    found = profiled(helpers, root, pa.table({"i": values, "label": values}))["i"]
    assert found.distinct == len(set(values))
    few = 2 < len(set(values)) <= profile.LEVELS
    assert found.levels == (tuple(sorted(set(values))) if few else ())


@pytest.mark.parametrize("number", [1_000, 30_000, 400_000])
def test_many_values_are_counted_within_some_percent(number) -> None:
    distinct = profile._Distinct()
    rng = np.random.default_rng(number)
    for _ in range(4):
        distinct.add(rng.permutation(number))
    assert distinct.number() == pytest.approx(number, rel=0.08)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (pa.scalar(20130131), "20130131"),
        (pa.scalar(20130131.0), "20130131"),
        (pa.scalar(2**63 - 1), "9223372036854775807"),
        (pa.scalar(0.1, pa.float32()), "0.1"),
        (pa.scalar(1e-9), "1e-09"),
    ],
)
def test_a_constant_number_is_shown_as_it_is(helpers, tmp_path, value, shown) -> None:
    table = pa.table({"c": pa.array([value.as_py()] * 3, value.type), "label": [0, 1, 0]})
    assert profiled(helpers, tmp_path, table)["c"].example == shown


def test_texts_are_judged_by_all_of_the_column(helpers, tmp_path) -> None:
    first = [f"{number}th" for number in range(4, 160)]
    streets = np.repeat([*first, *(f"Street {number}" for number in range(200))], 3)
    table = pa.table({
        "sorted": streets,
        "ever": np.repeat([f"{number} kg" for number in range(356)], 3),
        "label": np.arange(len(streets)) % 2,
    })  # fmt: skip
    found = profiled(helpers, tmp_path, table)
    assert not found["sorted"].written_numbers
    assert found["ever"].written_numbers
