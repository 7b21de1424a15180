"""Measures Millrace on the flights, with TFX and the machine's limits for comparison, in one run.

    python bench/bench.py [--tfx DIR] [--out FILE.json] [--flights data/flights.csv]

DIR is a folder with TFX set up (`bench/tfx/setup.sh DIR`). Every run is a cold process with an
empty root. The table is printed, and everything is written as JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import empty
import measure
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
MILLRACE = str(Path(sys.executable).with_name("millrace"))
TFX_NAMES = {
    "example-gen": "CsvExampleGen",
    "statistics-gen": "StatisticsGen",
    "schema-gen": "SchemaGen",
    "example-validator": "ExampleValidator",
    "transform": "Transform",
    "trainer": "Trainer",
    "evaluator": "Evaluator",
    "pusher": "Pusher",
}


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tfx", type=Path, help="a folder with TFX set up")
    parser.add_argument("--flights", type=Path, default=Path("data/flights.csv"))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "latest.json")
    parser.add_argument("--skip-large", action="store_true", help="leave ten times the rows out")
    arguments = parser.parse_args()
    flights = arguments.flights.resolve()
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as name:
        folder = Path(name)
        results: dict[str, Any] = {"machine": machine(), "limits": limits(flights)}
        results["millrace"] = ours(flights, folder)
        if not arguments.skip_large:
            results["ten_times"] = ten_times(flights, folder, results["millrace"])
        if arguments.tfx:
            results["tfx"] = tfx(arguments.tfx)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    show(results)


def machine() -> dict[str, Any]:
    """Describes this machine."""
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {"cpu": model, "cores": os.cpu_count(), "memory_gb": round(memory, 1)}


def limits(flights: Path) -> dict[str, float]:
    """Times the bare work of some steps, in seconds."""
    found = {}
    for name in ("imports", "example_gen", "statistics_gen"):
        command = [sys.executable, "-W", "ignore", str(HERE / "limits.py"), name, str(flights)]
        done = measure.command(command, HERE)
        found[name.replace("_", "-")] = float(done.stdout.split()[-1])
    return found


def ours(flights: Path, folder: Path) -> dict[str, Any]:
    """Runs the flights pipeline cold and cached."""
    root = folder / "root"
    command = [MILLRACE, "run", "flights", "--param", f"data_uri={flights}", "--root", str(root)]
    command += ["--json"]
    cold = measure.command(command, folder)
    cached = measure.median_seconds(lambda: measure.command(command, folder))
    shutil.rmtree(root)
    run = json.loads(cold.stdout)
    return {
        "seconds": round(cold.seconds, 2),
        "peak_mb": round(cold.peak_mb),
        "cached_seconds": round(cached, 3),
        "help_seconds": round(
            measure.median_seconds(lambda: measure.command([MILLRACE, "--help"], folder)), 3
        ),
        "empty_task_seconds": empty_task(folder),
        "steps": {task["task"]: round(task["seconds"], 2) for task in run["tasks"]},
        "auc": auc(run),
    }


def empty_task(folder: Path) -> float:
    """Returns the seconds that an additional empty task costs, with its records."""
    seconds: list[float] = []
    for tasks in (1, 41):
        pipeline = empty.chain(folder, tasks)
        command = [MILLRACE, "run", str(pipeline), "--root", str(folder / "empty"), "--json"]
        run = json.loads(measure.command([*command, "--no-cache"], folder).stdout)
        seconds.append(run["seconds"])
    return round((seconds[1] - seconds[0]) / 40, 4)


def auc(run: dict[str, Any]) -> float:
    """Returns the AUC of the exported model on the raw rows of the eval split."""
    evaluated = next(task for task in run["tasks"] if task["task"] == "evaluator")
    return round(float(evaluated["outputs"]["metrics"]["metadata"]["auc"]), 4)


def ten_times(flights: Path, folder: Path, base: dict[str, Any]) -> dict[str, Any]:
    """Runs the pipeline on ten times the rows, each copy with another year."""
    large = folder / "large.csv"
    with flights.open(newline="") as source, large.open("w", newline="") as sink:
        rows = csv.reader(source)
        writer = csv.writer(sink)
        header = next(rows)
        year, minute = header.index("year"), header.index("minute")
        writer.writerow(header)
        for row in rows:
            for copy in range(10):
                # With another minute, a copy is a different row and may be in another split.
                row[year] = str(2013 + copy)
                writer.writerow(
                    [*row[:minute], str((int(row[minute]) + copy) % 60), *row[minute + 1 :]]
                )
    root = folder / "large"
    command = [MILLRACE, "run", "flights", "--param", f"data_uri={large}", "--root", str(root)]
    done = measure.command([*command, "--json"], folder)
    shutil.rmtree(root)
    large.unlink()
    steps = {task["task"]: round(task["seconds"], 2) for task in json.loads(done.stdout)["tasks"]}
    return {
        "seconds": round(done.seconds, 2),
        "peak_mb": round(done.peak_mb),
        "peak_ratio": round(done.peak_mb / base["peak_mb"], 2),
        "steps": steps,
    }


def tfx(folder: Path) -> dict[str, Any]:
    """Runs TFX on the same rows, in both of its modes."""
    found: dict[str, Any] = {}
    for mode, options in (("in_memory", []), ("multi_process", ["mp"])):
        done = measure.command([str(HERE / "tfx" / "run.sh"), str(folder), *options], HERE)
        seconds = {
            line.split(":")[0]: float(line.split()[1])
            for line in done.stdout.splitlines()
            if " s," in line
        }
        details = json.loads((folder / "cold.json").read_text())
        history = json.loads((folder / "cold.history.json").read_text())
        found[mode] = {
            "seconds": seconds["cold"],
            "cached_seconds": seconds["cached"],
            "peak_mb": round(done.peak_mb),
            "steps": details["component_s"],
            "auc": round(history["val_auc"], 4),
        }
    return found


def show(results: dict[str, Any]) -> None:
    """Prints one table."""
    ours_, limit = results["millrace"], results["limits"]
    peer = results.get("tfx", {})
    fastest = min(peer.values(), key=lambda mode: mode["seconds"]) if peer else None
    table = Table("flights, 336,776 rows", box=None, pad_edge=False)
    for heading in ("Millrace", "TFX", "ratio", "limit"):
        table.add_column(heading, justify="right")
    _row(table, "whole run, cold, s", ours_["seconds"], fastest and fastest["seconds"])
    for name, seconds in ours_["steps"].items():
        theirs = fastest and fastest["steps"].get(TFX_NAMES[name])
        _row(table, f"  {name}", seconds, theirs, limit.get(name))
    _row(table, "imports", None, None, limit["imports"])
    _row(table, "all cached, s", ours_["cached_seconds"], fastest and fastest["cached_seconds"])
    _row(table, "peak memory, MB", ours_["peak_mb"], fastest and fastest["peak_mb"])
    _row(table, "AUC", ours_["auc"], fastest and fastest["auc"])
    _row(table, "millrace --help, s", ours_["help_seconds"])
    _row(table, "an empty task, s", ours_["empty_task_seconds"])
    if large := results.get("ten_times"):
        _row(table, "ten times the rows, s", large["seconds"])
        _row(table, "  peak memory, times", large["peak_ratio"])
        for name in ("example-gen", "statistics-gen", "transform"):
            ratio = large["steps"][name] / max(ours_["steps"][name], 0.01)
            _row(table, f"  {name}, times", round(ratio, 1))
    console = Console()
    about = results["machine"]
    console.print(f"{about['cpu']}, {about['cores']} cores, {about['memory_gb']} GB")
    console.print(table)


def _row(table: Table, name: str, *values: float | None) -> None:
    ours_, theirs, limit = (*values, None, None)[:3]
    ratio = f"{theirs / ours_:.1f}×" if ours_ and theirs and name != "AUC" else ""
    texts = ["" if value is None else f"{value:g}" for value in (ours_, theirs)]
    table.add_row(name, *texts, ratio, "" if limit is None else f"{limit:g}")


if __name__ == "__main__":
    main()
