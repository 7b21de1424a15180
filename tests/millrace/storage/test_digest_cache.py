"""Remembered digests are those of files as they are, and do not pile up."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from millrace.storage import digest_cache
from millrace.storage.digest_cache import DigestCache


def old_file(path: Path, content: bytes = b"x") -> Path:
    """Returns a file that has not been changed for a while."""
    path.write_bytes(content)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path


def entries(cache: Path) -> list[str]:
    return sorted(json.loads(cache.read_text()))


def test_entries_of_files_that_are_gone_go_with_the_next_save(tmp_path: Path) -> None:
    cache, one, other = tmp_path / "cache", old_file(tmp_path / "1"), old_file(tmp_path / "2")
    (tmp_path / "folder").mkdir()
    old_file(tmp_path / "folder" / "3")
    known = DigestCache(cache)
    known.sha256(one)
    known.artifact(tmp_path / "folder")
    known.keep_remote("s3://bucket/key", [1, "etag"], "0" * 64)
    known.save()
    assert entries(cache) == sorted([str(one), f"artifact {tmp_path}/folder", "s3://bucket/key"])
    one.unlink()
    (tmp_path / "folder" / "3").unlink()
    (tmp_path / "folder").rmdir()
    known = DigestCache(cache)
    known.sha256(other)
    known.save()
    assert entries(cache) == sorted([str(other), "s3://bucket/key"])


def test_what_another_process_saved_is_kept(tmp_path: Path) -> None:
    cache, one, other = tmp_path / "cache", old_file(tmp_path / "1"), old_file(tmp_path / "2")
    first, second = DigestCache(cache), DigestCache(cache)
    first.sha256(one)
    second.sha256(other)
    first.save()
    second.save()
    assert entries(cache) == sorted([str(one), str(other)])


def test_remote_entries_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest_cache, "_REMOTE_ENTRIES", 2)
    known = DigestCache(tmp_path / "cache")
    for number in range(4):
        known.keep_remote(f"s3://bucket/{number}", [1, "etag"], "0" * 64)
        known.save()
    assert entries(tmp_path / "cache") == ["s3://bucket/2", "s3://bucket/3"]


@pytest.mark.parametrize("content", ["", "[]", "{", "\0"])
def test_a_file_that_is_broken_is_made_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / "cache").write_text(content)
    known = DigestCache(tmp_path / "cache")
    assert known.sha256(old_file(tmp_path / "1")) == known.sha256(tmp_path / "1")
    known.save()
    assert entries(tmp_path / "cache") == [str(tmp_path / "1")]
