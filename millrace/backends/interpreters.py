"""Finds the Python interpreters of this machine."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_PROBE = """
import json, os, sys
try:
    import ensurepip
    bundled = os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")
except ImportError:
    bundled = ""
print(json.dumps(["%d.%d" % sys.version_info[:2], sys.executable, bundled]))
"""


@dataclasses.dataclass(frozen=True)
class Interpreter:
    """A Python interpreter.

    Attributes:
        version: Its version, such as "3.11".
        path: Its executable.
        bundled: The folder with the wheel of pip that comes with it; empty if none does.
    """

    version: str
    path: str
    bundled: str


@functools.lru_cache(maxsize=64)
def interpreter(version: str) -> Interpreter | None:
    """Returns an interpreter of a version such as "3.11"; this process's own if it is empty.

    It looks at this process's interpreter, then on PATH, then where pyenv and uv install.
    """
    for candidate in _candidates(version):
        found = _probe(candidate)
        if found is not None and version in ("", found.version):
            return found
    return None


def _candidates(version: str) -> Iterator[str]:
    if version in ("", f"{sys.version_info[0]}.{sys.version_info[1]}"):
        yield sys.executable
    if not version:
        return
    if on_path := shutil.which(f"python{version}"):
        yield on_path
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    yield from _installed(pyenv / "versions", f"{version}.*", version)
    yield from _installed(data / "uv" / "python", f"cpython-{version}.*", version)


def _installed(folder: Path, pattern: str, version: str) -> Iterator[str]:
    for found in sorted(folder.glob(f"{pattern}/bin/python{version}"), reverse=True):
        yield str(found)


def _probe(executable: str) -> Interpreter | None:
    """Returns what an interpreter says of itself; None if it does not run, as a pyenv shim may."""
    try:
        answer = subprocess.run(
            [executable, "-I", "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=30,
            stdin=subprocess.DEVNULL,
            check=True,
        )
        return Interpreter(*json.loads(answer.stdout))
    except (OSError, ValueError, TypeError, subprocess.SubprocessError):
        return None
