"""Measures what the runner itself costs, beside kfp.local and beside what this machine allows.

    python bench/runner.py [--kfp PYTHON] [--out FILE.json] [--small]

PYTHON is an interpreter that has the kfp to compare with; this one if it is not named. Components
do nothing, so all time is overhead. Every run is a cold process. Pipelines are compiled before.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import measure
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
MILLRACE = str(Path(sys.executable).with_name("millrace"))
_COMPONENTS = 40  # of the pipeline that kfp.local runs too

_PIPELINES = """
from kfp import dsl

@dsl.component(install_kfp_package=False)  # kfp.local would install kfp for each task
def work(number: int) -> int:
    return number

@dsl.pipeline(name="side-by-side")
def side_by_side():
    for number in range({tasks}):
        work(number=number)

@dsl.pipeline(name="loop")
def loop(items: list):
    with dsl.ParallelFor(items) as item:
        work(number=item)
"""

_KFP_LOCAL = """
from kfp import local

import pipelines

local.init(local.SubprocessRunner(use_venv=False), pipeline_root="kfp-local")
pipelines.side_by_side()
"""


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kfp", default=sys.executable, help="a Python with the kfp to compare")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "runner.json")
    parser.add_argument("--small", action="store_true", help="a tenth of the tasks")
    arguments = parser.parse_args()
    scale = 10 if arguments.small else 1
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as name:
        folder = Path(name)
        results: dict[str, Any] = {
            "limits": limits(folder),
            "side_by_side": [side_by_side(folder, tasks // scale) for tasks in (200, 1_000)],
            "loop": [loop(folder, items // scale) for items in (1_000, 10_000)],
            "kfp": beside_kfp(folder, arguments.kfp),
        }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    show(results)


def limits(folder: Path) -> dict[str, float]:
    """Returns the milliseconds of what no runner can do without.

    A component needs a process of its own, at best a fork of one that has imported kfp's executor;
    a task has two records; and every run starts Python and imports ML Metadata's client.
    """
    found = {}
    for name in ("fork", "records", "start"):
        command = [sys.executable, "-W", "ignore", str(HERE / "limits.py"), name, str(folder)]
        found[name] = round(float(measure.command(command, folder).stdout.split()[-1]) * 1000, 1)
    return found


def side_by_side(folder: Path, tasks: int) -> dict[str, float]:
    """Runs so many tasks that do not wait for each other."""
    pipeline = compiled(folder, "side_by_side", tasks)
    return {"tasks": tasks, **run(folder, [str(pipeline)], tasks)}


def loop(folder: Path, items: int) -> dict[str, float]:
    """Runs a loop of so many iterations."""
    pipeline = compiled(folder, "loop", 1)
    parameters = folder / "items.json"
    parameters.write_text(json.dumps({"items": list(range(items))}), encoding="utf-8")
    return {"tasks": items, **run(folder, [str(pipeline), "--params", str(parameters)], items)}


def beside_kfp(folder: Path, python: str) -> dict[str, Any]:
    """Runs the same components here, from the cache too, and with kfp.local."""
    pipeline = compiled(folder, "side_by_side", _COMPONENTS)
    command = [MILLRACE, "run", str(pipeline), "--root", str(folder / "kfp-root"), "--json"]
    ours = measure.command(command, folder)
    cached = measure.median_seconds(lambda: measure.command(command, folder))
    script = folder / "with_kfp_local.py"
    script.write_text(_KFP_LOCAL, encoding="utf-8")
    theirs = measure.command([python, "-W", "ignore", str(script)], folder)
    version = subprocess.run(
        [python, "-W", "ignore", "-c", "import kfp; print(kfp.__version__)"],
        check=True,
        capture_output=True,
        text=True,
    )
    return {
        "version": version.stdout.strip(),
        "tasks": _COMPONENTS,
        "seconds": round(ours.seconds, 2),
        "cached_seconds": round(cached, 2),
        "kfp_local_seconds": round(theirs.seconds, 2),
    }


def compiled(folder: Path, name: str, tasks: int) -> Path:
    """Compiles one of the pipelines."""
    text = textwrap.dedent(_PIPELINES).format(tasks=tasks)
    (folder / "pipelines.py").write_text(text, encoding="utf-8")
    target = folder / f"{name}.yaml"
    code = (
        "import pipelines; from kfp import compiler; "
        f"compiler.Compiler().compile(pipelines.{name}, {str(target)!r})"
    )
    measure.command([sys.executable, "-W", "ignore", "-c", code], folder)
    return target


def run(folder: Path, arguments: list[str], tasks: int) -> dict[str, float]:
    """Runs a pipeline once, and returns what each of its tasks took."""
    root = folder / "root"
    done = measure.command([MILLRACE, "run", *arguments, "--root", str(root), "--json"], folder)
    seconds = json.loads(done.stdout)["seconds"]
    shutil.rmtree(root)
    return {
        "seconds": round(seconds, 1),
        "ms_per_task": round(seconds / tasks * 1000, 1),
        "peak_mb": round(done.peak_mb),
    }


def show(results: dict[str, Any]) -> None:
    """Prints the tables."""
    console, limit = Console(), results["limits"]
    table = Table("", box=None, pad_edge=False)
    for heading in ("seconds", "ms a task", "peak MB"):
        table.add_column(heading, justify="right")
    for name, unit in (("side_by_side", "tasks side by side"), ("loop", "iterations of a loop")):
        for one in results[name]:
            values = (f"{one[key]:g}" for key in ("seconds", "ms_per_task", "peak_mb"))
            table.add_row(f"{one['tasks']:,} {unit}", *values)
    table.add_row("limit: a forked component, done alone", "", f"{limit['fork']:g}", "")
    table.add_row("limit: the records of a task, written alone", "", f"{limit['records']:g}", "")
    start = f"{limit['start'] / 1000:g}"
    table.add_row("limit: Python's start and the import of ML Metadata", start, "", "")
    console.print(table)
    peer = results["kfp"]
    theirs = peer["kfp_local_seconds"]
    console.print(
        f"{peer['tasks']} components: {peer['seconds']:g} s, cached {peer['cached_seconds']:g} s; "
        f"kfp.local {peer['version']}: {theirs:g} s, "
        f"{theirs / peer['seconds']:.1f}× and {theirs / peer['cached_seconds']:.1f}×"
    )


if __name__ == "__main__":
    main()
