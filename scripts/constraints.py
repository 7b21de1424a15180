"""Resolves the dependency lines: constraints/<line>.txt from <line>.in and pyproject.toml.

    make constraints                   # keeps every pin that still fits
    make constraints ARGS=--upgrade    # takes the newest versions

uv resolves a line for each of its Pythons, on its oldest supported glibc. Equal versions become one
pin; where they differ, pins have markers for their Pythons.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINES = ("classic", "current")
HEADER = """\
# The {line} line's versions, for Python {pythons}: made by `make constraints` from pyproject.toml
# and constraints/{line}.in. Edit those, never this file.
"""


def resolve(line: str, upgrade: bool) -> list[str]:
    """Returns the pins of a line."""
    source = ROOT / "constraints" / f"{line}.in"
    return merge({python: _compile(source, python, upgrade) for python in _pythons(source)})


def merge(pins: dict[str, dict[str, str]]) -> list[str]:
    """Returns one pin for each package and version, with a marker where not every Python has it.

    Args:
        pins: For each Python, oldest first, the version of every package.
    """
    pythons = list(pins)
    merged = []
    for package in sorted({package for versions in pins.values() for package in versions}):
        by_version: dict[str, list[str]] = {}
        for python in pythons:
            if version := pins[python].get(package):
                by_version.setdefault(version, []).append(python)
        for version, having in by_version.items():
            marker = _marker(having, pythons)
            merged.append(f"{package}=={version}{marker}")
    return merged


def _marker(having: list[str], pythons: list[str]) -> str:
    """Returns the marker of a run of Pythons, with no bound at the first and the last of all."""
    first, last = having[0], having[-1]
    bounds = []
    if first != pythons[0]:
        bounds.append(f'python_version >= "{first}"')
    if last != pythons[-1]:
        bounds.append(f'python_version <= "{last}"')
    if len(bounds) == 2 and first == last:
        bounds = [f'python_version == "{first}"']
    return " ; " + " and ".join(bounds) if bounds else ""


def _compile(source: Path, python: str, upgrade: bool) -> dict[str, str]:
    overrides = source.with_suffix(".override")
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "pins.txt"
        kept = source.with_suffix(".txt")
        if kept.exists() and not upgrade:
            output.write_text(kept.read_text())
        command = ["uv", "pip", "compile", str(ROOT / "pyproject.toml"), str(source)]
        command += ["--extra", "dev", "--python-version", python]
        command += ["--python-platform", _comment(source, "platform")]
        command += ["--override", str(overrides)] if overrides.exists() else []
        command += ["--no-annotate", "--no-header", "--quiet", "--output-file", str(output)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return dict(pin.split("==") for pin in output.read_text().split())


def _pythons(source: Path) -> list[str]:
    return _comment(source, "python").split()


def _comment(source: Path, name: str) -> str:
    match = re.search(rf"^# {name}: (.+)$", source.read_text(), re.MULTILINE)
    if match is None:
        raise SystemExit(f'error: {source} has no line "# {name}: …".')
    return match[1]


def main(upgrade: bool) -> None:
    """Resolves every line, and writes it."""
    for line in LINES:
        source = ROOT / "constraints" / f"{line}.in"
        pins = resolve(line, upgrade)
        pythons = _pythons(source)
        header = HEADER.format(line=line, pythons=f"{pythons[0]} to {pythons[-1]}")
        source.with_suffix(".txt").write_text(header + "".join(f"{pin}\n" for pin in pins))
        print(f"constraints/{line}.txt: {len(pins)} pins")


if __name__ == "__main__":
    main(upgrade="--upgrade" in sys.argv[1:])
