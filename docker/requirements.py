"""Writes the requirements of each image's layers, as pyproject.toml declares them.

    python3 requirements.py pyproject.toml FOLDER

`core` is what the package itself needs, `data` and `train` are its extras, and `tensorflow` is what
those two share: a layer of its own, so that it is built, stored and pulled once. `test` is all.
"""

import sys
from pathlib import Path

import tomllib


def layers(project: dict) -> dict[str, list[str]]:
    """Returns the requirements of each layer."""
    extras = project["optional-dependencies"]
    data, train = set(extras["data"]), set(extras["train"])
    everything = {line for lines in extras.values() for line in lines}
    return {
        "core": project["dependencies"],
        "tensorflow": sorted(data & train),
        "data": sorted(data),
        "train": sorted(train),
        "test": sorted(line for line in everything if not line.startswith("millrace[")),
    }


if __name__ == "__main__":
    source, folder = map(Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    for name, requirements in layers(tomllib.loads(source.read_text())["project"]).items():
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in requirements))
