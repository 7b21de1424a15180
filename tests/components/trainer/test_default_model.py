"""The statistics of the labels that the default model uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.components.trainer import default_model


def write(folder: Path, *shards: list[float]) -> list[str]:
    paths = [str(folder / f"{number}.parquet") for number in range(len(shards))]
    for path, labels in zip(paths, shards, strict=True):
        pq.write_table(pa.table({"y": labels}), path, row_group_size=3)
    return paths


@pytest.mark.parametrize("offset", [0, 1_000_000, 1_700_000_000, 10**12])
def test_an_offset_leaves_the_deviation_of_the_labels(tmp_path: Path, offset: int) -> None:
    labels = [offset + value for value in (-3, 1, 4, 1, -5, 9, 2, -6)]
    files = write(tmp_path, labels[:5], labels[5:])
    mean, deviation = default_model._label_moments(files, "y")
    assert mean == pytest.approx(offset + np.mean([-3, 1, 4, 1, -5, 9, 2, -6]))
    assert deviation == pytest.approx(np.std([-3, 1, 4, 1, -5, 9, 2, -6]))


def test_constant_labels_deviate_by_one(tmp_path: Path) -> None:
    assert default_model._label_moments(write(tmp_path, [7.0, 7.0]), "y") == (7.0, 1.0)


def test_shares_of_classes(tmp_path: Path) -> None:
    files = write(tmp_path, [0, 2, 2], [0, 0, 0])
    assert default_model._class_shares(files, "y", 4) == pytest.approx([4 / 6, 0, 2 / 6, 0])
