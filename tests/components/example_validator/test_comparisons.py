"""Changes between spans are told from noise, and every score can be computed again."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pyarrow as pa
import pytest
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from scipy import spatial, stats
from tensorflow_metadata.proto.v0 import schema_pb2

from millrace.artifacts import HTML, Anomalies, Schema, Statistics
from millrace.components.example_validator import comparators, spans
from millrace.components.example_validator.executor import run
from millrace.components.schema_gen import inference
from millrace.components.statistics_gen.analysis import analyze
from millrace.data import schemas
from millrace.data import statistics as stored
from millrace.errors import AnomaliesError, DataError, ParameterError


def day(seed: int, rows: int = 2_000, **columns) -> pa.Table:
    rng = np.random.default_rng(seed)
    every = {
        "a": rng.normal(0, 1, rows),
        "hour": rng.integers(0, 24, rows),
        "race": rng.choice(["A", "B", "C"], rows, p=[0.5, 0.3, 0.2]),
        "income": pa.array(rng.normal(40, 8, rows), mask=rng.random(rows) < 0.01),
        "k": np.full(rows, 7),
    }
    return pa.table(every | columns)


def compared(previous: pa.Table, current: pa.Table, schema: str = ""):
    parsed = text_format.Parse(schema, schema_pb2.Schema())
    found, unapplied = spans.compare(
        parsed,
        analyze(current.to_batches(), "a"),
        {"drift": analyze(previous.to_batches(), "a")},
        1,
    )
    return {one.column: one for one in found}, unapplied


def changed(previous: pa.Table, current: pa.Table) -> dict[str, list[str]]:
    found, _ = compared(previous, current)
    return {
        name: [score.measure for score in one.exceeded]
        for name, one in found.items()
        if one.exceeded
    }


@pytest.fixture
def validate(tmp_path):
    def validate(table, previous=None, schema="", **parameters):
        found = analyze(table.to_batches(), "train")
        stored.save(tmp_path / "now", "train", found)
        if previous is not None:
            stored.save(tmp_path / "before", "train", analyze(previous.to_batches(), "train"))
            parameters = {"previous_statistics_uri": str(tmp_path / "before")} | parameters
        expected = inference.infer({"train": found}, True, 100)
        for feature in expected.feature:
            if feature.name in schema:
                text_format.Merge(schema[feature.name], feature)
        schemas.save(tmp_path / "schema", expected)
        anomalies = Anomalies(str(tmp_path / "anomalies"))
        run(
            Statistics(str(tmp_path / "now")),
            Schema(str(tmp_path / "schema")),
            anomalies,
            HTML(str(tmp_path / "report.html")),
            **parameters,
        )
        return anomalies

    return validate


RNG = np.random.default_rng(0)
CHANGES = {
    "moved": ({"a": RNG.normal(10, 1, 2_000)}, {"a": ["kolmogorov_smirnov", "mean_shift"]}),
    "moved by half a deviation": (
        {"a": RNG.normal(0.5, 1, 2_000)},
        {"a": ["kolmogorov_smirnov", "mean_shift"]},
    ),
    "in another unit": (
        {"income": RNG.normal(40, 8, 2_000) * 1.609},
        {"income": ["kolmogorov_smirnov", "mean_shift", "spread_change"]},
    ),
    "wider": ({"a": RNG.normal(0, 1.7, 2_000)}, {"a": ["kolmogorov_smirnov", "spread_change"]}),
    "two peaks": (
        {"a": RNG.choice([-1, 1], 2_000) * RNG.normal(1, 0.1, 2_000)},
        {"a": ["kolmogorov_smirnov"]},
    ),
    "constant": (
        {"a": np.zeros(2_000)},
        {"a": ["kolmogorov_smirnov", "zero_share"]},
    ),
    "another constant": ({"k": np.full(2_000, 8)}, {"k": ["kolmogorov_smirnov"]}),
    "missing": (
        {"income": pa.array(RNG.normal(40, 8, 2_000), mask=RNG.random(2_000) < 0.95)},
        {"income": ["missing_share"]},
    ),
    "five percent missing": (
        {"income": pa.array(RNG.normal(40, 8, 2_000), mask=RNG.random(2_000) < 0.05)},
        {"income": ["missing_share"]},
    ),
    "all missing": ({"race": pa.nulls(2_000, pa.string())}, {"race": ["missing_share"]}),
    "not a number": (
        {"a": np.where(RNG.random(2_000) < 0.3, math.nan, RNG.normal(0, 1, 2_000))},
        {"a": ["missing_share"]},
    ),
    "other shares": (
        {"race": RNG.choice(["A", "B", "C"], 2_000, p=[0.02, 0.03, 0.95])},
        {"race": ["jensen_shannon_divergence"]},
    ),
    "a new category": (
        {"race": RNG.choice(["A", "B", "C", "D"], 2_000, p=[0.45, 0.25, 0.2, 0.1])},
        {"race": ["jensen_shannon_divergence"]},
    ),
    "half of the hours": (
        {"hour": RNG.integers(0, 12, 2_000)},
        {"hour": ["kolmogorov_smirnov", "mean_shift", "spread_change"]},
    ),
}


@pytest.mark.parametrize(("columns", "expected"), CHANGES.values(), ids=CHANGES)
def test_a_change_is_seen_in_its_column_only(columns, expected):
    assert changed(day(1), day(2, **columns)) == expected


def halves(seed: int, rows: int) -> tuple[pa.Table, pa.Table]:
    rng = np.random.default_rng(seed)
    table = pa.table(
        {
            "normal": rng.normal(0, 1, rows),
            "lognormal": rng.lognormal(0, 2, rows),
            "cauchy": rng.standard_cauchy(rows),
            "offset": 1e6 + rng.normal(0, 0.05, rows),
            "boolean": rng.integers(0, 2, rows),
            "rare": (rng.random(rows) < 0.1).astype(int),
            "stars": rng.choice([1.0, 2, 3, 4, 5], rows),
            "twelve": rng.integers(1, 13, rows),
            "hour": rng.integers(0, 24, rows) * 1.0,
            "poisson": rng.poisson(3, rows),
            "zeros": np.where(rng.random(rows) < 0.9, 0, rng.exponential(1, rows)),
            "missing": pa.array(rng.normal(0, 1, rows), mask=rng.random(rows) < 0.5),
            "race": rng.choice(["A", "B", "C"], rows),
            "many": [f"v{n}" for n in rng.integers(0, 300, rows)],
            "zipf": [f"v{min(n, 9_999)}" for n in rng.zipf(1.3, rows)],
            "unique": [f"id {n}" for n in rng.permutation(rows)],
        }
    )
    cut = rng.integers(rows // 10, rows - rows // 10)
    return table.slice(0, cut), table.slice(cut)


@pytest.mark.parametrize("rows", [40, 300, 3_000])
def test_parts_of_one_table_have_not_changed(rows):
    for seed in range(4):
        assert changed(*halves(seed, rows)) == {}


@pytest.mark.slow
def test_parts_of_200_tables_have_not_changed():
    for seed in range(200):
        assert changed(*halves(1_000 + seed, [50, 200, 1_000, 5_000][seed % 4])) == {}


@pytest.mark.slow
def test_many_columns_are_corrected_for():
    rng = np.random.default_rng(3)
    columns = {f"n{n}": rng.normal(0, 1, 60) for n in range(300)}
    columns |= {f"c{n}": rng.choice(list("abcdefgh"), 60) for n in range(300)}
    table = pa.table(columns)
    assert changed(table.slice(0, 30), table.slice(30)) == {}


@pytest.mark.parametrize(
    "previous",
    [
        pa.table({"x": [1.5], "t": ["a"]}),
        pa.table({"x": [2.0] * 50, "t": ["a"] * 50}),
        pa.table({"x": pa.nulls(50, pa.float64()), "t": pa.nulls(50, pa.string())}),
        pa.table({"x": [math.inf, -math.inf, math.nan] * 20, "t": [""] * 60}),
        pa.table({"x": [math.inf, 1.0, 2.0] * 20, "t": ["ü"] * 60}),
        pa.table({"x": [1e150, -1e150] * 20, "t": ["a", "b"] * 20}),
        pa.table({"x": ["a"] * 50, "t": [1] * 50}),
        pa.table({"x": [1.0, 2.0]}).slice(0, 0),
        pa.table({"y": [1.0] * 50}),
    ],
    ids=[
        "one row",
        "constant",
        "missing",
        "none finite",
        "some",
        "huge",
        "types",
        "no row",
        "gone",
    ],
)
def test_scores_are_finite_or_absent(previous):
    others = [previous, pa.table({"x": np.linspace(0, 1, 40), "t": ["a", "b"] * 20})]
    for current in others:
        for pair in ((previous, current), (current, previous)):
            found, _ = compared(*pair)
            for one in found.values():
                json.dumps(one.to_json(), allow_nan=False)
                assert one.note or not one.scores or min(s.value for s in one.scores) >= 0


def with_comparators(number: str, text: str) -> str:
    return f"""
    feature {{ name: "a" type: FLOAT drift_comparator {{ {number} }} }}
    feature {{ name: "hour" type: INT drift_comparator {{ {number} }} }}
    feature {{ name: "k" type: INT drift_comparator {{ {number} }} }}
    feature {{ name: "income" type: FLOAT drift_comparator {{ {number} }} }}
    feature {{ name: "race" type: BYTES drift_comparator {{ {text} }} }}
    """


SOURCES = {
    "standard": "jensen_shannon_divergence { threshold: 0 }",
    "quantiles": "jensen_shannon_divergence { threshold: 0 source { type: QUANTILES } }",
}
TEXT = {
    "infinity_norm": "infinity_norm { threshold: 0 }",
    "normalized_abs_difference": "normalized_abs_difference { threshold: 0 }",
    "jensen_shannon_divergence": "jensen_shannon_divergence { threshold: 0 }",
}
ODD = {
    "a": np.concatenate([[math.inf] * 100, RNG.normal(0.3, 1.2, 1_400), np.zeros(500)]),
    "race": RNG.choice(["A", "C", "D"], 2_000),
    "hour": RNG.integers(3, 30, 2_000),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("measure", TEXT)
def test_comparators_score_as_tfdv(source, measure):
    schema = text_format.Parse(
        with_comparators(SOURCES[source], TEXT[measure]), schema_pb2.Schema()
    )
    before, now = day(1), day(2, **ODD)
    statistics = [analyze(table.to_batches(), "a") for table in (before, now)]
    result = tfdv.validate_statistics(statistics[1], schema, previous_statistics=statistics[0])
    theirs = {
        info.path.step[0]: info.drift_measurements[0].value for info in result.drift_skew_info
    }
    found, unapplied = spans.compare(schema, statistics[1], {"drift": statistics[0]}, 1)
    ours = {one.column: one.scores[0].value for one in found}
    assert not unapplied
    assert ours == pytest.approx(theirs, abs=1e-9)
    assert set(ours) == {"a", "hour", "race", "income", "k"}


def test_scores_can_be_computed_again_from_the_file(validate, tmp_path):
    before, now = day(1), day(2, a=RNG.normal(1, 2, 2_000), race=RNG.choice(["A", "B"], 2_000))
    validate(now, before)
    path = tmp_path / "anomalies/Split-train/Comparisons.json"
    found = {one["column"]: one for one in json.loads(path.read_text())}
    for name in ("a", "hour", "race", "income"):
        one = found[name]
        for score in one["scores"]:
            bins = one["histograms"].get(score["bins"])
            if bins is None:
                continue
            previous, current = np.array(bins["previous"]), np.array(bins["current"])
            p, q = previous / previous.sum(), current / current.sum()
            again = {
                "jensen_shannon_divergence": spatial.distance.jensenshannon(p, q, base=2) ** 2,
                "infinity_norm": spatial.distance.chebyshev(p, q),
                "population_stability_index": _index(previous + 0.5, current + 0.5),
                "chi_square": stats.chi2_contingency(
                    [row[previous + current > 0] for row in (previous, current)], correction=False
                ).statistic,
            }[score["measure"]]
            assert score["value"] == pytest.approx(again, rel=1e-6), (name, score)
    scores = {score["measure"]: score["value"] for score in found["a"]["scores"]}
    table = [np.array(day["a"]) for day in (before, now)]
    exact = stats.ks_2samp(*table).statistic
    assert exact - 0.12 < scores["kolmogorov_smirnov"] <= exact + 0.01
    assert scores["wasserstein"] == pytest.approx(stats.wasserstein_distance(*table), rel=0.1)
    pooled = math.sqrt((table[0].var() + table[1].var()) / 2)
    assert scores["mean_shift"] == pytest.approx(
        abs(table[1].mean() - table[0].mean()) / pooled, rel=1e-6
    )
    points = np.array(found["a"]["previous"]["cumulative"]["values"])
    shares = found["a"]["previous"]["cumulative"]["shares"]
    assert shares[1:] == pytest.approx(
        np.searchsorted(np.sort(table[0]), points, side="right")[1:] / 2_000, abs=0.01
    )


def _index(previous, current) -> float:
    p, q = previous / previous.sum(), current / current.sum()
    return stats.entropy(q, p) + stats.entropy(p, q)


def test_a_change_is_a_warning_unless_it_should_fail(validate, tmp_path):
    before, now = day(1), day(2, race=RNG.choice(["A", "B", "C"], 2_000, p=[0.02, 0.03, 0.95]))
    metadata = validate(now, before).metadata
    assert (metadata["anomalies"], metadata["warnings"], metadata["changed"]) == (0, 1, 1)
    page = (tmp_path / "report.html").read_text()
    assert "1 of 5 comparisons" in page
    assert "Jensen–Shannon divergence" in page
    reason = r'feature "race": Changed against the previous span: Jensen–Shannon divergence 0\.\d+,'
    with pytest.raises(AnomaliesError, match=reason):
        validate(now, before, fail_on_drift=True)


def test_the_schema_sets_a_threshold(validate):
    before, now = day(1), day(2, a=RNG.normal(10, 1, 2_000))
    limit = "{} {{ jensen_shannon_divergence {{ threshold: {} }} }}"
    with pytest.raises(AnomaliesError, match="Jensen-Shannon divergence between current and prev"):
        validate(now, before, {"a": limit.format("drift_comparator", 0.05)})
    metadata = validate(now, before, {"a": limit.format("drift_comparator", 1)}).metadata
    assert (metadata["anomalies"], metadata["warnings"]) == (0, 0)
    before = day(1).drop(["k"])
    with pytest.raises(AnomaliesError, match="between training and serving is 1"):
        validate(
            now,
            before,
            {"a": limit.format("skew_comparator", 0.05)},
            previous_statistics_uri="",
            serving_statistics_uri=str(_folder(validate, "before")),
        )


def _folder(validate, name: str):
    return validate.__closure__[0].cell_contents / name


def test_a_comparator_that_does_not_apply_is_an_error(validate):
    wrong = {"hour": "drift_comparator { infinity_norm { threshold: 0.05 } }"}
    for previous in (None, day(1)):
        with pytest.raises(DataError, match=r'drift_comparator \{ infinity_norm \} of feature "ho'):
            validate(day(2), previous, wrong)


def test_a_comparator_without_anything_to_compare_is_a_warning(validate, caplog):
    schema = {"a": "drift_comparator { jensen_shannon_divergence { threshold: 0.05 } }"}
    assert validate(day(2), None, schema).metadata["warnings"] == 1
    assert "no statistics of the previous span were given" in caplog.text
    for previous in (
        day(1, a=pa.nulls(2_000, pa.float64())),
        day(1, a=["x"] * 2_000),
        day(1).drop(["a"]),
        day(1).slice(0, 0),
    ):
        caplog.clear()
        validate(day(2), previous, schema)
        assert "drift_comparator { jensen_shannon_divergence } was not applied" in caplog.text


def test_integers_marked_as_categories_need_their_counts(validate, caplog):
    schema = {
        "hour": "int_domain { is_categorical: true }"
        "drift_comparator { infinity_norm { threshold: 0.05 } }"
    }
    validate(day(2), day(1), schema)
    assert "do not count its values; give StatisticsGen the schema" in caplog.text


def test_where_earlier_statistics_are(validate, tmp_path, caplog):
    with pytest.raises(DataError, match=re.escape('"previous_statistics_uri" names /nowhere, whi')):
        validate(day(2), previous_statistics_uri="/nowhere")
    statistics = analyze(day(1).to_batches(), "a")
    run_folder = tmp_path / "run"
    stored.save(run_folder / "statistics-gen" / "statistics", "train", statistics)
    with pytest.raises(DataError, match=r"did you mean .*/run/statistics-gen/statistics"):
        validate(day(2), previous_statistics_uri=str(run_folder))
    given = Statistics(str(run_folder / "statistics-gen" / "statistics"))
    assert validate(day(2), previous_statistics=given).metadata["compared"] == 5
    with pytest.raises(ParameterError, match='either "previous_statistics" or'):
        validate(day(2), previous_statistics=given, previous_statistics_uri="x")
    stored.save(tmp_path / "other", "a", statistics)
    uri = (tmp_path / "other").as_uri()
    assert validate(day(2), previous_statistics_uri=uri).metadata["compared"] == 5
    stored.save(tmp_path / "other", "b", statistics)
    assert "compared" not in validate(day(2), previous_statistics_uri=uri).metadata
    assert "are of the splits a, b, not of train" in caplog.text


def test_a_lost_column_is_reported(validate, caplog):
    validate(day(2).drop(["income"]), day(1))
    assert "feature 'income': Changed against the previous span: the column is gone" in caplog.text


def test_fields_of_both_kinds():
    assert set(comparators.FIELDS) == {"drift", "skew"}
