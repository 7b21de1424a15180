"""A URI names a place, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace.errors import StorageError
from millrace.storage import drivers, location, store


@pytest.mark.parametrize(
    ("uri", "parts", "joined"),
    [
        ("/runs", ["a", "b/c"], "/runs/a/b/c"),
        ("/", ["a"], "/a"),
        ("runs/", ["a#1?"], "runs/a#1?"),
        ("s3://bucket", ["a b", "ü"], "s3://bucket/a b/ü"),
        ("s3://bucket/prefix/", ["%41"], "s3://bucket/prefix/%41"),
        ("file:///tmp/x", ["a b", "50%"], "file:///tmp/x/a%20b/50%25"),
        ("gs://bucket/x", [], "gs://bucket/x/"),
    ],
)
def test_join(uri: str, parts: list[str], joined: str) -> None:
    assert location.join(uri, *parts).rstrip("/") == joined.rstrip("/")


def test_a_file_uri_is_a_path() -> None:
    assert location.local_path("file:///tmp/a%20b%3F") == Path("/tmp/a b?")
    assert location.is_local("a?b#c")
    assert not location.is_local("s3://bucket/a")
    assert location.name("s3://bucket/a/b/") == "b"
    assert location.name("/tmp/a/b.csv") == "b.csv"


@pytest.mark.parametrize("part", ["..", "a/../b", "/etc", "", ".", "a//b", "a\0"])
@pytest.mark.parametrize("uri", ["/runs", "s3://bucket/runs", "file:///runs"])
def test_no_part_leads_out(uri: str, part: str) -> None:
    with pytest.raises(StorageError, match="is not a path below"):
        location.join(uri, part)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/key?endpoint=https://evil.example.com",
        "s3://bucket/key#fragment",
        "s3://AKIAEXAMPLE:hunter2@bucket/key",
        "abfs://container@account.dfs.core.windows.net/key",
        "s3://bucket/../other",
        "s3://bucket/./key",
        "s3://bucket//key",
        "s3:///key",
        "s3://",
        "http://example.com/data.csv",
        "simplecache::s3://bucket/key",
        "s3a://bucket/key",
        "file://host/share",
        "file:///a?b",
    ],
)
def test_what_is_no_place_is_one_clear_error(uri: str) -> None:
    with pytest.raises(StorageError) as raised:
        location.scheme(uri)
    assert "\n" not in str(raised.value)
    assert "hunter2" not in str(raised.value)
    assert "evil" not in str(raised.value)


def test_kfps_own_store_is_not_looked_for_at_amazon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    drivers.forget()
    assert location.scheme("minio://mlpipeline/v2") == "s3"
    with pytest.raises(StorageError, match="its endpoint is not known: set AWS_ENDPOINT_URL"):
        store.exists("minio://mlpipeline/v2/artifacts")
    drivers.forget()
