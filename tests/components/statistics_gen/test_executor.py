"""The statistics equal TFDV's own for any batches, and are the same bytes every time."""

from __future__ import annotations

import math
import re

import numpy as np
import pyarrow as pa
import pytest
import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics import stats_impl
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from millrace.artifacts import Schema
from millrace.components.statistics_gen import analysis
from millrace.data import examples as data
from millrace.data import schemas
from millrace.data.lists import to_lists
from millrace.errors import DataError, ParameterError
from millrace.storage import digest


def mixed(rows: int, seed: int = 1) -> pa.Table:
    """Columns of every kind, with missing values."""
    rng = np.random.default_rng(seed)

    def some(values: np.ndarray, kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind, mask=rng.random(rows) < 0.2)

    return pa.table(
        {
            "whole": rng.integers(-50, 5000, rows),
            "whole?": some(rng.integers(0, 9, rows), pa.int64()),
            "decimal": rng.normal(10, 3, rows),
            "decimal?": some(rng.exponential(5, rows), pa.float64()),
            "word": pa.array([f"w{n}" for n in rng.zipf(1.6, rows) % 300]),
            "größe?": some(np.array(["klein", "groß", ""])[rng.integers(0, 3, rows)], pa.string()),
            "bytes": pa.array([bytes([0xFF, n]) for n in rng.integers(0, 9, rows)], pa.binary()),
            "list": pa.array([[1] * (n % 4) for n in range(rows)], pa.list_(pa.int64())),
            "nothing": pa.array([None] * rows, pa.string()),
            "no number": pa.array([None] * rows, pa.float64()),
        }
    )


def dataset(statistics, split="train") -> statistics_pb2.DatasetFeatureStatistics:
    path = str(data.split_folder(statistics.path, split) / "FeatureStats.pb")
    (result,) = tfdv.load_stats_binary(path).datasets
    return result


def feature(statistics, name, split="train") -> statistics_pb2.FeatureNameStatistics:
    (found,) = [one for one in dataset(statistics, split).features if one.path.step == [name]]
    return found


def test_they_equal_what_tfdv_computes_in_memory(write, describe):
    table = mixed(5000)
    expected = stats_impl.generate_statistics_in_memory(
        to_lists(table.combine_chunks().to_batches()[0])
    )
    expected.datasets[0].name = "train"
    assert dataset(describe(write(train=table))) == expected.datasets[0]


def test_they_equal_what_tfdv_makes_of_a_dataframe(write, describe):
    table = mixed(2000).select(["whole", "decimal", "word"])
    expected = tfdv.generate_statistics_from_dataframe(table.to_pandas())
    expected.datasets[0].name = "train"
    assert dataset(describe(write(train=table))) == expected.datasets[0]


def test_they_equal_what_beam_computes(write, describe, tmp_path):
    import apache_beam as beam

    # Beam counts every value that is not UTF-8 separately, TFDV in memory counts them as one.
    table = mixed(3000).drop(["bytes"])
    path = str(tmp_path / "beam")
    with beam.Pipeline() as pipeline:
        _ = (
            pipeline
            | beam.Create([to_lists(table.combine_chunks().to_batches()[0])])
            | tfdv.GenerateStatistics()
            | tfdv.WriteStatisticsToBinaryFile(path)
        )
    expected = {one.path.step[0]: one for one in tfdv.load_stats_binary(path).datasets[0].features}
    actual = {one.path.step[0]: one for one in dataset(describe(write(train=table))).features}
    assert actual == expected


def test_batches_make_no_difference_to_counts_and_little_to_quantiles():
    table = mixed(20_000)
    whole = analysis.analyze(table.combine_chunks().to_batches(), "all").datasets[0]
    parts = analysis.analyze(table.combine_chunks().to_batches(777), "all").datasets[0]
    for one, other in zip(whole.features, parts.features, strict=True):
        assert one.path == other.path
        assert one.type == other.type
        if one.HasField("string_stats"):
            assert one == other
            continue
        left, right = one.num_stats, other.num_stats
        for field in ("num_missing", "num_non_missing", "tot_num_values", "max_num_values"):
            assert getattr(left.common_stats, field) == getattr(right.common_stats, field)
        assert (left.min, left.max, left.num_zeros) == (right.min, right.max, right.num_zeros)
        assert left.mean == pytest.approx(right.mean)
        assert left.std_dev == pytest.approx(right.std_dev)
        spread = (left.max - left.min) or 1
        assert abs(left.median - right.median) / spread < 0.01
        for a, b in zip(left.histograms, right.histograms, strict=True):
            total = sum(bucket.sample_count for bucket in a.buckets)
            for x, y in zip(a.buckets, b.buckets, strict=True):
                assert abs(x.sample_count - y.sample_count) <= 0.02 * total


def test_columns_of_many_values_give_the_same_bytes_every_time(write, describe):
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.zipf(1.3, 60_000) % 40_000, np.arange(40_000)])
    table = pa.table(
        {
            "few": pa.array([f"f{n % 3000}" for n in values]),
            "many": pa.array([f"m{n}" for n in values]),
            "id": pa.array([f"i{n}" for n in range(len(values))]),
        }
    )
    examples = write(train=table)
    runs = [describe(examples) for _ in range(4)]
    assert len({digest.of(one.path).hexdigest for one in runs}) == 1
    assert feature(runs[0], "few").string_stats.unique == 3000
    assert feature(runs[0], "id").string_stats.unique == pytest.approx(100_000, rel=0.03)
    (top, *_) = feature(runs[0], "many").string_stats.top_values
    assert (top.value, top.frequency) == ("m1", np.sum(values == 1))


def test_splits_and_metadata(write, describe):
    statistics = describe(write(train=mixed(300), eval=mixed(200), test=mixed(100)))
    assert statistics.metadata == {
        "splits": ["eval", "test", "train"],
        "split_rows": {"eval": 200, "test": 100, "train": 300},
        "features": 10,
    }
    for split, rows in statistics.metadata["split_rows"].items():
        assert dataset(statistics, split).name == split
        assert dataset(statistics, split).num_examples == rows


def test_splits_can_be_left_out(write, describe):
    examples = write(train=mixed(30), eval=mixed(20))
    statistics = describe(examples, exclude_splits=["eval"])
    assert data.splits(statistics.path) == ["train"]
    with pytest.raises(ParameterError, match=r'names "evil", but .* eval, train. Did you mean "ev'):
        describe(examples, exclude_splits=["evil"])
    with pytest.raises(ParameterError, match=r'^"exclude_splits" leaves no split of eval, train.$'):
        describe(examples, exclude_splits=["eval", "train"])


def test_nan_and_infinity_are_counted(write, describe):
    values = [1.0, math.nan, math.inf, -math.inf, None, 3.0, math.nan]
    stats = feature(describe(write(train=pa.table({"x": values}))), "x").num_stats
    assert stats.histograms[0].num_nan == 2
    assert (stats.min, stats.max) == (-math.inf, math.inf)
    assert stats.common_stats.num_missing == 1


def test_a_split_without_rows(write, describe):
    empty = mixed(10).slice(0, 0)
    statistics = describe(write(train=mixed(10), eval=empty))
    assert statistics.metadata["split_rows"] == {"eval": 0, "train": 10}


def test_a_schema_turns_integers_into_categories(write, describe, tmp_path):
    schema = schema_pb2.Schema()
    column = schema.feature.add(name="whole?", type=schema_pb2.INT)
    column.int_domain.is_categorical = True
    schemas.save(tmp_path / "schema", schema)
    statistics = describe(write(train=mixed(500)), schema=Schema(str(tmp_path / "schema")))
    assert feature(statistics, "whole?").string_stats.unique == 9


def test_damaged_examples(write, describe):
    examples = write(train=mixed(10))
    next(examples.path.rglob("*.parquet")).unlink()
    with pytest.raises(DataError, match=r"Split-train holds 0 of 1 shards: the step that wrote"):
        describe(examples)


def page(statistics) -> str:
    return (statistics.path.parent / "report.html").read_text()


def test_the_page_shows_splits_side_by_side_and_warns(write, describe):
    table = mixed(400)
    table = table.append_column("constant", pa.array([7] * 400))
    table = table.append_column("<id>", pa.array([f"{n}</svg>" for n in range(400)]))
    table = table.append_column("gaps", pa.array([1.0, None, None, math.nan] * 100))
    html = page(describe(write(train=table, eval=table.slice(0, 100))))
    assert html.index("train, 400 rows") < html.index("eval, 100 rows")
    for name, warning in {
        "constant": "one value only",
        "&lt;id&gt;": "nearly every value is different",
        "nothing": "no values",
        "gaps": "mostly missing; NaN among the values",
    }.items():
        assert re.search(f">{name}</a></td><td>[^<]*{warning}", html), name
    assert "<id>" not in html
    assert "<script" not in html
    assert "http" not in html


@pytest.mark.slow
def test_a_page_of_500_columns_is_small(write, describe):
    rng = np.random.default_rng(1)
    table = pa.table(
        {
            f"a rather long column name, number {n}": rng.normal(0, 1e5, 200)
            if n % 2
            else pa.array([f"category value {v}" for v in rng.integers(0, 30, 200)])
            for n in range(520)
        }
    )
    html = page(describe(write(train=table, eval=table)))
    assert len(html.encode()) < 1_000_000
    assert html.count('class="card"') == 500
    assert "first 500 of 520 columns" in html
