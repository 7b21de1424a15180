"""Paths as people write them: relative, with `~` and `..`, or as `file://` links."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

_MOVED_DEPTH = 4  # names below the folder of all runs: pipeline, run, task, output


def local(text: str) -> str:
    """Returns the path of a `file://` link, and any other text as it is."""
    return unquote(text.removeprefix("file://")) if text.startswith("file:///") else text


def expanded(text: str | Path) -> Path:
    """Returns a path with the home that `~` means; a user who is unknown stays as written."""
    return Path(os.path.expanduser(text))  # noqa: PTH111  Path's own raises


def exists(path: Path) -> bool:
    """Returns whether there is anything at a path; at one that is too long there is not."""
    return os.path.exists(path)  # noqa: PTH110  Path's own raises


def is_file(path: Path) -> bool:
    """Returns whether a path is of a file; one that is too long to be is not."""
    return os.path.isfile(path)  # noqa: PTH113  Path's own raises


def is_folder(path: Path) -> bool:
    """Returns whether a path is of a folder; one that is too long to be is not."""
    return os.path.isdir(path)  # noqa: PTH112  Path's own raises


def absolute(text: str | Path) -> Path:
    """Returns an absolute path without `~` and `..`, in which links stay as they are."""
    return Path(os.path.abspath(expanded(text)))  # noqa: PTH100  Path has none that keeps links


def moved(text: str, home: Path) -> Iterator[str]:
    """Yields where an artifact lies if the folder of all runs was moved or copied to a new home.

    The names below the folder stay the same: pipeline, run, task and output at least.

    Args:
        text: The path or URI that is recorded.
        home: The folder of all runs now.
    """
    path = local(text)
    parts = [part for part in path.rpartition("://")[2].split("/") if part]
    if ".." in parts:
        return
    for start in range(len(parts) - _MOVED_DEPTH + 1):
        candidate = str(home.joinpath(*parts[start:]))
        if candidate != path and os.path.lexists(candidate):
            yield candidate
