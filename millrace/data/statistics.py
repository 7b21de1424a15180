"""Reads and writes TFDV's statistics in TFX's layout: `<uri>/Split-<name>/FeatureStats.pb`.

`tfdv.load_stats_binary` reads the file. The dataset in it is named after its split.
"""

from __future__ import annotations

import math
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import statistics_pb2

from millrace.data import examples
from millrace.errors import DataError

FILE = "FeatureStats.pb"


def save(root: Path, split: str, statistics: statistics_pb2.DatasetFeatureStatisticsList) -> None:
    """Writes the statistics of a split, deterministically."""
    folder = examples.split_folder(root, split)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_bytes(statistics.SerializeToString(deterministic=True))


def load(root: Path, split: str) -> statistics_pb2.DatasetFeatureStatisticsList:
    """Reads the statistics of a split.

    Raises:
        DataError: There is no such split, or its file is damaged.
    """
    path = examples.split_folder(root, split) / FILE
    try:
        return statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes())
    except FileNotFoundError:
        known = ", ".join(examples.splits(root)) or "none at all"
        raise DataError(f'{root} has no statistics of split "{split}", but of {known}.') from None
    except DecodeError as error:
        raise DataError(f"{path} does not hold TFDV statistics: {error}") from error


def common(feature: statistics_pb2.FeatureNameStatistics) -> statistics_pb2.CommonStatistics:
    """Returns the common statistics of a feature of any type."""
    return getattr(feature, feature.WhichOneof("stats")).common_stats


def non_finite(feature: statistics_pb2.FeatureNameStatistics) -> tuple[int, int]:
    """Returns how many values of a feature are NaN and how many are infinite."""
    for histogram in feature.num_stats.histograms:
        if histogram.type == statistics_pb2.Histogram.STANDARD:
            infinite = sum(
                bucket.sample_count
                for bucket in histogram.buckets
                if math.isinf(bucket.low_value) and math.isinf(bucket.high_value)
            )
            return int(histogram.num_nan), round(infinite)
    return 0, 0
