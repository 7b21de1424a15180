"""Files are on the disk once `flush` has returned; what a power cut does is in test_kills.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from millrace.errors import StorageError
from millrace.storage import durable


@pytest.fixture
def synced(monkeypatch):
    """The paths that were written through to the disk."""
    found = []
    fsync = os.fsync

    def record(descriptor):
        found.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    return found


def test_files_come_first_then_the_folders_around_them_from_the_inside(tmp_path, synced):
    artifact = tmp_path / "run" / "task" / "out"
    (artifact / "inner").mkdir(parents=True)
    (artifact / "inner" / "file").touch()
    (artifact / "other").touch()
    durable.flush([artifact, tmp_path / "run" / "metrics-without-a-file"], tmp_path / "run")
    assert set(synced[:2]) == {str(artifact / "inner" / "file"), str(artifact / "other")}
    assert synced[2:4] == [str(artifact / "inner"), str(artifact)]
    assert synced[4:] == [str(artifact.parent), str(tmp_path / "run")]


def test_many_files_need_no_call_each(tmp_path, synced):
    for number in range(100):
        (tmp_path / str(number)).touch()
    durable.flush([tmp_path], tmp_path)
    assert not synced


def test_a_disk_that_fails_is_one_line(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(5, "Input/output error", "/disk/file")

    monkeypatch.setattr(os, "fsync", fail)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"^/disk/file cannot be written .*: Input/output error"):
        durable.flush([tmp_path / "file"], tmp_path)
