"""Describes the features of a schema for its page."""

from __future__ import annotations

import dataclasses

from tensorflow_metadata.proto.v0 import schema_pb2

from millrace.data import schemas

_TYPES = {schema_pb2.INT: "integer", schema_pb2.FLOAT: "decimal", schema_pb2.BYTES: "text"}
_VALUES_SHOWN = 8


@dataclasses.dataclass(frozen=True)
class Row:
    """A feature, in words."""

    name: str
    type: str
    presence: str
    shape: str
    domain: str
    ignored: bool


def describe(schema: schema_pb2.Schema) -> list[Row]:
    """Returns a row for each feature, in the schema's order."""
    domains = {domain.name: list(domain.value) for domain in schema.string_domain}
    return [
        Row(
            name=feature.name,
            type=_TYPES.get(feature.type, schema_pb2.FeatureType.Name(feature.type).lower()),
            presence=_presence(feature),
            shape=_shape(feature),
            domain=_domain(feature, domains),
            ignored=schemas.ignored(feature),
        )
        for feature in schema.feature
    ]


def _presence(feature: schema_pb2.Feature) -> str:
    if schemas.ignored(feature):
        return str(schema_pb2.LifecycleStage.Name(feature.lifecycle_stage)).lower()
    if schemas.required(feature):
        return "required"
    least = feature.presence.min_fraction
    return f"optional, in {least:.1%} at least" if least else "optional"


def _shape(feature: schema_pb2.Feature) -> str:
    if feature.HasField("shape"):
        sizes = ", ".join(str(dim.size) for dim in feature.shape.dim)
        return f"dense [{sizes}]"
    if feature.HasField("value_count") and feature.value_count.max == 1:
        return "sparse, one value at most"
    return "sparse"


def _domain(feature: schema_pb2.Feature, domains: dict[str, list[str]]) -> str:
    kind = feature.WhichOneof("domain_info")
    if kind == "domain" or kind == "string_domain":
        values = domains.get(feature.domain, list(feature.string_domain.value))
        shown = ", ".join(values[:_VALUES_SHOWN])
        more = len(values) - _VALUES_SHOWN
        return f"{shown} and {more} more" if more > 0 else shown
    if kind == "bool_domain":
        return "0, 1"
    if kind == "float_domain":
        return _float_domain(feature.float_domain)
    if kind == "int_domain":
        return _range(feature.int_domain)
    return kind.removesuffix("_domain").replace("_", " ") if kind else ""


def _float_domain(domain: schema_pb2.FloatDomain) -> str:
    refused = [
        name
        for name, off in (("NaN", domain.disallow_nan), ("infinity", domain.disallow_inf))
        if off
    ]
    parts = [_range(domain), f"no {' or '.join(refused)}" if refused else ""]
    return ", ".join(part for part in parts if part)


def _range(domain: schema_pb2.FloatDomain | schema_pb2.IntDomain) -> str:
    low = f"from {domain.min:,}" if domain.HasField("min") else ""
    high = f"to {domain.max:,}" if domain.HasField("max") else ""
    return " ".join(part for part in (low, high) if part)
