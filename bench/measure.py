"""Runs a command, and measures its wall time and the peak memory of its processes together."""

from __future__ import annotations

import dataclasses
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

_INTERVAL = 0.1


@dataclasses.dataclass(frozen=True)
class Measured:
    """The measurements of a command.

    Attributes:
        seconds: From its start to its end.
        peak_mb: The largest sum of proportional set sizes over its processes, in MB of 10^6 bytes.
        stdout: What it printed.
    """

    seconds: float
    peak_mb: float
    stdout: str


def command(arguments: list[str], cwd: Path, **environment: str) -> Measured:
    """Runs a command to its end; raises RuntimeError with the end of its output if it fails."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")}
    clean.pop("PYTHONDONTWRITEBYTECODE", None)  # if set, every start compiles its modules again
    start = time.perf_counter()
    process = subprocess.Popen(
        arguments,
        cwd=cwd,
        env=clean | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    peak: list[float] = [0.0]
    done = threading.Event()
    sampler = threading.Thread(target=_sample, args=(process.pid, peak, done))
    sampler.start()
    stdout, stderr = process.communicate()
    seconds = time.perf_counter() - start
    done.set()
    sampler.join()
    if process.returncode:
        raise RuntimeError(
            f"{arguments} ended with {process.returncode}:\n{(stdout + stderr)[-3000:]}"
        )
    return Measured(seconds, peak[0] / 1e6, stdout)


def median_seconds(run: Callable[[], Measured], times: int = 5) -> float:
    """Returns the median wall time of several runs, after one that is not counted."""
    run()
    return statistics.median(run().seconds for _ in range(times))


def _sample(pid: int, peak: list[float], done: threading.Event) -> None:
    root = psutil.Process(pid)
    while not done.wait(_INTERVAL):
        try:
            processes = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        peak[0] = max(peak[0], sum(map(_pss, processes)))


def _pss(process: psutil.Process) -> float:
    """Returns a process's proportional set size: shared memory counts once in a sum."""
    try:
        return float(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0.0
