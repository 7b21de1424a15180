"""StatisticsGen: TFDV's statistics of every split, each in one pass over its rows."""

from __future__ import annotations

import functools
import logging
import os
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from millrace import progress
from millrace.artifacts import HTML, Examples, Input, Output, Schema, Statistics
from millrace.components.statistics_gen import analysis, cards
from millrace.data import examples as data
from millrace.data import schemas
from millrace.data import statistics as stored
from millrace.report import page

# A page with this many columns stays below 1 MB.
_CARDS_SHOWN = 500
_WARNINGS_SHOWN = 50
_SHOWN_FIRST = "train"
logger = logging.getLogger(__name__)


def run(
    examples: Input[Examples],
    statistics: Output[Statistics],
    report: Output[HTML],
    schema: Input[Schema] | None = None,
    exclude_splits: list[str] = [],
) -> None:
    """Computes TensorFlow Data Validation's statistics of every split, in one pass over it."""
    splits = data.chosen_splits(examples.path, exclude_splits)
    known = schemas.load(schema.path) if schema else None
    total = sum(data.num_rows(examples.path, split) for split in splits)
    analyze = functools.partial(_analyze, examples.path, known, progress.Counter(total))
    # TFDV's sketches release the interpreter lock, so splits run in parallel.
    with ThreadPoolExecutor(min(len(splits), os.cpu_count() or 1)) as pool:
        results = dict(zip(splits, pool.map(analyze, splits), strict=True))
    for split, result in results.items():
        stored.save(statistics.path, split, result)
        logger.info("split %s: %d rows", split, result.datasets[0].num_examples)
    rows = {name: int(result.datasets[0].num_examples) for name, result in results.items()}
    statistics.metadata |= {
        "splits": splits,
        "split_rows": rows,
        "features": max(len(result.datasets[0].features) for result in results.values()),
    }
    report.path.write_text(_page(results, rows), encoding="utf-8")


def _page(
    results: Mapping[str, statistics_pb2.DatasetFeatureStatisticsList], rows: Mapping[str, int]
) -> str:
    shown = sorted(results, key=lambda split: (split != _SHOWN_FIRST, split))
    columns = cards.make({split: results[split] for split in shown})
    return page.render(
        Path(__file__).with_name("report.html.j2"),
        splits={split: rows[split] for split in shown},
        kinds=Counter(card.kind for card in columns),
        cards=columns,
        warned=[(number, card) for number, card in enumerate(columns) if card.warnings],
        most_cards=_CARDS_SHOWN,
        most_warned=_WARNINGS_SHOWN,
    )


def _analyze(
    root: Path, schema: schema_pb2.Schema | None, counter: progress.Counter, split: str
) -> statistics_pb2.DatasetFeatureStatisticsList:
    batch_rows = data.group_rows(data.schema(root, split))
    batches = counter.over(data.read(root, split, batch_rows=batch_rows))
    return analysis.analyze(batches, split, schema)
