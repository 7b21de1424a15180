"""Paths are parsed as users write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace.storage import paths


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


@pytest.mark.parametrize("looks", [paths.exists, paths.is_file, paths.is_folder])
@pytest.mark.parametrize("text", ["x" * 300, "/x" * 5000, "nul\0", "nowhere"])
def test_what_cannot_be_a_path_is_not_there(looks, text):
    assert not looks(Path(text))


def test_what_is_there(tmp_path):
    file = tmp_path / "file"
    file.touch()
    assert paths.exists(file)
    assert paths.exists(tmp_path)
    assert (paths.is_file(file), paths.is_file(tmp_path)) == (True, False)
    assert (paths.is_folder(file), paths.is_folder(tmp_path)) == (False, True)
