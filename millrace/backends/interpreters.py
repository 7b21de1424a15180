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
print(json.dumps(["%d.%d" % sys.version_info[:2], sys.executable, os.path.dirname(os.__file__)]))
"""


@dataclasses.dataclass(frozen=True)
class Interpreter:
    """A Python interpreter.

    Attributes:
        version: Its version, such as "3.11".
        path: Its executable.
        bundled: The folder with its bundled wheel of pip; empty if there is none.
    """

    version: str
    path: str
    bundled: str


@functools.lru_cache(maxsize=64)
def interpreter(version: str) -> Interpreter | None:
    """Returns an interpreter of a version such as "3.11"; an empty one means this process's own.

    It prefers this process's interpreter, then one on PATH, then one that pyenv or uv has
    installed.
    """
    own = "{}.{}".format(*sys.version_info)
    if version in ("", own):
        return Interpreter(own, sys.executable, _bundled(str(Path(os.__file__).parent)))
    probed = map(_probe, _candidates(version))
    return next((one for one in probed if one is not None and one.version == version), None)


def _candidates(version: str) -> Iterator[str]:
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    on_path = shutil.which(f"python{version}")
    if on_path and Path(on_path).parent.name != "shims":  # pyenv's shims are slow, and may not work
        yield on_path
    yield from _installed(pyenv / "versions", f"{version}.*", version)
    yield from _installed(data / "uv" / "python", f"cpython-{version}.*", version)


def _installed(folder: Path, pattern: str, version: str) -> Iterator[str]:
    for found in sorted(folder.glob(f"{pattern}/bin/python{version}"), reverse=True):
        yield str(found)


def _probe(executable: str) -> Interpreter | None:
    """Returns the version and paths of an interpreter; None if it does not run."""
    try:
        answer = subprocess.run(
            [executable, "-I", "-S", "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=30,
            stdin=subprocess.DEVNULL,
            check=True,
        )
        version, path, library = json.loads(answer.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return Interpreter(version, path, _bundled(library))


def _bundled(library: str) -> str:
    folder = Path(library) / "ensurepip" / "_bundled"
    return str(folder) if folder.is_dir() else ""
