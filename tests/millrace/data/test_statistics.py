from __future__ import annotations

import math

import pytest
from tensorflow_metadata.proto.v0 import statistics_pb2

from millrace.data import statistics
from millrace.errors import DataError


def some() -> statistics_pb2.DatasetFeatureStatisticsList:
    result = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = result.datasets.add(name="train", num_examples=9)
    feature = dataset.features.add(type=statistics_pb2.FeatureNameStatistics.FLOAT)
    feature.path.step.append("x")
    feature.num_stats.common_stats.num_non_missing = 9
    histogram = feature.num_stats.histograms.add(num_nan=2)
    for low, high, count in [
        (-math.inf, -math.inf, 1),
        (0, 1, 3.9),
        (1, math.inf, 7),
        (math.inf, math.inf, 2),
    ]:
        histogram.buckets.add(low_value=low, high_value=high, sample_count=count)
    text = dataset.features.add(type=statistics_pb2.FeatureNameStatistics.STRING)
    text.string_stats.common_stats.num_missing = 4
    return result


def test_they_come_back_from_the_file_that_tfx_reads(tmp_path):
    statistics.save(tmp_path, "train", some())
    assert [path.name for path in (tmp_path / "Split-train").iterdir()] == ["FeatureStats.pb"]
    assert statistics.load(tmp_path, "train") == some()


def test_a_missing_split(tmp_path):
    statistics.save(tmp_path, "train", some())
    with pytest.raises(DataError, match=r'has no statistics of split "eval", but of train\.$'):
        statistics.load(tmp_path, "eval")


def test_a_damaged_file(tmp_path):
    statistics.save(tmp_path, "train", some())
    (tmp_path / "Split-train" / "FeatureStats.pb").write_bytes(b"\xff\xff")
    with pytest.raises(DataError, match=r"FeatureStats.pb does not hold TFDV statistics"):
        statistics.load(tmp_path, "train")


def test_presence_and_values_that_are_not_finite():
    number, text = some().datasets[0].features
    assert statistics.common(number).num_non_missing == 9
    assert statistics.common(text).num_missing == 4
    assert statistics.non_finite(number) == (2, 3)
    assert statistics.non_finite(text) == (0, 0)
