"""Infers a schema from the statistics of splits, as TFX's SchemaGen does, with three additions.

A column of decimals may not hold NaN or infinity: a single one spoils a mean, and so a model. A
column without a value in any split gets the lifecycle stage PLANNED, and TensorFlow's libraries
ignore it. A column with one value per row is marked so, whichever split comes first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from millrace.data import statistics as stored
from millrace.errors import DataError


def infer(
    statistics: Mapping[str, statistics_pb2.DatasetFeatureStatisticsList],
    infer_feature_shape: bool,
    max_string_domain_size: int,
) -> schema_pb2.Schema:
    """Returns a schema that the statistics of every split agree with.

    Raises:
        DataError: No split holds a row.
    """
    filled = [split for split in statistics.values() if split.datasets[0].num_examples]
    if not filled:
        raise DataError(f"There are no rows in {', '.join(statistics)} to infer a schema from.")
    first, *others = filled
    schema = tfdv.infer_schema(
        first,
        infer_feature_shape=infer_feature_shape,
        max_string_domain_size=max_string_domain_size,
    )
    for other in others:
        schema = tfdv.update_schema(
            schema,
            other,
            infer_feature_shape=infer_feature_shape,
            max_string_domain_size=max_string_domain_size,
        )
    empty = [_without_values(split.datasets[0]) for split in filled]
    single = set.intersection(*(_single(split.datasets[0]) for split in filled))
    for feature in schema.feature:
        _normalize(feature, [feature.name in names for names in empty])
        if not feature.WhichOneof("shape_type") and feature.name in single:
            # TFDV leaves it open where the first split has no values, as it does for lists.
            feature.value_count.min = feature.value_count.max = 1
    for domain in schema.string_domain:
        domain.value.sort()
    return schema


def _normalize(feature: schema_pb2.Feature, empty: Sequence[bool]) -> None:
    """Sets what TFDV leaves open or makes depend on the order of the splits.

    Args:
        feature: The feature.
        empty: For each split, whether the feature has no value in it.
    """
    if feature.type == schema_pb2.FLOAT and not feature.WhichOneof("domain_info"):
        feature.float_domain.disallow_nan = True
        feature.float_domain.disallow_inf = True
    if all(empty):
        feature.lifecycle_stage = schema_pb2.PLANNED
    elif any(empty):
        # TFDV would deprecate the feature if the split without values comes later.
        feature.ClearField("lifecycle_stage")
        feature.ClearField("shape")
        feature.presence.ClearField("min_fraction")
        feature.presence.min_count = 0


def _without_values(statistics: statistics_pb2.DatasetFeatureStatistics) -> set[str]:
    return {
        feature.path.step[0]
        for feature in statistics.features
        if not stored.common(feature).num_non_missing
    }


def _single(statistics: statistics_pb2.DatasetFeatureStatistics) -> set[str]:
    counts = {feature.path.step[0]: stored.common(feature) for feature in statistics.features}
    return {
        name
        for name, count in counts.items()
        if not count.num_non_missing or count.min_num_values == count.max_num_values == 1
    }
