"""Versions appear atomically, even if a push is killed or another runs at the same time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from millrace.components.pusher import destination
from millrace.components.pusher.destination import open_destination
from millrace.errors import ParameterError
from millrace.storage import store


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph" * 1000)
    (folder / "variables" / "variables.index").write_bytes(b"weights")
    return folder


EXTRA = {"model.tflite": b"lite", "push.json": b"{}"}
FILES = ["model.tflite", "push.json", "saved_model.pb", "variables/variables.index"]


def names(folder: Path | str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_versions_are_numbers_that_increase(model: Path, tmp_path: Path, scheme: str) -> None:
    root = tmp_path / "deep" / "serving"
    before = int(time.time())
    pushed = [open_destination(f"{scheme}{root}").push(model, EXTRA) for _ in range(3)]
    versions = [version for version, _ in pushed]
    assert before <= versions[0] <= time.time()
    assert versions == sorted(set(versions))
    assert names(root) == [str(version) for version in versions]
    for version, where in pushed:
        assert where == str(root / str(version))
        assert files(root / str(version)) == FILES


def test_a_version_follows_the_last_also_when_that_is_ahead_of_time(
    model: Path, tmp_path: Path
) -> None:
    (tmp_path / "serving" / "99999999999").mkdir(parents=True)
    (tmp_path / "serving" / "not-a-version").mkdir()
    version, _ = open_destination(str(tmp_path / "serving")).push(model, EXTRA)
    assert version == 100000000000


def test_others_may_read_a_version(model: Path, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        _, where = open_destination(str(tmp_path / "serving")).push(model, EXTRA)
    finally:
        os.umask(before)
    assert Path(where).stat().st_mode & 0o777 == 0o755


def _push_many(arguments: tuple[str, Path]) -> list[int]:
    root, model = arguments
    return [open_destination(root).push(model, EXTRA)[0] for _ in range(5)]


def test_pushes_side_by_side_get_versions_of_their_own(model: Path, tmp_path: Path) -> None:
    root = str(tmp_path / "serving")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pushed = pool.map(_push_many, [(root, model)] * 2)
    versions = [*pushed[0], *pushed[1]]
    assert len(set(versions)) == 10
    assert names(root) == sorted(map(str, versions))
    for version in versions:
        assert files(Path(root) / str(version)) == FILES


# Where a push is killed: while copying, while syncing, and just before the rename.
MOMENTS = ["shutil.copytree", "os.fsync", "pathlib.Path.rename"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_push_leaves_no_version(model: Path, tmp_path: Path, moment: str) -> None:
    root = tmp_path / "serving"
    code = f"""
import os, pathlib, shutil, signal
from millrace.components.pusher.destination import open_destination
copytree = shutil.copytree
def killed(*arguments, **options):
    if {moment!r} == "shutil.copytree":
        copytree(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)
destination = open_destination({str(root)!r})
{moment} = killed
destination.push(pathlib.Path({str(model)!r}), {{"model.tflite": b"x"}})
"""
    done = subprocess.run([sys.executable, "-c", code], timeout=60)
    assert done.returncode == -signal.SIGKILL
    (left,) = names(root)
    assert not left.isdecimal()
    version, _ = open_destination(str(root)).push(model, EXTRA)
    assert files(root / str(version)) == FILES
    assert (root / left).exists()  # it may belong to a push in progress

    day_ago = time.time() - 25 * 3600
    os.utime(root / left, (day_ago, day_ago))
    open_destination(str(root)).push(model, EXTRA)
    assert not (root / left).exists()


def test_a_failed_push_leaves_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_destination(str(tmp_path / "serving"))

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(destination, "_sync", full)
    with pytest.raises(ParameterError) as raised:
        opened.push(model, EXTRA)
    assert str(raised.value) == (
        f"push_destination: {tmp_path}/serving cannot be written to: No space left on device"
    )
    assert names(tmp_path / "serving") == []


def test_a_destination_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(ParameterError) as raised:
            open_destination(str(path))
        assert str(raised.value).startswith(f'push_destination: "{path}" cannot be written to: ')


def test_a_destination_that_is_not_writable() -> None:
    with pytest.raises(ParameterError, match='"/proc/models" cannot be written to'):
        open_destination("/proc/models")


def test_an_object_store_gets_the_graph_last(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"memory://bucket-{time.time_ns()}/models"
    written: list[str] = []
    write = destination._Store._write
    monkeypatch.setattr(
        destination._Store,
        "_write",
        lambda self, target, content: (written.append(target), write(self, target, content)),
    )
    first, where = open_destination(uri).push(model, EXTRA)
    second, _ = open_destination(uri).push(model, EXTRA)
    assert second > first
    assert where == f"{uri}/{first}"
    assert written[3].endswith(f"/{first}/saved_model.pb")
    assert list(store.list_files(where)) == FILES


def test_an_object_store_never_gives_a_number_twice(model: Path) -> None:
    uri = f"memory://bucket-{time.time_ns()}"
    version, where = open_destination(uri).push(model, EXTRA)
    store.remove(where)
    assert open_destination(uri).push(model, EXTRA)[0] > version


def test_pushes_to_a_real_object_store_side_by_side(
    model: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = request.getfixturevalue("s3")
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    uri = f"s3://{server.bucket}/models-{time.time_ns()}"
    with ThreadPoolExecutor(3) as threads:
        pushed = list(threads.map(lambda _: open_destination(uri).push(model, EXTRA), range(3)))
    assert len({version for version, _ in pushed}) == 3
    for version, where in pushed:
        assert where == f"{uri}/{version}"
        assert list(store.list_files(where)) == FILES


@pytest.mark.parametrize("uri", ["s3://bucket/models?x=1", "s3://me:secret@bucket", "ftp://host/x"])
def test_a_destination_that_is_no_place(uri: str) -> None:
    with pytest.raises(ParameterError, match="push_destination: ") as raised:
        open_destination(uri)
    assert "secret" not in str(raised.value)
