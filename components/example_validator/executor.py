"""ExampleValidator: validates every split against the schema, and fails on anomalies."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from millrace.artifacts import HTML, Anomalies, Input, Output, Schema, Statistics
from millrace.components.example_validator import (
    baselines,
    charts,
    comparators,
    comparisons,
    findings,
    spans,
)
from millrace.data import examples as data
from millrace.data import schemas
from millrace.data import statistics as stored
from millrace.errors import AnomaliesError
from millrace.report import page

FILE = "SchemaDiff.pb"
COMPARISONS_FILE = "Comparisons.json"
_FINDINGS_SHOWN = 1_000
_CHARTS_SHOWN = 100
logger = logging.getLogger(__name__)


def run(
    statistics: Input[Statistics],
    schema: Input[Schema],
    anomalies: Output[Anomalies],
    report: Output[HTML],
    previous_statistics: Input[Statistics] | None = None,
    serving_statistics: Input[Statistics] | None = None,
    previous_statistics_uri: str = "",
    serving_statistics_uri: str = "",
    fail_on_anomalies: bool = True,
    fail_on_drift: bool = False,
    exclude_splits: list[str] = [],
) -> None:
    """Validates the statistics of every split against the schema, and fails on anomalies."""
    splits = data.chosen_splits(statistics.path, exclude_splits)
    expected = schemas.load(schema.path)
    comparators.check(expected)
    others = {
        comparators.DRIFT: baselines.locate(
            "previous_statistics", previous_statistics, previous_statistics_uri
        ),
        comparators.SKEW: baselines.locate(
            "serving_statistics", serving_statistics, serving_statistics_uri
        ),
    }
    found = findings.without_baseline(expected, others)
    compared: dict[str, list[comparisons.Comparison]] = {}
    for split in splits:
        actual = stored.load(statistics.path, split)
        baseline = {
            kind: baselines.load(root, split) for kind, root in others.items() if root is not None
        }
        compared[split], unapplied = spans.compare(expected, actual, baseline, len(splits))
        folder = data.split_folder(anomalies.path, split)
        folder.mkdir(parents=True, exist_ok=True)
        result = _validate(actual, expected, baseline, unapplied)
        (folder / FILE).write_bytes(result.SerializeToString(deterministic=True))
        if any(others.values()):
            _save(folder / COMPARISONS_FILE, compared[split])
        found += findings.collect(split, result, actual.datasets[0])
        found += findings.unapplied(split, unapplied)
        found += findings.without_split(split, others, baseline)
        found += findings.changes(split, compared[split], fail_on_drift)
    blocking = [finding for finding in found if finding.blocks]
    for finding in found:
        logger.warning("split %s, feature %r: %s", finding.split, finding.feature, finding.text)
    every = [one for part in compared.values() for one in part]
    changed = [(split, one) for split, part in compared.items() for one in part if one.exceeded]
    anomalies.metadata |= {
        "splits": splits,
        "anomalies": len(blocking),
        "warnings": len(found) - len(blocking),
    }
    if every:
        anomalies.metadata |= {"compared": len(every), "changed": len(changed)}
    report.path.write_text(
        page.render(
            Path(__file__).with_name("report.html.j2"),
            splits=splits,
            found=found,
            shown=_FINDINGS_SHOWN,
            blocking=len(blocking),
            features=len(expected.feature),
            compared=len(every),
            changed=len(changed),
            charts=[charts.make(split, one) for split, one in changed[:_CHARTS_SHOWN]],
            comparisons_file=COMPARISONS_FILE,
        ),
        encoding="utf-8",
    )
    if blocking and fail_on_anomalies:
        raise AnomaliesError(f"The data is not what the schema says: {findings.line(blocking)}")


def _validate(
    actual: statistics_pb2.DatasetFeatureStatisticsList,
    expected: schema_pb2.Schema,
    baseline: Mapping[str, statistics_pb2.DatasetFeatureStatisticsList | None],
    unapplied: Mapping[tuple[str, str], str],
) -> anomalies_pb2.Anomalies:
    """Validates a split with TFDV, which fails on comparators that have nothing to compare."""
    schema = schema_pb2.Schema()
    schema.CopyFrom(expected)
    for kind, name in unapplied:
        comparators.without(schema, kind, [name])
    return tfdv.validate_statistics(
        actual,
        schema,
        previous_statistics=baseline.get(comparators.DRIFT),
        serving_statistics=baseline.get(comparators.SKEW),
    )


def _save(path: Path, compared: list[comparisons.Comparison]) -> None:
    content = [one.to_json() for one in compared]
    path.write_text(
        json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1), encoding="utf-8"
    )
