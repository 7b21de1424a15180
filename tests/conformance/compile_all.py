"""Compiles every case into a folder: python tests/conformance/compile_all.py FOLDER.

Beside the pipelines it writes `expected.json`, by which other runners can be measured. A case that
this version of kfp cannot compile yet is left out.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import kfp

from cases import load


def main(folder: Path) -> None:
    """Compiles every case."""
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    for name, one in load().items():
        if not one.compiles_with(kfp.__version__):
            print(f"{name}: needs kfp {one.needs}")
            continue
        path = one.compile(folder)
        fields = {field.name: getattr(one, field.name) for field in dataclasses.fields(one)}
        expected[path.name] = {key: value for key, value in fields.items() if key != "function"}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1))
    print(f"{len(expected)} pipelines in {folder}, compiled by kfp {kfp.__version__}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
