"""Words TFDV's anomalies, with advice on what to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2

from millrace.data import statistics as stored

ALL_FEATURES = "all features"
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


def line(findings: Sequence[Finding]) -> str:
    """Returns the first findings in one line, how many more there are, and what to do."""
    first = findings[:_SHOWN]
    texts = [f'split {one.split}, feature "{one.feature}": {one.text}' for one in first]
    if more := len(findings) - len(first):
        texts.append(f"And {more:,} more.")
    return " ".join([*texts, *dict.fromkeys(one.advice for one in first if one.advice)])


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
