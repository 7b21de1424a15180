"""TFDV's default generators, made repeatable: the same rows give the same bytes.

TFDV counts the most frequent values of text columns with a Misra-Gries sketch of 1,024 values. When
a column has more, which of the equally rare ones it keeps depends on the order of a hash table, and
so on the process. Here the sketch keeps 16,384 values, as many as TFDV's sketch of distinct values
counts exactly. For a column with even more values, the rarest that were kept are left out, since
they are an arbitrary choice.
"""

from __future__ import annotations

from typing import Any

from tensorflow_data_validation.statistics import stats_options
from tensorflow_data_validation.statistics.generators import (
    basic_stats_generator,
    stats_generator,
)
from tensorflow_data_validation.statistics.generators.top_k_uniques_sketch_stats_generator import (
    TopKUniquesSketchStatsGenerator,
)
from tensorflow_data_validation.utils import top_k_uniques_stats_util
from tensorflow_metadata.proto.v0 import statistics_pb2

SKETCH_VALUES = 16_384


def default_generators(
    options: stats_options.StatsOptions,
) -> list[stats_generator.CombinerStatsGenerator]:
    """Returns the generators that TFDV uses by default, for `StatsOptions.generators`."""
    return [
        basic_stats_generator.BasicStatsGenerator(
            schema=options.schema,
            example_weight_map=options.example_weight_map,
            num_values_histogram_buckets=options.num_values_histogram_buckets,
            num_histogram_buckets=options.num_histogram_buckets,
            num_quantiles_histogram_buckets=options.num_quantiles_histogram_buckets,
            epsilon=options.epsilon,
        ),
        _TopKUniques(options),
    ]


class _TopKUniques(TopKUniquesSketchStatsGenerator):  # type: ignore[misc]
    """Counts distinct and most frequent values."""

    def __init__(self, options: stats_options.StatsOptions) -> None:
        super().__init__(
            schema=options.schema,
            example_weight_map=options.example_weight_map,
            num_top_values=options.num_top_values,
            num_rank_histogram_buckets=options.num_rank_histogram_buckets,
            frequency_threshold=options.frequency_threshold,
            weighted_frequency_threshold=options.weighted_frequency_threshold,
            num_misragries_buckets=SKETCH_VALUES,
            num_kmv_buckets=SKETCH_VALUES,
        )
        self._options = options

    def extract_output(
        self, accumulator: dict[Any, Any]
    ) -> statistics_pb2.DatasetFeatureStatistics:
        result = statistics_pb2.DatasetFeatureStatistics()
        for path, sketch in accumulator.items():
            estimate = sketch.estimate()
            if not estimate.topk_unweighted:
                continue
            result.features.add().CopyFrom(
                top_k_uniques_stats_util.make_feature_stats_proto_topk_uniques(
                    feature_path=path,
                    num_top_values=self._options.num_top_values,
                    num_rank_histogram_buckets=self._options.num_rank_histogram_buckets,
                    num_unique=estimate.distinct,
                    value_count_list=_without_choice(estimate.topk_unweighted),
                    frequency_threshold=self._options.frequency_threshold,
                )
            )
        return result


def _without_choice(
    counts: list[top_k_uniques_stats_util.FeatureValueCount],
) -> list[top_k_uniques_stats_util.FeatureValueCount]:
    """Drops the rarest values of a full sketch."""
    if len(counts) < SKETCH_VALUES:
        return counts
    least = min(pair.count for pair in counts)
    return [pair for pair in counts if pair.count > least]
