"""Shards hold every row, in the same bytes for any batches; incomplete splits are not read."""

from __future__ import annotations

import errno

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.data import examples
from millrace.data.examples import SplitWriter
from millrace.errors import DataError, ParameterError
from millrace.storage import digest


def table(rows: int) -> pa.Table:
    return pa.table({"n": list(range(rows)), "text": [f"row {n}" for n in range(rows)]})


def write(root, rows: pa.Table, split="train", **options) -> None:
    with SplitWriter(root, split, rows.schema, **options) as writer:
        for batch in rows.to_batches(10_000):
            writer.write(batch)


def read(root, split="train") -> pa.Table:
    return pa.Table.from_batches(list(examples.read(root, split)))


def test_rows_come_back_in_order(tmp_path):
    write(tmp_path, table(200_000))
    assert read(tmp_path) == table(200_000)
    assert examples.num_rows(tmp_path, "train") == 200_000
    assert examples.schema(tmp_path, "train").names == ["n", "text"]
    assert [batch.num_columns for batch in examples.read(tmp_path, "train", ["text"])] == [1] * 4


@settings(max_examples=15)
@given(st.lists(st.integers(0, 9000), max_size=12))
def test_the_bytes_do_not_depend_on_the_batches(tmp_path, sizes):
    rows = table(sum(sizes))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    write(whole, rows)
    with SplitWriter(parts, "train", rows.schema) as writer:
        start = 0
        for size in sizes:
            for batch in rows.slice(start, size).to_batches():
                writer.write(batch)
            start += size
        assert writer.rows == sum(sizes)
    assert digest.of(whole).hexdigest == digest.of(parts).hexdigest


def test_shards_are_numbered_and_of_equal_size(tmp_path):
    write(tmp_path, table(200_000), shard_rows=65_536)
    shards = examples.shards(tmp_path, "train")
    assert [path.name for path in shards] == [f"data-0000{n}-of-00004.parquet" for n in range(4)]
    assert [pq.read_metadata(path).num_rows for path in shards] == [65_536] * 3 + [3_392]
    assert read(tmp_path) == table(200_000)


def test_a_split_without_rows_has_a_shard(tmp_path):
    write(tmp_path, table(0))
    assert examples.num_rows(tmp_path, "train") == 0
    assert examples.schema(tmp_path, "train").names == ["n", "text"]
    assert list(examples.read(tmp_path, "train")) == []


def test_wide_tables_are_held_in_smaller_groups():
    def schema(columns: int) -> pa.Schema:
        return pa.schema([(f"c{n}", pa.int64()) for n in range(columns)])

    assert examples.group_rows(schema(12)) == 65_536
    assert examples.group_rows(schema(500)) == 8_388
    assert examples.group_rows(schema(100_000)) == 1_024


def test_an_error_leaves_no_shard(tmp_path):
    def fail() -> None:
        with SplitWriter(tmp_path, "train", table(1).schema) as writer:
            writer.write(table(100_000).to_batches()[0])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list((tmp_path / "Split-train").iterdir()) == []


def test_a_failure_to_close_leaves_no_shard(tmp_path, monkeypatch):
    real = pq.ParquetWriter.close

    def full(writer: pq.ParquetWriter) -> None:
        monkeypatch.setattr(pq.ParquetWriter, "close", real)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "close", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path, table(10))
    assert list((tmp_path / "Split-train").iterdir()) == []


def test_a_killed_writer_leaves_nothing_that_can_be_read(tmp_path):
    writer = SplitWriter(tmp_path, "train", table(1).schema)
    writer.write(table(100_000).combine_chunks().to_batches()[0])
    with pytest.raises(DataError, match=r"Split-train holds 0 of 1 shards: the step that wrote it"):
        list(examples.read(tmp_path, "train"))


def test_a_writer_replaces_what_was_there(tmp_path):
    write(tmp_path, table(200_000), shard_rows=65_536)
    write(tmp_path, table(5))
    assert read(tmp_path) == table(5)


def test_a_lost_shard_is_missed(tmp_path):
    write(tmp_path, table(200_000), shard_rows=65_536)
    examples.shards(tmp_path, "train")[1].unlink()
    with pytest.raises(DataError, match=r"Split-train holds 3 of 4 shards: .* Run it again\.$"):
        examples.num_rows(tmp_path, "train")


def test_an_unknown_split(tmp_path):
    write(tmp_path, table(1))
    with pytest.raises(DataError, match=r'has no split "trian", but train. Did you mean "train"\?'):
        examples.schema(tmp_path, "trian")
    with pytest.raises(DataError, match=r'has no split "train", but none at all\.$'):
        examples.schema(tmp_path / "nowhere", "train")


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a b", "größe"])
def test_names_that_cannot_be_a_split(tmp_path, name):
    with pytest.raises(DataError, match="cannot name a split"):
        examples.split_folder(tmp_path, name)


def test_choosing_splits(tmp_path):
    for split in ("train", "eval"):
        write(tmp_path, table(1), split)
    assert examples.chosen_splits(tmp_path, []) == ["eval", "train"]
    assert examples.chosen_splits(tmp_path, ["eval"]) == ["train"]
    with pytest.raises(ParameterError, match=r'"exclude_splits" names "test", but .* eval, train.'):
        examples.chosen_splits(tmp_path, ["test"])
