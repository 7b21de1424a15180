"""ExampleValidator: validates every split against the schema, and fails on anomalies."""

from __future__ import annotations

import logging
from pathlib import Path

import tensorflow_data_validation as tfdv

from millrace.artifacts import HTML, Anomalies, Input, Output, Schema, Statistics
from millrace.components.example_validator import findings
from millrace.data import examples as data
from millrace.data import schemas
from millrace.data import statistics as stored
from millrace.errors import AnomaliesError
from millrace.report import page

FILE = "SchemaDiff.pb"
_FINDINGS_SHOWN = 1_000
logger = logging.getLogger(__name__)


def run(
    statistics: Input[Statistics],
    schema: Input[Schema],
    anomalies: Output[Anomalies],
    report: Output[HTML],
    fail_on_anomalies: bool = True,
    exclude_splits: list[str] = [],
) -> None:
    """Validates the statistics of every split against the schema, and fails on anomalies."""
    splits = data.chosen_splits(statistics.path, exclude_splits)
    expected = schemas.load(schema.path)
    found: list[findings.Finding] = []
    for split in splits:
        actual = stored.load(statistics.path, split)
        result = tfdv.validate_statistics(actual, expected)
        folder = data.split_folder(anomalies.path, split)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_bytes(result.SerializeToString(deterministic=True))
        found += findings.collect(split, result, actual.datasets[0])
    blocking = [finding for finding in found if finding.blocks]
    for finding in found:
        logger.warning("split %s, feature %r: %s", finding.split, finding.feature, finding.text)
    anomalies.metadata |= {
        "splits": splits,
        "anomalies": len(blocking),
        "warnings": len(found) - len(blocking),
    }
    report.path.write_text(
        page.render(
            Path(__file__).with_name("report.html.j2"),
            splits=splits,
            found=found,
            shown=_FINDINGS_SHOWN,
            blocking=len(blocking),
            features=len(expected.feature),
        ),
        encoding="utf-8",
    )
    if blocking and fail_on_anomalies:
        raise AnomaliesError(f"The data is not what the schema says: {findings.line(blocking)}")
