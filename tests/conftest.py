"""Fixtures and settings of all tests.

Property tests draw the same examples on every machine and in every run (the hypothesis profile
`repeatable`). `make fuzz` draws new ones (the profile `fuzz`); add what it finds as an `@example`
of the test, so that every run repeats it from then on.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Set before anything imports TensorFlow: quiet, on the CPU, and with Keras 2.
os.environ |= {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_USE_LEGACY_KERAS": "1",
}

# No limit of time depends on how busy the machine is: --timeout ends a test that hangs.
_ANY_MACHINE = settings(
    max_examples=50,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.register_profile("repeatable", _ANY_MACHINE, derandomize=True, database=None)
settings.register_profile("fuzz", _ANY_MACHINE, max_examples=500, derandomize=False)
settings.load_profile("repeatable")  # --hypothesis-profile loads another

ROOT = Path(__file__).parents[1]

Millrace = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def millrace() -> Millrace:
    """Runs the installed command in a folder, and returns what it printed."""

    def run(
        *arguments: object, cwd: Path, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("millrace")), *map(str, arguments)]
        clean = {key: value for key, value in os.environ.items() if not key.startswith("MILLRACE_")}
        done = subprocess.run(
            command, cwd=cwd, env=clean | environment, capture_output=True, text=True, timeout=300
        )
        if check:
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture(scope="session")
def flights_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every 17th of the real flights, 19,810 rows."""
    from millrace.pipelines.flights import data

    folder = tmp_path_factory.mktemp("flights")
    data.write(folder / "all.csv")
    with (folder / "all.csv").open() as source, (folder / "flights.csv").open("w") as sample:
        sample.writelines(line for number, line in enumerate(source) if number % 17 == 0)
    (folder / "all.csv").unlink()
    return folder / "flights.csv"
