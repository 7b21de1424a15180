"""Reads and writes examples: one folder per split, with Parquet shards, as Arrow batches.

    <uri>/Split-train/data-00000-of-00002.parquet

Both directions stream: memory depends on the batch, not on the data. The bytes of a shard depend
only on its rows, not on the batches they came in. docs/data.md describes the format.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from millrace.errors import DataError, ParameterError, nearest

BATCH_ROWS = 65_536
SHARD_ROWS = 4_194_304
_GROUP_CELLS = 4_194_304
_MIN_GROUP_ROWS = 1_024
_PREFIX = "Split-"
_SPLIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def check_name(split: str) -> None:
    """Raises DataError for an invalid name of a split."""
    if not _SPLIT_NAME.fullmatch(split):
        raise DataError(f'"{split}" cannot name a split: use letters, digits, "_", "-" and ".".')


def split_folder(root: Path, split: str) -> Path:
    """Returns the folder of a split; raises DataError for an invalid name."""
    check_name(split)
    return root / f"{_PREFIX}{split}"


def splits(root: Path) -> list[str]:
    """Returns the names of the splits below an artifact, sorted."""
    return sorted(path.name[len(_PREFIX) :] for path in root.glob(f"{_PREFIX}*") if path.is_dir())


def chosen_splits(root: Path, exclude: Sequence[str]) -> list[str]:
    """Returns the splits below an artifact, except the excluded ones.

    Raises:
        ParameterError: An excluded split does not exist, or none remains.
    """
    known = splits(root)
    for name in exclude:
        if name not in known:
            raise ParameterError(
                f'"exclude_splits" names "{name}", but the splits are {", ".join(known)}.'
                f"{nearest(name, known)}"
            )
    chosen = [name for name in known if name not in exclude]
    if not chosen:
        raise ParameterError(f'"exclude_splits" leaves no split of {", ".join(known) or root}.')
    return chosen


def shards(root: Path, split: str) -> list[Path]:
    """Returns the shards of a split in their order.

    Raises:
        DataError: There is no such split, or a shard of it is missing.
    """
    folder = split_folder(root, split)
    if not folder.is_dir():
        known = splits(root)
        raise DataError(
            f'{root} has no split "{split}", but {", ".join(known) or "none at all"}.'
            f"{nearest(split, known)}"
        )
    found = sorted(folder.glob("data-*-of-*.parquet"))
    expected = int(found[0].stem.rsplit("-", 1)[1]) if found else 1
    if len(found) != expected:
        raise DataError(
            f"{folder} holds {len(found)} of {expected} shards: the step that wrote it failed, "
            "or files are missing. Run it again."
        )
    return found


def schema(root: Path, split: str) -> pa.Schema:
    """Returns the Arrow schema of a split."""
    return pq.read_schema(shards(root, split)[0])


def num_rows(root: Path, split: str) -> int:
    """Returns the number of rows of a split, from the files' footers."""
    return sum(pq.read_metadata(path).num_rows for path in shards(root, split))


def read(
    root: Path, split: str, columns: Sequence[str] | None = None, batch_rows: int = BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """Yields the rows of a split in order, in batches of at most `batch_rows`."""
    for path in shards(root, split):
        with contextlib.closing(pq.ParquetFile(path)) as file:
            yield from file.iter_batches(batch_rows, columns=columns)


def group_rows(schema: pa.Schema) -> int:
    """Returns how many rows a writer buffers: fewer for wide tables."""
    return min(BATCH_ROWS, max(_MIN_GROUP_ROWS, _GROUP_CELLS // max(1, len(schema.names))))


class SplitWriter:
    """Writes one split in a stream; shards get their final names only on a clean exit."""

    def __init__(
        self, root: Path, split: str, schema: pa.Schema, shard_rows: int = SHARD_ROWS
    ) -> None:
        """Creates the split's folder.

        Args:
            root: The artifact's folder.
            split: The split's name.
            schema: The Arrow schema of every batch.
            shard_rows: The rows of a shard, rounded to whole row groups.
        """
        self._folder = split_folder(root, split)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._schema = schema
        self._group_rows = group_rows(schema)
        self._groups_in_full_shard = max(1, round(shard_rows / self._group_rows))
        self._parts: list[Path] = []
        self._file: pq.ParquetWriter | None = None
        self._groups_in_shard = 0
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0
        self.rows = 0

    def __enter__(self) -> SplitWriter:
        return self

    def write(self, batch: pa.RecordBatch) -> None:
        """Appends a batch of any size."""
        self._waiting.append(batch)
        self._waiting_rows += batch.num_rows
        self.rows += batch.num_rows
        while self._waiting_rows >= self._group_rows:
            self._write_group()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            with contextlib.suppress(Exception):
                self._close()
            self._discard()
            return
        try:
            if self._waiting_rows or not self._parts:
                self._write_group()
            self._close()
        except BaseException:
            self._discard()
            raise
        for number, part in enumerate(self._parts):
            part.rename(part.with_name(f"data-{number:05d}-of-{len(self._parts):05d}.parquet"))

    def _write_group(self) -> None:
        waiting = pa.Table.from_batches(self._waiting, self._schema)
        group, rest = waiting.slice(0, self._group_rows), waiting.slice(self._group_rows)
        self._waiting, self._waiting_rows = rest.to_batches(), rest.num_rows
        if self._file is None or self._groups_in_shard == self._groups_in_full_shard:
            self._next_shard()
        assert self._file is not None
        self._file.write_table(group.combine_chunks(), row_group_size=self._group_rows)
        self._groups_in_shard += 1

    def _next_shard(self) -> None:
        self._close()
        part = self._folder / f"part-{len(self._parts):05d}.tmp"
        self._parts.append(part)
        self._file = pq.ParquetWriter(part, self._schema, compression="zstd")
        self._groups_in_shard = 0

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _discard(self) -> None:
        for part in self._parts:
            part.unlink(missing_ok=True)
