"""Batches of rows: each row once per epoch, in bounded memory, in a repeatable order."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.components.trainer.rows import Rows
from millrace.errors import ModuleError


def write(folder: Path, number: int, group: int = 50, files: int = 2) -> list[Path]:
    table = pa.table({
        "row": pa.array(np.arange(number)),
        "pair": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(2 * number), pa.float32()), 2),
        "text": [f"t{row}".encode() for row in range(number)],
        "label": pa.array(np.arange(number) % 2),
    })  # fmt: skip
    paths = [folder / f"{file}.parquet" for file in range(files)]
    half = -(-number // files)
    for position, path in enumerate(paths):
        pq.write_table(table.slice(position * half, half), path, row_group_size=group)
    return paths


# Of a row that `write` writes: three numbers, and a text of some four characters as an object.
ROW = 8 + 2 * 4 + 8 + (4 + 33 + 8)


def rows_of(dataset: Any, epoch: int | None = None) -> list[int]:
    seen: list[int] = []
    for features, labels in dataset:
        row = features["row"].numpy()[:, 0]
        np.testing.assert_array_equal(features["pair"].numpy(), np.stack([2 * row, 2 * row + 1], 1))
        np.testing.assert_array_equal(labels.numpy()[:, 0], row % 2)
        assert features["text"].numpy()[:, 0].tolist() == [f"t{each}".encode() for each in row]
        seen += row.tolist()
        if epoch is not None and len(seen) >= epoch:
            break
    return seen


FEATURES = ("row", "pair", "text")


@settings(max_examples=25)
@given(
    number=st.integers(1, 400),
    batch_size=st.integers(1, 130),
    kept=st.sampled_from([10, 60, 150, 10_000]),
    shuffle=st.booleans(),
)
def test_every_row_comes_once(tmp_path_factory, number, batch_size, kept, shuffle) -> None:
    paths = write(tmp_path_factory.mktemp("rows"), number)
    rows = Rows(paths, "label", FEATURES, seed=3, memory=kept * ROW)
    dataset = rows.dataset(batch_size, shuffle=shuffle, epochs=1)
    sizes = [len(labels) for _, labels in dataset]
    assert len(dataset) == len(sizes) == rows.steps(batch_size)
    assert set(sizes[:-1]) <= {batch_size}
    seen = rows_of(dataset)
    assert sorted(seen) == list(range(number))
    if not shuffle:
        assert seen == list(range(number))


@pytest.mark.parametrize("memory", [1 << 20, ROW * 120])
def test_endless_batches_are_full_and_shuffled_anew(tmp_path, memory) -> None:
    rows = Rows(write(tmp_path, 400), "label", FEATURES, seed=3, memory=memory)
    seen = rows_of(rows.dataset(100), epoch=1200)
    epochs = [seen[start : start + 400] for start in range(0, 1200, 400)]
    assert all(sorted(epoch) == list(range(400)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    # Nearly as far from its place as in a random order, even if memory is short.
    assert np.mean(np.abs(np.array(epochs[0]) - np.arange(400))) > 90


@pytest.mark.parametrize("memory", [1 << 20, ROW * 120])
def test_every_epoch_has_an_order_of_its_own(tmp_path, memory) -> None:
    paths = write(tmp_path, 170)
    dataset = Rows(paths, "label", FEATURES, seed=3, memory=memory).dataset(50, epochs=3)
    assert [len(labels) for _, labels in dataset] == [50, 50, 50, 20] * 3
    assert len(dataset) == 12
    seen = rows_of(dataset)
    epochs = [seen[start : start + 170] for start in range(0, 510, 170)]
    assert all(sorted(epoch) == list(range(170)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize(("epochs", "batches"), [(2, 4), (None, 9), (-1, 9)])
def test_modules_of_tfx_get_as_many_epochs_as_they_ask_for(tmp_path, epochs, batches) -> None:
    from millrace.components.trainer.fn_args import DataAccessor

    options = types.SimpleNamespace(
        batch_size=50, shuffle=True, num_epochs=epochs, label_key="label"
    )
    files = [str(path) for path in write(tmp_path, 100)]
    dataset = DataAccessor(1).tf_dataset_factory(files, options)
    order = [features["row"].numpy().ravel().tolist() for features, _ in dataset.take(9)]
    assert len(order) == batches
    assert order[:2] != order[2:4]


def test_order_depends_on_the_seed_alone(tmp_path) -> None:
    paths = write(tmp_path, 200)
    first, again, other = (
        rows_of(Rows(paths, "label", FEATURES, seed).dataset(50), epoch=400) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_a_sample_is_always_the_same(tmp_path) -> None:
    rows = Rows(write(tmp_path, 400), "label", FEATURES, seed=1)
    dataset = rows.dataset(30, epochs=1, steps=4)
    first = rows_of(dataset)
    assert len(dataset) == 4
    assert len(set(first)) == 120
    assert rows_of(dataset) == first


def test_fewer_rows_than_a_batch_repeat(tmp_path) -> None:
    rows = Rows(write(tmp_path, 7), "label", FEATURES, seed=1)
    assert sorted(rows_of(rows.dataset(512), epoch=7)) == list(range(7))


def test_sparse_features_are_refused(tmp_path) -> None:
    pq.write_table(pa.table({"x": [[1], []], "label": [0, 1]}), tmp_path / "x.parquet")
    with pytest.raises(ModuleError, match='feature "x" is sparse'):
        Rows([tmp_path / "x.parquet"], "label", ["x"], 1).dataset(2)


@pytest.mark.parametrize("length", [5, 2_000])
def test_memory_is_bounded_whatever_the_length_of_texts(tmp_path, monkeypatch, length) -> None:
    table = pa.table({
        "text": [f"{row:0{length}}".encode() for row in range(1000)], "label": [0, 1] * 500,
    })  # fmt: skip
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=50)
    rows = Rows([tmp_path / "x.parquet"], "label", ["text"], seed=1, memory=500_000)
    held: list[int] = []
    read = Rows._read

    def reading(self: Rows, groups: Any) -> Any:
        arrays = read(self, groups)
        held.append(sum(map(sys.getsizeof, arrays["text"].ravel())) + arrays["text"].nbytes)
        return arrays

    monkeypatch.setattr(Rows, "_read", reading)
    assert sum(len(labels) for _, labels in rows.dataset(100, epochs=1)) == 1000
    assert max(held) <= 500_000
    assert len(held) == (1 if length == 5 else 5)
