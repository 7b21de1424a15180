"""The digest depends only on paths and bytes, and equals that of `sha256sum`."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace.errors import DataError
from millrace.storage import digest

_NAME = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=8
).filter(lambda name: name not in (".", "..") and len(name.encode()) < 200)
# Two names, so that no path is a folder in one place and a file in another.
_PATH = st.builds(lambda folder, name: f"d{folder}/f{name}", _NAME, _NAME)
_TREE = st.dictionaries(_PATH, st.binary(max_size=64), max_size=6)
_FEW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

_MANIFEST = r"find . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0r sha256sum -- | sha256sum"


def write(folder: Path, tree: dict[str, bytes]) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in tree.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def sha256sum(folder: Path) -> str:
    done = subprocess.run(
        ["bash", "-c", _MANIFEST], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.split()[0]


def test_a_file_is_its_sha256(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 3_000_001)
    found = digest.of(path)
    assert found == digest.Digest(hashlib.sha256(b"x" * 3_000_001).hexdigest(), 3_000_001)
    assert found.metadata() == {"digest": found.hexdigest, "bytes": 3_000_001}


@pytest.mark.parametrize("content", [b"", b"\0", b"a" * (1 << 20), b"b" * ((1 << 20) + 1)])
def test_sizes_around_a_block(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert digest.of(path).hexdigest == hashlib.sha256(content).hexdigest()


def test_sha256sum_agrees_on_names_that_it_escapes(tmp_path: Path) -> None:
    tree = {"a b": b"1", "größe": b"2", "back\\slash": b"3", "new\nline": b"4", "re\rturn": b"5"}
    tree |= {"a-b": b"6", "a/b": b"7", "a.b": b"8", "A": b"9", "-n": b"10"}
    folder = write(tmp_path / "folder", tree)
    (folder / os.fsdecode(b"\xff\xfe")).write_bytes(b"11")
    found = digest.of(folder)
    assert found.hexdigest == sha256sum(folder)
    assert found.size == sum(map(len, tree.values())) + 2
    assert "file_digests" not in found.metadata()  # a name that is not text cannot be in metadata


@_FEW
@given(tree=_TREE)
def test_sha256sum_agrees(tmp_path: Path, tree: dict[str, bytes]) -> None:
    folder = write(tmp_path / "folder", tree)
    assert digest.of(folder).hexdigest == sha256sum(folder)


@_FEW
@given(tree=_TREE, data=st.data())
def test_order_place_and_time_do_not_matter(
    tmp_path: Path, tree: dict[str, bytes], data: st.DataObject
) -> None:
    here = write(tmp_path / "here", tree)
    shuffled = dict(data.draw(st.permutations(list(tree.items()))))
    there = write(tmp_path / "elsewhere" / "deep" / "there", shuffled)
    for path in digest.files(there):
        os.utime(path, (0, 0))
        path.chmod(0o600)
    assert digest.of(here) == digest.of(there)


@_FEW
@given(tree=_TREE.filter(bool), data=st.data())
def test_every_change_matters(tmp_path: Path, tree: dict[str, bytes], data: st.DataObject) -> None:
    before = digest.of(write(tmp_path / "before", tree))
    name = data.draw(st.sampled_from(sorted(tree)))
    changed = dict(tree)
    change = data.draw(st.sampled_from(["flip", "append", "rename", "move", "remove", "add"]))
    if change == "flip" and tree[name]:
        changed[name] = bytes([tree[name][0] ^ 1]) + tree[name][1:]
    elif change in ("flip", "append"):
        changed[name] += b"\0"
    elif change == "rename":
        changed[name + "'"] = changed.pop(name)
    elif change == "move":
        changed[f"elsewhere/{name}"] = changed.pop(name)
    elif change == "remove":
        del changed[name]
    else:
        changed["added"] = b""
    after = digest.of(write(tmp_path / "after", changed))
    assert after.hexdigest != before.hexdigest
    differing = {
        path
        for path in {*before.files, *after.files}
        if before.files.get(path) != after.files.get(path)
    }
    assert differing <= {name, name + "'", f"elsewhere/{name}", "added"}
    assert differing


def test_contents_that_change_places_change_the_digest(tmp_path: Path) -> None:
    one = write(tmp_path / "one", {"a": b"1", "b": b"2"})
    other = write(tmp_path / "other", {"a": b"2", "b": b"1"})
    assert digest.of(one).hexdigest != digest.of(other).hexdigest


def test_a_name_cannot_pass_for_two_files(tmp_path: Path) -> None:
    two = write(tmp_path / "two", {"a": b"1", "b": b"2"})
    second = hashlib.sha256(b"2").hexdigest()
    one = write(tmp_path / "one", {f"a\n{second}  b": b"1"})
    assert digest.of(one).hexdigest != digest.of(two).hexdigest


def test_empty_folders_do_not_count(tmp_path: Path) -> None:
    folder = write(tmp_path / "folder", {"a": b"1"})
    before = digest.of(folder)
    (folder / "empty" / "deep").mkdir(parents=True)
    assert digest.of(folder) == before
    empty = digest.of(folder / "empty")
    assert empty == digest.Digest(hashlib.sha256(b"").hexdigest(), 0)
    assert empty.metadata() == {"digest": empty.hexdigest, "bytes": 0}


def test_links_within_count_as_what_they_point_to(tmp_path: Path) -> None:
    folder = write(tmp_path / "folder", {"blobs/1": b"one", "deep/2": b"two"})
    (folder / "model").symlink_to("blobs/1")
    (folder / "again").symlink_to(folder / "deep")
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied)
    assert not (copied / "model").is_symlink()
    assert digest.of(folder) == digest.of(copied)
    assert digest.of(folder).size == 12


def test_an_artifact_may_itself_be_a_link(tmp_path: Path) -> None:
    folder = write(tmp_path / "v1", {"a": b"1"})
    (tmp_path / "current").symlink_to("v1")
    assert digest.of(tmp_path / "current") == digest.of(folder)


def test_a_link_out_is_refused(tmp_path: Path) -> None:
    outside = write(tmp_path / "folder-beside", {"secret": b"1"})
    folder = write(tmp_path / "folder", {"a": b"1"})
    link = folder / "link"
    for target in (outside / "secret", outside, Path("../folder-beside/secret"), tmp_path):
        link.symlink_to(target)
        with pytest.raises(
            DataError, match=r"link is a link to .*, outside of the artifact .*copy"
        ):
            digest.of(folder)
        link.unlink()


def test_a_link_to_nothing_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "folder", {"a": b"1"})
    (folder / "link").symlink_to("gone")
    with pytest.raises(DataError) as error:
        digest.of(folder)
    assert str(error.value) == f"{folder}/link is a link to gone, which is not there."


@pytest.mark.parametrize("target", [".", "..", "../deep"])
def test_a_link_without_end_is_refused(tmp_path: Path, target: str) -> None:
    folder = write(tmp_path / "folder", {"deep/a": b"1"})
    (folder / "deep" / "link").symlink_to(target)
    with pytest.raises(DataError, match="the folder that it is in: it has no end"):
        digest.of(folder)


def test_two_links_that_chase_each_other_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "folder", {"a/1": b"1", "b/2": b"2"})
    (folder / "a" / "link").symlink_to("../b")
    (folder / "b" / "link").symlink_to("../a")
    with pytest.raises(DataError, match="it has no end"):
        digest.of(folder)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        digest.of(tmp_path / "gone")
    assert str(error.value) == f"There is nothing at {tmp_path}/gone."


def test_unreadable_file_and_folder(
    tmp_path: Path, unprivileged: Callable[[], AbstractContextManager[None]]
) -> None:
    folder = write(tmp_path / "folder", {"a": b"1", "deep/b": b"2"})
    (folder / "a").chmod(0)
    with unprivileged(), pytest.raises(DataError) as error:
        digest.of(folder)
    assert str(error.value) == f"{folder}/a cannot be read: permission denied."
    (folder / "a").unlink()
    (folder / "deep").chmod(0)
    with unprivileged(), pytest.raises(DataError) as error:
        digest.of(folder)
    assert str(error.value) == f"{folder}/deep cannot be read: permission denied."
    (folder / "deep").chmod(0o700)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    folder = write(tmp_path / "folder", {"a": b"1"})
    os.mkfifo(folder / "pipe")
    for path in (folder, folder / "pipe"):
        with pytest.raises(DataError, match="pipe is not a file but a device, pipe or socket"):
            digest.of(path)
    (folder / "pipe").unlink()
    here = os.open(".", os.O_RDONLY)
    os.chdir(folder)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("socket")
            with pytest.raises(DataError, match="socket is not a file"):
                digest.of(folder)
    finally:
        os.fchdir(here)
        os.close(here)


def test_small_folders_list_their_files(tmp_path: Path) -> None:
    folder = write(tmp_path / "folder", {f"f{index:03}": b"%d" % index for index in range(100)})
    listed = digest.of(folder).metadata()["file_digests"]
    assert len(listed) == 100
    assert listed["f007"] == hashlib.sha256(b"7").hexdigest()[:16]
    (folder / "one-more").write_bytes(b"")
    assert "file_digests" not in digest.of(folder).metadata()


def test_threads_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "folder", {f"f{index}": b"%d" % index * 9 for index in range(50)})
    alone = digest.of(folder)
    monkeypatch.setattr(digest, "_PARALLEL", 1)
    monkeypatch.setattr(digest, "_THREADS", 4)
    assert digest.of(folder) == alone
