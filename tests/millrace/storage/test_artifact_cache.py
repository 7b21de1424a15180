"""Remote artifacts are fetched once, stay within a limit, and are there while they are used."""

from __future__ import annotations

import multiprocessing
import uuid
from pathlib import Path

import pytest

from millrace.errors import StorageError
from millrace.storage import staging, store
from millrace.storage.artifact_cache import ArtifactCache


def artifact(size: int) -> tuple[str, str]:
    """Returns where an artifact of some bytes is, and its digest."""
    uri = f"memory://bucket/{uuid.uuid4().hex}"
    store.write_bytes(uri, uuid.uuid4().bytes * (size // 16))
    return uri, store.digest(uri).hexdigest


def held(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_it_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri, hexdigest = artifact(160)
    cache = ArtifactCache(tmp_path / "cache", 1000)
    with cache.use(uri, hexdigest) as first:
        assert first.read_bytes() == store.read_bytes(uri)
    store.remove(uri)
    with cache.use(uri, hexdigest) as second:
        assert second == first


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path, 500)
    one, two, three = (artifact(160) for _ in range(3))
    for found in (one, two, three, one, artifact(160)):
        with cache.use(*found):
            pass
    assert len(held(tmp_path)) == 3
    assert one[1] in held(tmp_path)
    assert two[1] not in held(tmp_path)


def test_what_is_in_use_is_not_evicted(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path, 100)
    one, two, three = (artifact(160) for _ in range(3))
    with cache.use(*one) as path, cache.use(*two) as other:
        assert path.exists()
        assert other.exists()
    with cache.use(*three):
        assert held(tmp_path) == {three[1]}


def test_other_content_than_recorded_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "_LAG_WAITS", ())
    uri, _ = artifact(160)
    with (
        pytest.raises(StorageError, match="not what was recorded"),
        ArtifactCache(tmp_path, 1000).use(uri, "0" * 64),
    ):
        pass
    with (
        pytest.raises(StorageError, match="not a digest"),
        ArtifactCache(tmp_path, 1).use(uri, ".."),
    ):
        pass
    assert held(tmp_path) == set()


def _use_all(arguments: tuple[Path, list[tuple[str, str]]]) -> None:
    folder, artifacts = arguments
    cache = ArtifactCache(folder, 400)
    for _ in range(10):
        for uri, hexdigest in artifacts:
            with cache.use(uri, hexdigest) as path:
                assert store.digest(str(path)).hexdigest == hexdigest


def test_several_processes_use_one_folder(tmp_path: Path) -> None:
    artifacts = []
    for number in range(4):
        path = tmp_path / f"{number}"
        (path / "in").mkdir(parents=True)
        (path / "in" / "file").write_bytes(bytes([number]) * 160)
        artifacts.append((str(path), store.digest(str(path)).hexdigest))
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        pool.map(_use_all, [(tmp_path / "cache", artifacts[::step]) for step in (1, -1, 1)])
    assert len(held(tmp_path / "cache")) <= 4
