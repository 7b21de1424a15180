"""Times the bare work of steps, as a limit for this machine.

    python bench/limits.py imports|example_gen|statistics_gen FLIGHTS_CSV

Prints the seconds that the work took, without the imports it needs.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import yaml

_FLIGHTS = Path(__file__).parents[1] / "pipelines" / "flights" / "pipeline.yaml"


def imports(_: Path) -> float:
    """Imports TensorFlow, which a run needs at least once."""
    start = time.perf_counter()
    import tensorflow  # noqa: F401

    return time.perf_counter() - start


def example_gen(flights: Path) -> float:
    """DuckDB reads the CSV, filters, splits by a hash and writes Parquet."""
    import duckdb

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        rows = f"WITH data AS (FROM read_csv('{flights}', nullstr=['NA'])) {_query()}"
        duckdb.sql(
            f"COPY (SELECT *, ('0x' || md5(rows::VARCHAR)[:8])::UBIGINT % 3 AS split "
            f"FROM ({rows}) AS rows) TO '{folder}/out' "
            "(FORMAT parquet, COMPRESSION zstd, PARTITION_BY split)"
        )
        return time.perf_counter() - start


def statistics_gen(flights: Path) -> float:
    """TFDV describes the same rows in memory."""
    import duckdb
    import pandas  # noqa: F401 - TFDV loads it, and that is not the work
    import pyarrow as pa
    from tensorflow_data_validation.statistics import stats_impl, stats_options

    rows = f"WITH data AS (FROM read_csv('{flights}', nullstr=['NA'])) {_query()}"
    table = duckdb.sql(rows).to_arrow_table().combine_chunks()
    columns = [table[name].combine_chunks() for name in table.column_names]
    offsets = pa.array(range(table.num_rows + 1), pa.int32())
    lists = [pa.ListArray.from_arrays(offsets, column) for column in columns]
    batch = pa.RecordBatch.from_arrays(lists, names=table.column_names)
    start = time.perf_counter()
    stats_impl.generate_statistics_in_memory(batch, stats_options.StatsOptions())
    return time.perf_counter() - start


def _query() -> str:
    pipeline = yaml.safe_load(_FLIGHTS.read_text(encoding="utf-8"))
    query: str = pipeline["root"]["inputDefinitions"]["parameters"]["query"]["defaultValue"]
    return query


if __name__ == "__main__":
    work = {"imports": imports, "example_gen": example_gen, "statistics_gen": statistics_gen}
    print(f"{work[sys.argv[1]](Path(sys.argv[2])):.2f}")
