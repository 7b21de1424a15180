"""Writes rows to their splits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from millrace import progress
from millrace.data.examples import SplitWriter
from millrace.errors import DataError


def write(
    batches: Iterable[pa.RecordBatch], root: Path, splits: Sequence[str], total: int | None = None
) -> dict[str, int]:
    """Writes rows into their splits.

    Args:
        batches: The rows; the last columns say for each split whether a row is in it.
        root: The folder of the examples.
        splits: The names of the splits.
        total: How many rows there are, if that is known.

    Returns:
        The rows of each split.

    Raises:
        DataError: They cannot be written, for example because the disk is full.
    """
    try:
        return _write(progress.Counter(total).over(batches), root, splits)
    except OSError as error:
        raise DataError(f"Cannot write the examples to {root}: {error}.") from error


def _write(batches: Iterable[pa.RecordBatch], root: Path, splits: Sequence[str]) -> dict[str, int]:
    with contextlib.ExitStack() as stack:
        writers: list[SplitWriter] = []
        for batch in batches:
            values = batch.columns[: -len(splits)]
            schema = pa.schema(list(batch.schema)[: -len(splits)])
            if not writers:
                writers = [stack.enter_context(SplitWriter(root, name, schema)) for name in splits]
            rows = pa.RecordBatch.from_arrays(values, schema=schema)
            for writer, chosen in zip(writers, batch.columns[-len(splits) :], strict=True):
                # `rows.filter` is equivalent, but imports pandas for a quarter of a second.
                writer.write(pc.call_function("filter", [rows, chosen]))
    return {name: writer.rows for name, writer in zip(splits, writers, strict=False)}
