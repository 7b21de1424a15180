"""SchemaGen: infers the schema from the statistics of the splits, or takes a curated one."""

from __future__ import annotations

import logging
from pathlib import Path

from millrace.artifacts import HTML, Input, Output, Schema, Statistics
from millrace.components.schema_gen import curated, inference, rows
from millrace.data import examples as data
from millrace.data import schemas
from millrace.data import statistics as stored
from millrace.errors import ParameterError
from millrace.report import page

logger = logging.getLogger(__name__)


def run(
    statistics: Input[Statistics],
    schema: Output[Schema],
    report: Output[HTML],
    schema_uri: str = "",
    infer_feature_shape: bool = True,
    max_string_domain_size: int = 100,
    exclude_splits: list[str] = [],
) -> None:
    """Infers the schema of the examples from their statistics, or imports one that was curated."""
    if max_string_domain_size < 0:
        raise ParameterError(
            f'"max_string_domain_size" is {max_string_domain_size}: give 0 or more.'
        )
    splits = data.chosen_splits(statistics.path, exclude_splits)
    found = {split: stored.load(statistics.path, split) for split in splits}
    if schema_uri:
        result = curated.load(schema_uri)
    else:
        result = inference.infer(found, infer_feature_shape, max_string_domain_size)
    schemas.save(schema.path, result)
    ignored = [feature.name for feature in result.feature if schemas.ignored(feature)]
    for name in ignored:
        logger.warning('column "%s" holds no value, and is left out from here on', name)
    schema.metadata |= {
        "features": len(result.feature),
        "required": sum(map(schemas.required, result.feature)),
        "ignored": ignored,
        "curated": bool(schema_uri),
    }
    report.path.write_text(
        page.render(
            Path(__file__).with_name("report.html.j2"),
            rows=rows.describe(result),
            required=schema.metadata["required"],
            splits=splits,
            schema_uri=schema_uri,
        ),
        encoding="utf-8",
    )
