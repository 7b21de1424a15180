"""Applies the schema's `drift_comparator` and `skew_comparator`, as TFDV does.

TFDV decides and reports what is above a threshold. Here is what it passes over in silence: a
comparator that cannot apply, and one that has nothing to compare. The scores are computed again, so
that they come with their counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from millrace.components.example_validator import distributions, measures
from millrace.components.example_validator.comparisons import Comparison, Score
from millrace.data import schemas
from millrace.errors import DataError

DRIFT, SKEW = "drift", "skew"
FIELDS = {DRIFT: "drift_comparator", SKEW: "skew_comparator"}
_CATEGORICAL_ONLY = {
    "infinity_norm": measures.infinity_norm,
    "normalized_abs_difference": measures.normalized_abs_difference,
}
_DIVERGENCE = "jensen_shannon_divergence"
_Feature: TypeAlias = schema_pb2.Feature


def check(schema: schema_pb2.Schema) -> None:
    """Checks that the comparators of a schema apply to their features.

    Raises:
        DataError: One does not: TFDV reports 0 for it, whatever the data.
    """
    wrong = [
        f'{FIELDS[kind]} {{ {measure} }} of feature "{feature.name}"'
        for kind in FIELDS
        for feature in schema.feature
        if feature.type in (schema_pb2.INT, schema_pb2.FLOAT)
        and not feature.int_domain.is_categorical
        for measure in asked(feature, kind)
        if measure in _CATEGORICAL_ONLY
    ]
    if wrong:
        raise DataError(
            f"The schema asks for {', '.join(wrong)}, which compares the shares of categories and "
            f"does not apply to numbers. Use {_DIVERGENCE} instead, or mark a column of codes with "
            "int_domain { is_categorical: true }."
        )


def asked(feature: _Feature, kind: str) -> list[str]:
    """Returns the measures that a feature's comparator asks for."""
    comparator = getattr(feature, FIELDS[kind])
    return [] if schemas.ignored(feature) else [field.name for field, _ in comparator.ListFields()]


def features(schema: schema_pb2.Schema, kind: str) -> list[str]:
    """Returns the names of the features that have a comparator."""
    return [feature.name for feature in schema.feature if asked(feature, kind)]


def apply(
    schema: schema_pb2.Schema, compared: Iterable[Comparison]
) -> Iterator[tuple[Comparison, str]]:
    """Yields each comparison with the scores that the schema asks for, and why one is missing."""
    known = {feature.name: feature for feature in schema.feature}
    for comparison in compared:
        feature = known.get(comparison.column)
        wanted = asked(feature, comparison.kind) if feature is not None else []
        if feature is None or not wanted:
            yield comparison, ""
            continue
        scores, histograms = list(comparison.scores), dict(comparison.histograms)
        absent = ""
        for measure in wanted:
            bins, name, why = _bins(feature, comparison, measure)
            if bins is None:
                absent = f"{FIELDS[comparison.kind]} {{ {measure} }} was not applied: {why}"
                continue
            histograms[name] = bins
            threshold = getattr(getattr(feature, FIELDS[comparison.kind]), measure).threshold
            value = _CATEGORICAL_ONLY.get(measure, measures.jensen_shannon)(bins)
            scores = [score for score in scores if (score.measure, score.bins) != (measure, name)]
            scores.insert(0, Score(measure, value, threshold, name, "schema"))
        yield dataclasses.replace(comparison, scores=scores, histograms=histograms), absent


def without(schema: schema_pb2.Schema, kind: str, names: Iterable[str]) -> None:
    """Removes the comparators of some features from a schema."""
    for feature in schema.feature:
        if feature.name in set(names):
            feature.ClearField(FIELDS[kind])


def _bins(
    feature: _Feature, comparison: Comparison, measure: str
) -> tuple[distributions.Bins | None, str, str]:
    previous, current = comparison.previous, comparison.current
    if not (previous.values and current.values):
        empty = "earlier" if not previous.values else "current"
        return None, "", f"the {empty} statistics hold no value of the column"
    if previous.is_categorical and current.is_categorical:
        bins = distributions.values(previous, current)
        if bins.previous.sum() and bins.current.sum():
            return bins, "values", ""
        return None, "", "the statistics count no values of the column"
    if previous.is_numeric != current.is_numeric:
        return None, "", "the column holds numbers in one of the two, and text in the other"
    if measure in _CATEGORICAL_ONLY:
        return (
            None,
            "",
            (
                "the statistics describe the column as numbers and do not count its values; "
                "give StatisticsGen the schema"
            ),
        )
    comparator = getattr(feature, FIELDS[comparison.kind]).jensen_shannon_divergence
    by_quantiles = comparator.source.type == schema_pb2.HistogramSelection.QUANTILES
    histogram = statistics_pb2.Histogram
    kind = histogram.QUANTILES if by_quantiles else histogram.STANDARD
    bins = distributions.aligned_bins(previous, current, kind)
    if not (bins.previous.sum() and bins.current.sum()):
        return None, "", "the statistics hold no histogram of the column"
    return bins, "aligned_quantiles" if by_quantiles else "aligned", ""
