"""Words TFDV's anomalies and the changes between spans, with advice on what to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from millrace.components.example_validator import comparators
from millrace.components.example_validator.comparisons import Comparison, Score
from millrace.data import examples as data
from millrace.data import statistics as stored
from millrace.report import numbers

ALL_FEATURES = "all features"
ALL_SPLITS = "all splits"
OTHERS = {comparators.DRIFT: "previous span", comparators.SKEW: "served rows"}
INPUTS = {
    comparators.DRIFT: "previous_statistics_uri",
    comparators.SKEW: "serving_statistics_uri",
}
MEASURES = {
    "missing_share": "difference of the missing shares",
    "zero_share": "difference of the shares of zeros",
    "mean_shift": "shift of the mean, in standard deviations",
    "spread_change": "change of the spread (logarithm)",
    "kolmogorov_smirnov": "Kolmogorov–Smirnov distance, at least",
    "jensen_shannon_divergence": "Jensen–Shannon divergence",
    "infinity_norm": "L-infinity norm",
    "normalized_abs_difference": "normalised absolute difference",
    "population_stability_index": "population stability index",
    "chi_square": "chi-square",
    "wasserstein": "Wasserstein distance",
}
_SHOWN = 3
_REASON = anomalies_pb2.AnomalyInfo
_FINITE = {_REASON.FLOAT_TYPE_HAS_NAN, _REASON.FLOAT_TYPE_HAS_INF}
_ALLOW = "allow it in a schema of your own, as SchemaGen's schema_uri"
_ADVICE = {
    _REASON.ENUM_TYPE_UNEXPECTED_STRING_VALUES: (
        f"Mend the values in ExampleGen's query, or {_ALLOW}."
    ),
    _REASON.SCHEMA_MISSING_COLUMN: f"See why the source lost the column, or {_ALLOW}.",
    _REASON.SCHEMA_NEW_COLUMN: f"Leave the column out in ExampleGen's query, or {_ALLOW}.",
    _REASON.FEATURE_TYPE_LOW_FRACTION_PRESENT: f"See why the values are missing, or {_ALLOW}.",
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One reason why a feature of a split does not match the schema.

    Attributes:
        split: The split.
        feature: The feature's name.
        title: The kind of the reason, in TFDV's words.
        text: The reason.
        advice: What to do about it.
        blocks: Whether it is an error rather than a warning.
    """

    split: str
    feature: str
    title: str
    text: str
    advice: str
    blocks: bool


def collect(
    split: str,
    anomalies: anomalies_pb2.Anomalies,
    statistics: statistics_pb2.DatasetFeatureStatistics,
) -> list[Finding]:
    """Returns the findings of a split, in the order of its columns."""
    if not statistics.num_examples:
        return [
            Finding(split, ALL_FEATURES, "No rows", "The split holds no rows.", "", blocks=True)
        ]
    features = {feature.path.step[0]: feature for feature in statistics.features}
    order = {name: number for number, name in enumerate(features)}
    infos = sorted(
        anomalies.anomaly_info.values(),
        key=lambda info: (order.get(_name(info), len(order)), _name(info)),
    )
    if anomalies.HasField("dataset_anomaly_info"):
        infos.insert(0, anomalies.dataset_anomaly_info)
    return [
        Finding(
            split=split,
            feature=_name(info),
            title=reason.short_description,
            text=_text(reason, features.get(_name(info))),
            advice=_advice(reason, _name(info)),
            blocks=info.severity == anomalies_pb2.AnomalyInfo.ERROR,
        )
        for info in infos
        for reason in info.reason
    ]


def without_baseline(schema: schema_pb2.Schema, roots: Mapping[str, Path | None]) -> list[Finding]:
    """Returns a warning for each comparator that has no statistics to compare with."""
    return [
        Finding(
            ALL_SPLITS,
            name,
            "Not compared",
            f"The schema has a {comparators.FIELDS[kind]}, but no statistics of the "
            f"{OTHERS[kind]} were given.",
            f"Give them as {INPUTS[kind]}.",
            blocks=False,
        )
        for kind, root in roots.items()
        if root is None
        for name in comparators.features(schema, kind)
    ]


def without_split(
    split: str, roots: Mapping[str, Path | None], loaded: Mapping[str, object]
) -> list[Finding]:
    """Returns a warning for each span that has no such split."""
    return [
        Finding(
            split,
            ALL_FEATURES,
            "Not compared",
            f"The statistics of the {OTHERS[kind]} are of the splits "
            f"{', '.join(data.splits(root))}, not of {split}.",
            "",
            blocks=False,
        )
        for kind, root in roots.items()
        if root is not None and loaded.get(kind) is None
    ]


def unapplied(split: str, reasons: Mapping[tuple[str, str], str]) -> list[Finding]:
    """Returns a warning for each comparator that had nothing to compare."""
    return [
        Finding(split, name, "Not compared", f"{reason}.", "", blocks=False)
        for (_, name), reason in reasons.items()
    ]


def changes(split: str, compared: Iterable[Comparison], blocks: bool) -> list[Finding]:
    """Returns a finding for each column that has changed beyond a default threshold."""
    found = []
    for one in compared:
        scores = [score for score in one.exceeded if score.asked_by == "default"]
        if not scores and not one.note.startswith("numbers in"):
            continue
        text = "; ".join(_change(score, one) for score in scores) or one.note
        found.append(
            Finding(
                split,
                one.column,
                one.kind.capitalize(),
                f"Changed against the {OTHERS[one.kind]}: {text}.",
                "See what changed at the source, or set a threshold of your own: "
                f"{comparators.FIELDS[one.kind]} in a curated schema.",
                blocks,
            )
        )
    return found


def line(findings: Sequence[Finding]) -> str:
    """Returns the first findings in one line, how many more there are, and what to do."""
    first = findings[:_SHOWN]
    texts = [f'split {one.split}, feature "{one.feature}": {one.text}' for one in first]
    if more := len(findings) - len(first):
        texts.append(f"And {more:,} more.")
    return " ".join([*texts, *dict.fromkeys(one.advice for one in first if one.advice)])


def _change(score: Score, one: Comparison) -> str:
    before, now = one.previous, one.current
    if score.measure == "missing_share":
        if now.feature is None or before.feature is None:
            return f"the column is {'gone' if now.feature is None else 'new'}"
        return (
            f"missing in {numbers.percent(now.missing / now.rows)} of the rows, in "
            f"{numbers.percent(before.missing / before.rows)} there"
        )
    return (
        f"{MEASURES[score.measure]} {numbers.number(score.value, 3)}, above "
        f"{numbers.number(score.threshold, 3)}"
    )


def _name(info: anomalies_pb2.AnomalyInfo) -> str:
    return ".".join(info.path.step) or ALL_FEATURES


def _text(
    reason: anomalies_pb2.AnomalyInfo.Reason,
    feature: statistics_pb2.FeatureNameStatistics | None,
) -> str:
    text: str = reason.description.strip().rstrip(".")
    if reason.type in _FINITE and feature is not None:
        nans, infinities = stored.non_finite(feature)
        count = nans if reason.type == _REASON.FLOAT_TYPE_HAS_NAN else infinities
        text += f" ({count:,} of {stored.common(feature).tot_num_values:,})"
    return text + "."


def _advice(reason: anomalies_pb2.AnomalyInfo.Reason, name: str) -> str:
    if reason.type in _FINITE:
        column = '"' + name.replace('"', '""') + '"'
        return (
            "Turn such values into missing ones in ExampleGen's query: "
            f"SELECT * REPLACE (CASE WHEN isfinite({column}) THEN {column} END AS {column}) "
            "FROM data."
        )
    return _ADVICE.get(reason.type, "")
