from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from millrace.artifacts import HTML, Examples, Statistics
from millrace.data.examples import SplitWriter

Write = Callable[..., Examples]
Describe = Callable[..., Statistics]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes tables as splits of examples."""
    folders = iter(range(10**6))

    def write(**splits: pa.Table) -> Examples:
        root = tmp_path / f"examples-{next(folders)}"
        for name, table in splits.items():
            with SplitWriter(root, name, table.schema) as writer:
                for batch in table.to_batches():
                    writer.write(batch)
        return Examples(str(root))

    return write


@pytest.fixture
def describe(tmp_path: Path) -> Describe:
    """Runs the step, into a folder of its own each time."""
    from millrace.components.statistics_gen.executor import run

    folders = iter(range(10**6))

    def describe(examples: Examples, **parameters: Any) -> Statistics:
        root = tmp_path / f"statistics-{next(folders)}"
        root.mkdir()
        statistics = Statistics(str(root / "statistics"))
        run(examples, statistics, HTML(str(root / "report.html")), **parameters)
        return statistics

    return describe
