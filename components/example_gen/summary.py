"""Renders the page about the examples."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from millrace.components.example_gen import canonical
from millrace.components.example_gen.hints import NAMES
from millrace.components.example_gen.source import Source
from millrace.components.example_gen.table import Table
from millrace.components.example_gen.time_split import TimeSplit
from millrace.data import examples as data
from millrace.report import numbers, page

_SAMPLE_ROWS = 50
_VALUES, _VALUE_WIDTH = 3, 24
_REJECTED_SHOWN = 20
_HELD = {**NAMES, "BLOB": "bytes"}


@dataclasses.dataclass(frozen=True)
class _Column:
    name: str
    held: str
    source: str
    key: bool
    values: list[str]


def render(
    root: Path,
    found: Source,
    read: Table,
    types: Mapping[str, str],
    written: Mapping[str, int],
    warning: str,
    by_time: TimeSplit | None,
    parameters: Mapping[str, Any],
) -> str:
    """Returns the page.

    Args:
        root: The examples.
        found: What they were read from.
        read: The rows of the source.
        types: The DuckDB type of each column.
        written: The rows of each split.
        warning: A warning about their sizes, if any.
        by_time: How the rows were split by time, if they were.
        parameters: `data_uri`, `query` and `key_columns`.
    """
    written = dict(sorted(written.items(), key=lambda item: -item[1]))
    most, total = max(written.values()), sum(written.values())
    return page.render(
        Path(__file__).with_name("report.html.j2"),
        files=found.names,
        format=found.format.value,
        source_rows=read.rows,
        rejected=read.rejected,
        notes=read.notes,
        read_as_missing=sum(read.missing.values()),
        pins={name: json.dumps(value) for name, value in read.pins.items()},
        shown=_REJECTED_SHOWN,
        columns=_columns(root, next(iter(written)), types, parameters["key_columns"]),
        written=written,
        warning=warning,
        by_time=by_time,
        spans=found.spans,
        split_bars=[
            (name, rows / most, numbers.percent(rows / total)) for name, rows in written.items()
        ],
        **parameters,
    )


def _columns(
    root: Path, split: str, types: Mapping[str, str], keys: Sequence[str]
) -> list[_Column]:
    rows = next(data.read(root, split, batch_rows=_SAMPLE_ROWS))
    columns = []
    for (name, kind), column in zip(types.items(), rows.columns, strict=True):
        held = canonical.held(name, kind)
        many = held.endswith("[]")
        columns.append(
            _Column(
                name=name,
                held=("list of " if many else "") + _HELD[held.removesuffix("[]")],
                source=kind.lower(),
                key=name in keys,
                values=_first_values(column.to_pylist()),
            )
        )
    return columns


def _first_values(values: Sequence[Any]) -> list[str]:
    """Returns the first distinct values, as text."""
    texts = dict.fromkeys(_short(value) for value in values if value is not None)
    return list(texts)[:_VALUES]


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= _VALUE_WIDTH else f"{text[: _VALUE_WIDTH - 1]}…"
