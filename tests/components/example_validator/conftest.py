from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from millrace.artifacts import Statistics

Describe = Callable[..., Statistics]


@pytest.fixture
def describe(tmp_path: Path) -> Describe:
    """Writes the statistics of tables, a split each."""
    from millrace.components.statistics_gen.analysis import analyze
    from millrace.data import statistics

    def describe(**splits: pa.Table) -> Statistics:
        root = tmp_path / "statistics"
        for name, table in splits.items():
            statistics.save(root, name, analyze(table.to_batches(), name))
        return Statistics(str(root))

    return describe
