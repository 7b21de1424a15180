"""Computes TFDV's statistics of one split, with TFDV's combiners and without Beam."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics import stats_impl
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from millrace.components.statistics_gen.generators import default_generators
from millrace.data.lists import to_lists


def analyze(
    batches: Iterable[pa.RecordBatch], split: str, schema: schema_pb2.Schema | None = None
) -> statistics_pb2.DatasetFeatureStatisticsList:
    """Returns the statistics of a split's rows, named after it.

    Args:
        batches: The rows.
        split: The name of the dataset in the result.
        schema: Types and domains that the statistics follow.
    """
    options = tfdv.StatsOptions(
        schema=schema, infer_type_from_schema=schema is not None, add_default_generators=False
    )
    options.generators = default_generators(options)
    generators = stats_impl.get_generators(options, in_memory=True)
    for generator in generators:
        generator.setup()
    partial = [generator.create_accumulator() for generator in generators]
    # The mean of infinities is NaN, which the statistics report themselves.
    with np.errstate(invalid="ignore"):
        for batch in batches:
            rows = to_lists(batch)
            partial = [
                generator.add_input(accumulator, rows)
                for generator, accumulator in zip(generators, partial, strict=True)
            ]
    result = stats_impl.extract_statistics_output(partial, generators)
    result.datasets[0].name = split
    return result
