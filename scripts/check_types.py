#!/usr/bin/env python3
"""Checks the types of everything with mypy.

components/ and pipelines/ install within the package `millrace`, but mypy names a module after its
path. So mypy runs in a tree of symbolic links with the layout of the installed package.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TREE = ROOT / ".mypy_cache" / "installed"


def link_tree() -> None:
    """Makes the tree of links."""
    shutil.rmtree(TREE, ignore_errors=True)
    package = TREE / "millrace"
    package.mkdir(parents=True)
    for path in (ROOT / "millrace").iterdir():
        (package / path.name).symlink_to(path)
    for name in ("components", "pipelines"):
        (package / name).symlink_to(ROOT / name)
    for name in ("bench", "scripts"):
        (TREE / name).symlink_to(ROOT / name)


def main() -> int:
    """Runs mypy and prints the real paths of the files."""
    link_tree()
    command = [
        *(sys.executable, "-m", "mypy", *sys.argv[1:]),
        *("--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(TREE.parent)),
    ]
    done = subprocess.run(command, cwd=TREE, stdout=subprocess.PIPE, text=True)
    print(re.sub(r"^millrace/(components|pipelines)/", r"\1/", done.stdout, flags=re.M), end="")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
