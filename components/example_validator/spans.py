"""Compares a split's columns with those of other spans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from millrace.components.example_validator import comparators, comparisons, distributions


def compare(
    schema: schema_pb2.Schema,
    current: statistics_pb2.DatasetFeatureStatisticsList,
    others: Mapping[str, statistics_pb2.DatasetFeatureStatisticsList | None],
    splits: int,
) -> tuple[list[comparisons.Comparison], dict[tuple[str, str], str]]:
    """Compares every column of a split with each of the other spans.

    Args:
        schema: The schema, with comparators or without.
        current: The statistics of the split.
        others: The statistics to compare with, by `drift` and `skew`.
        splits: How many splits are validated, since chance has a try in each.

    Returns:
        The comparisons, and for each kind and feature why its comparator was not applied.
    """
    compared: list[comparisons.Comparison] = []
    unapplied: dict[tuple[str, str], str] = {}
    if not current.datasets[0].num_examples:
        return [], {}
    given = {kind: other.datasets[0] for kind, other in others.items() if other is not None}
    for kind, other in given.items():
        asked = set(comparators.features(schema, kind))
        pairs = list(_pairs(kind, distributions.columns(other), current.datasets[0], asked))
        tries = len(pairs) * comparisons.MEASURES_PER_COLUMN * len(given) * splits
        made = [
            comparisons.compare(kind, name, previous, column, tries, name not in asked)
            for name, previous, column in pairs
        ]
        for comparison, why in comparators.apply(schema, made):
            compared.append(comparison)
            if why:
                unapplied[kind, comparison.column] = why
    return compared, unapplied


def _pairs(
    kind: str,
    others: Mapping[str, distributions.Column],
    statistics: statistics_pb2.DatasetFeatureStatistics,
    asked: set[str],
) -> Iterator[tuple[str, distributions.Column, distributions.Column]]:
    """Yields the columns of both; rows that are served need not have all, such as the label."""
    columns = distributions.columns(statistics)
    rows = max((other.rows for other in others.values()), default=0)
    for name in dict.fromkeys([*columns, *others, *sorted(asked)]):
        if kind == comparators.SKEW and name not in others and name not in asked:
            continue
        yield (
            name,
            others.get(name, distributions.Column(rows, None)),
            columns.get(name, distributions.Column(int(statistics.num_examples), None)),
        )
