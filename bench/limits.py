"""Times the bare work of steps, as a limit for this machine.

    python bench/limits.py imports|example_gen|statistics_gen FLIGHTS_CSV
    python bench/limits.py fork|records|start FOLDER

Prints the seconds that the work took, without the imports it needs.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

_TIMES, _STARTS = 100, 9
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


def fork(folder: Path) -> float:
    """Forks a process that has kfp's executor run an empty component, one after another."""
    os.environ["_KFP_RUNTIME"] = "true"
    import argparse
    import locale  # noqa: F401
    import logging  # noqa: F401
    import runpy

    import kfp.dsl.executor
    import kfp.dsl.kfp_config
    import kfp.dsl.utils  # noqa: F401

    program = folder / "component.py"
    program.write_text("def work(number: int) -> int:\n    return number\n", encoding="utf-8")
    output = folder / "output"
    outputs = (
        f'{{"parameters": {{"Output": {{"outputFile": "{output}"}}}}, "outputFile": "{output}"}}'
    )
    message = f'{{"inputs": {{"parameterValues": {{"number": 1}}}}, "outputs": {outputs}}}'
    sys.argv = ["", "--component_module_path", str(program), "--executor_input", message]
    sys.argv += ["--function_to_execute", "work"]
    parser = argparse.ArgumentParser(description="-")  # the first one compiles a lot
    parser.add_argument("--text", type=str, required=True, help="-")
    parser.parse_known_args(["--text", "-"])
    start = time.perf_counter()
    for _ in range(_TIMES):
        if not (pid := os.fork()):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 1)
            os.dup2(nothing, 2)
            runpy.run_module("kfp.dsl.executor_main", run_name="__main__", alter_sys=True)
            os._exit(0)
        os.waitpid(pid, 0)
    return (time.perf_counter() - start) / _TIMES


def records(folder: Path) -> float:
    """Writes the two records of tasks, one after another."""
    from millrace.lineage.nodes import State
    from millrace.lineage.record import RunRecord
    from millrace.lineage.store import Store

    with Store.open(folder / "records.sqlite", write_ahead=True) as store:
        run = RunRecord.start(store, "pipeline", "run", str(folder))
        start = time.perf_counter()
        for number in range(_TIMES):
            task = run.start_task(f"task-{number}", parameters={"number": number})
            run.finish_task(task, State.COMPLETE, {"Output": number})
        return (time.perf_counter() - start) / _TIMES


def start(folder: Path) -> float:
    """Starts Python and imports the client of ML Metadata, without which a run has no record."""
    seconds = []
    for _ in range(_STARTS):
        begin = time.perf_counter()
        command = [sys.executable, "-c", "import millrace.lineage.mlmd"]
        subprocess.run(command, check=True, cwd=folder)
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def _query() -> str:
    pipeline = yaml.safe_load(_FLIGHTS.read_text(encoding="utf-8"))
    query: str = pipeline["root"]["inputDefinitions"]["parameters"]["query"]["defaultValue"]
    return query


if __name__ == "__main__":
    known = (imports, example_gen, statistics_gen, fork, records, start)
    work = {one.__name__: one for one in known}
    print(f"{work[sys.argv[1]](Path(sys.argv[2])):.4f}")
