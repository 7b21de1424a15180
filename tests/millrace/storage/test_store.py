"""Files and folders behave alike, and have the same digests, wherever they lie."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace.errors import StorageError
from millrace.storage import digest, drivers, location, objects, staging, store
from millrace.storage.digest_cache import DigestCache

BUCKETS = ["s3", "gs", "az"]
PLACES = [*BUCKETS, "memory", "file", "path"]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A URI below which there is nothing."""
    if request.param in BUCKETS:
        return place_in(request, monkeypatch)
    if request.param == "memory":
        return f"memory://bucket/{uuid.uuid4().hex}"
    prefix = "file://" if request.param == "file" else ""
    return f"{prefix}{tmp_path}/place"


@pytest.fixture(params=BUCKETS)
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place in an object store."""
    return place_in(request, monkeypatch)


@pytest.fixture(params=["s3", "gs"])
def plain_bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place in a store that takes any name: Azurite fails at some control characters."""
    return place_in(request, monkeypatch)


def place_in(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    server = request.getfixturevalue(request.param)
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    drivers.forget()
    return f"{server.uri}/{uuid.uuid4().hex}"


def make(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


MODEL = {
    "saved_model.pb": b"graph" * 1000,
    "variables/variables.index": b"weights",
    "a name, with äö [x] #1?*": b"",
    "%41%2F.txt": b"not decoded",
}


def test_a_folder_goes_out_and_comes_back(place: str, tmp_path: Path) -> None:
    model = make(tmp_path / "model", MODEL)
    uri = location.join(place, "model")
    assert not store.exists(uri)
    staging.stage_out(model, uri)
    assert store.exists(uri)
    assert {name: info.size for name, info in store.list_files(uri).items()} == {
        name: len(content) for name, content in sorted(MODEL.items())
    }
    assert store.digest(uri) == digest.of(model)
    staging.stage_in(uri, tmp_path / "back", digest.of(model).hexdigest)
    assert digest.of(tmp_path / "back") == digest.of(model)
    store.remove(uri)
    assert not store.exists(uri)
    store.remove(uri)


def test_a_file_goes_out_and_comes_back(place: str, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_bytes(b"a,b\n1,2\n")
    uri = location.join(place, "data.csv")
    staging.stage_out(tmp_path / "data.csv", uri)
    assert list(store.list_files(uri)) == [""]
    assert store.digest(uri) == digest.of(tmp_path / "data.csv")
    staging.stage_in(uri, tmp_path / "back" / "data.csv")
    assert (tmp_path / "back" / "data.csv").read_bytes() == b"a,b\n1,2\n"
    assert store.read_bytes(uri) == b"a,b\n1,2\n"
    assert not store.exists(location.join(place, "data"))  # the beginning of a name is none


def test_an_empty_folder_is_one_in_a_store_too(place: str, tmp_path: Path) -> None:
    empty = make(tmp_path / "empty", {})
    uri = location.join(place, "empty")
    staging.stage_out(empty, uri)
    assert store.exists(uri)
    assert store.list_files(uri) == {}
    assert store.digest(uri) == digest.of(empty)
    staging.stage_in(uri, tmp_path / "back")
    assert list((tmp_path / "back").iterdir()) == []


@pytest.mark.parametrize("after", [MODEL, {"other": b"x"}, {}])
def test_what_was_there_before_is_replaced(
    place: str, tmp_path: Path, after: dict[str, bytes]
) -> None:
    before = make(tmp_path / "before", {"stale/file": b"x", "saved_model.pb": b"half"})
    later = make(tmp_path / "after", after)
    uri = location.join(place, "model")
    staging.stage_out(before, uri)
    staging.stage_out(later, uri)
    assert store.digest(uri) == digest.of(later)
    staging.stage_in(uri, tmp_path / "before")
    assert digest.of(tmp_path / "before") == digest.of(later)


def test_nothing_there_is_an_error(place: str, tmp_path: Path) -> None:
    uri = location.join(place, "missing")
    for act in (
        lambda: store.list_files(uri),
        lambda: store.digest(uri),
        lambda: store.read_bytes(uri),
        lambda: staging.stage_in(uri, tmp_path / "in"),
    ):
        with pytest.raises(StorageError, match="missing"):
            act()
    assert list(tmp_path.glob("*in*")) == []


def test_one_of_many_wins_a_claim(place: str) -> None:
    uri = location.join(place, "claims", "1")
    contents = [uuid.uuid4().bytes for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(lambda content: store.claim(uri, content), contents))
    assert sum(won) == 1
    assert store.read_bytes(uri) == contents[won.index(True)]
    assert store.claim(uri, contents[won.index(True)])  # a repeated request finds its own
    assert not store.claim(uri, b"another")


def test_writes_replace(place: str) -> None:
    uri = location.join(place, "notes.json")
    store.write_bytes(uri, b"1")
    store.write_bytes(uri, b"22")
    assert store.read_bytes(uri) == b"22"


def test_other_content_than_recorded_is_not_staged(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    uri = location.join(place, "file")
    staging.stage_out(tmp_path / "file", uri)
    staging._LAG_WAITS, waits = (0.0,), staging._LAG_WAITS
    try:
        with pytest.raises(StorageError, match="not what was recorded"):
            staging.stage_in(uri, tmp_path / "back", "0" * 64)
    finally:
        staging._LAG_WAITS = waits
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "place") == ["file"]


def test_a_name_that_the_driver_would_misread_is_refused(bucket: str, tmp_path: Path) -> None:
    """s3fs would write `x`."""
    folder = make(tmp_path / "model", {"x": b"1", "x?versionId=1": b"2"})
    with pytest.raises(StorageError, match="rename it"):
        staging.stage_out(folder, bucket)
    assert not store.exists(bucket)


NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=12
).filter(lambda name: name not in (".", ".."))
TREES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map("/".join), st.binary(max_size=64), max_size=5
).filter(
    lambda tree: (
        not any(one != other and one.startswith(f"{other}/") for one in tree for other in tree)
    )
)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
@given(tree=TREES)
def test_any_tree_keeps_its_digest(
    plain_bucket: str, tmp_path_factory: pytest.TempPathFactory, tree: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    made = make(folder / "made", tree)
    uri = location.join(plain_bucket, uuid.uuid4().hex)
    staging.stage_out(made, uri)
    assert store.digest(uri) == digest.of(made)
    staging.stage_in(uri, folder / "back")
    assert digest.of(folder / "back") == digest.of(made)


def test_large_files_go_in_parts(bucket: str, tmp_path: Path) -> None:
    block = os.urandom(1 << 20)
    with (tmp_path / "large").open("wb") as file:
        for _ in range(2 * (drivers.BLOCK >> 20) + 1):
            file.write(block)
    staging.stage_out(tmp_path / "large", bucket)
    if bucket.startswith("s3"):
        assert store.list_files(bucket)[""].version.endswith("-3")  # the ETag tells the parts
    assert store.digest(bucket) == digest.of(tmp_path / "large")
    staging.stage_in(bucket, tmp_path / "back")
    assert digest.of(tmp_path / "back") == digest.of(tmp_path / "large")


def test_a_digest_is_remembered_until_the_object_changes(bucket: str, tmp_path: Path) -> None:
    store.write_bytes(bucket, b"one")
    known = DigestCache(tmp_path / "digests.json")
    first = store.digest(bucket, known)
    known.save()
    known = DigestCache(tmp_path / "digests.json")
    assert known.remote(bucket, [3, store.list_files(bucket)[""].version]) == first.hexdigest
    assert store.digest(bucket, known) == first
    store.write_bytes(bucket, b"two")
    assert store.digest(bucket, known) != first


KILLED = """
import os, pathlib, signal, sys
from millrace.storage import objects, staging, uploads
objects.THREADS = 1
upload, left = uploads.upload, [int(sys.argv[3])]
def killed(*arguments):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    return upload(*arguments)
uploads.upload = killed
staging.stage_out(pathlib.Path(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 3])
def test_a_killed_upload_does_not_pass_for_whole(bucket: str, tmp_path: Path, after: int) -> None:
    model = make(tmp_path / "model", {f"{number}": bytes([number]) * 9 for number in range(5)})
    command = [sys.executable, "-c", KILLED, str(model), bucket, str(after)]
    assert subprocess.run(command, timeout=120).returncode == -9
    assert not store.exists(bucket)
    for read in (store.list_files, store.digest, lambda uri: staging.stage_in(uri, tmp_path / "x")):
        with pytest.raises(StorageError, match="is incomplete"):
            read(bucket)
    assert not (tmp_path / "x").exists()
    staging.stage_out(model, bucket)
    assert store.exists(bucket)
    assert store.digest(bucket) == digest.of(model)


@pytest.mark.slow
def test_an_upload_killed_over_an_earlier_one_does_not_pass_for_it(
    bucket: str, tmp_path: Path
) -> None:
    before = make(tmp_path / "before", {"0": b"old", "1": b"old"})
    model = make(tmp_path / "model", {"0": b"new", "1": b"new"})
    staging.stage_out(before, bucket)
    command = [sys.executable, "-c", KILLED, str(model), bucket, "1"]
    assert subprocess.run(command, timeout=120).returncode == -9
    assert not store.exists(bucket)
    store.remove(bucket)
    assert store.list_names(bucket) == []


def test_a_file_takes_the_place_of_a_half_uploaded_folder(bucket: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    store.write_bytes(location.join(bucket, objects.UNFINISHED), b"")
    store.write_bytes(location.join(bucket, "part"), b"x")
    staging.stage_out(tmp_path / "file", bucket)
    assert store.digest(bucket) == digest.of(tmp_path / "file")
    assert set(objects.list_objects(bucket)) == {""}


def test_what_is_half_there_can_be_removed(place: str) -> None:
    if location.is_local(place):
        pytest.skip("a file system can rename")
    store.write_bytes(location.join(place, "file"), b"x")
    assert store.exists(place)
    store.write_bytes(location.join(place, objects.UNFINISHED), b"")
    assert not store.exists(place)
    store.remove(place)
    assert not store.exists(place)
    assert store.list_names(place) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"a": b"file", "b": b""}, {"a/b": b"in a folder"}),
        ({"a/b/c": b"in a folder", "b": b""}, {"a": b"file"}),
        (None, {"a": b"in a folder"}),
        ({"a/b": b"in a folder"}, None),
    ],
)
def test_a_file_takes_a_folders_place_and_the_reverse(
    place: str, tmp_path: Path, before: dict[str, bytes] | None, after: dict[str, bytes] | None
) -> None:
    """A store with real folders has no file and folder of one name, and `memory` is one."""
    uri = location.join(place, "out")
    for name, contents in (("before", before), ("after", after)):
        if contents is None:
            (tmp_path / name).write_bytes(b"file")
        else:
            make(tmp_path / name, contents)
        staging.stage_out(tmp_path / name, uri)
        assert store.digest(uri) == digest.of(tmp_path / name)
    if not location.is_local(uri):
        left = {name for name in objects.list_objects(uri) if name != objects.EMPTY_FOLDER}
        assert left == set(after or {"": b""})


def test_a_store_that_tells_no_version_is_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"memory://bucket/{uuid.uuid4().hex}"
    model = make(tmp_path / "model", {"a": b"right", "b": b"right"})
    files = drivers.filesystem(uri)
    put = files.put_file

    def damaged(path: str, target: str) -> None:
        put(path, target)
        if target.endswith("b"):
            files.pipe_file(target, b"wrong")

    monkeypatch.setattr(files, "put_file", damaged)
    with pytest.raises(StorageError, match="b is of other content after 5 bytes were written"):
        staging.stage_out(model, uri)
    assert not store.exists(uri)
