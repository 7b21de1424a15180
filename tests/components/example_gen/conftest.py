from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.artifacts import HTML, Examples
from millrace.components.example_gen.executor import run
from millrace.data import examples as data
from millrace.storage import digest


@dataclasses.dataclass
class Generated:
    folder: Path
    metadata: dict[str, Any]
    page: str

    def table(self, split: str) -> pa.Table:
        return pa.concat_tables([pq.read_table(path) for path in data.shards(self.folder, split)])

    def rows(self) -> list[dict[str, Any]]:
        return [row for split in data.splits(self.folder) for row in self.table(split).to_pylist()]

    def split_of(self, column: str) -> dict[Any, str]:
        return {
            value: split
            for split in data.splits(self.folder)
            for value in self.table(split).column(column).to_pylist()
        }

    def digest(self) -> str:
        return digest.of(self.folder).hexdigest


Generate = Callable[..., Generated]


@pytest.fixture
def generate(tmp_path: Path) -> Generate:
    """Runs the step, into a folder of its own each time."""
    runs = iter(range(10**6))

    def generate(data_uri: object, **parameters: Any) -> Generated:
        folder = tmp_path / f"run-{next(runs)}"
        folder.mkdir()
        examples, report = Examples(str(folder / "examples")), HTML(str(folder / "report.html"))
        run(str(data_uri), examples, report, **parameters)
        return Generated(examples.path, examples.metadata, report.path.read_text())

    return generate


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """A hundred rows of text, integers, decimals and missing values."""
    path = tmp_path / "people.csv"
    lines = [
        f"p{number},{number % 7},{number / 4},{'' if number % 10 == 0 else 'red'}"
        for number in range(100)
    ]
    path.write_text("\n".join(["name,team,score,colour", *lines]) + "\n")
    return path
