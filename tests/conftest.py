"""Fixtures and settings of all tests.

Property tests draw the same examples on every machine and in every run (the hypothesis profile
`repeatable`). `make fuzz` draws new ones (the profile `fuzz`); add what it finds as an `@example`
of the test, so that every run repeats it from then on.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Set before anything imports TensorFlow: no logs, CPU only, Keras 2.
os.environ |= {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_USE_LEGACY_KERAS": "1",
}

# No deadlines, as the machine may be busy: --timeout ends a test that hangs.
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


@dataclasses.dataclass(frozen=True)
class S3:
    """An S3 server: its address, a bucket, and the environment that gives access to it."""

    endpoint: str
    bucket: str
    env: dict[str, str]


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A real S3 server, versitygw, with an empty bucket."""
    server = shutil.which("versitygw")
    if server is None:
        pytest.skip("needs versitygw: go install github.com/versity/versitygw/cmd/versitygw@v1.8.0")
    import fsspec

    folder = tmp_path_factory.mktemp("s3")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {
        "AWS_ACCESS_KEY_ID": "millrace-tests",
        "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-tests",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }
    command = [server, "--port", f"127.0.0.1:{port}", "--access", env["AWS_ACCESS_KEY_ID"]]
    command += ["--secret", env["AWS_SECRET_ACCESS_KEY"], "--quiet", "--keep-alive"]
    command += ["--region", env["AWS_DEFAULT_REGION"]]
    (folder / "buckets").mkdir()
    (folder / "sidecar").mkdir()  # for file systems without extended attributes
    command += ["posix", "--sidecar", str(folder / "sidecar"), str(folder / "buckets")]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_for(port, process, folder / "log")
        files = fsspec.filesystem(
            "s3",
            skip_instance_cache=True,
            key=env["AWS_ACCESS_KEY_ID"],
            secret=env["AWS_SECRET_ACCESS_KEY"],
            endpoint_url=env["AWS_ENDPOINT_URL"],
            client_kwargs={"region_name": env["AWS_DEFAULT_REGION"]},
        )
        files.mkdir("millrace-tests")
        yield S3(env["AWS_ENDPOINT_URL"], "millrace-tests", env)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until a server takes connections."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    raise AssertionError(f"the server does not answer: {log.read_text()}")
