"""Paths are read as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace import paths


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("file:///a%20b/c", "/a b/c"),
        ("file:///a b", "/a b"),
        ("/a%20b", "/a%20b"),
        ("s3://bucket/a%20b", "s3://bucket/a%20b"),
        ("file:x", "file:x"),
    ],
)
def test_local(text, path):
    assert paths.local(text) == path


def test_absolute(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    (tmp_path / "deep").mkdir()
    (tmp_path / "link").symlink_to("deep")
    monkeypatch.chdir(tmp_path / "link")
    here = Path.cwd()
    assert paths.absolute("../x/./y") == here.parent / "x/y"
    assert paths.absolute("~/x") == Path("/home/ada/x")
    assert paths.absolute("~nobody-of-that-name/x") == here / "~nobody-of-that-name/x"
    assert paths.absolute(tmp_path / "link") == tmp_path / "link"
