"""Fixtures and settings of all tests.

Property tests draw the same examples on every machine and in every run (the hypothesis profile
`repeatable`). `make fuzz` draws new ones (the profile `fuzz`); add what it finds as an `@example`
of the test, so that every run repeats it from then on.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
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


@pytest.fixture(scope="session", autouse=True)
def _own_warm_servers() -> Iterator[None]:
    """Keeps the tests apart from the warm servers that the user of this machine has running."""
    folder = tempfile.mkdtemp(prefix="mr-", dir="/tmp")  # a socket's path must be short
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", folder)
        yield
    shutil.rmtree(folder, ignore_errors=True)


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
class ObjectStore:
    """An object store: its address, a bucket, and the environment that gives access to it.

    Attributes:
        uri: The bucket, such as `s3://millrace-tests`.
        secret: What must not appear in anything that is written.
    """

    endpoint: str
    uri: str
    env: dict[str, str]
    secret: str

    @property
    def bucket(self) -> str:
        """The name of the bucket."""
        return self.uri.partition("://")[2]


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """A real S3 server, versitygw, with an empty bucket."""
    server = _server("versitygw", "go install github.com/versity/versitygw/cmd/versitygw@v1.8.0")
    folder, port = tmp_path_factory.mktemp("s3"), _free_port()
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
    (folder / "buckets" / "millrace-tests").mkdir()
    with _running(command, port, folder / "log"):
        secret = env["AWS_SECRET_ACCESS_KEY"]
        yield ObjectStore(env["AWS_ENDPOINT_URL"], "s3://millrace-tests", env, secret)


@pytest.fixture(scope="session")
def gs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """An emulator of Google Cloud Storage, fake-gcs-server, with an empty bucket."""
    server = _server("fake-gcs-server", "go install github.com/fsouza/fake-gcs-server@v1.56.1")
    folder, port = tmp_path_factory.mktemp("gs"), _free_port()
    endpoint, secret = f"http://127.0.0.1:{port}", "a-token-of-the-tests"
    (folder / "data" / "millrace-tests").mkdir(parents=True)
    (folder / "options.json").write_text(json.dumps({"gs": {"token": "anon"}}))
    command = [server, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    command += ["-backend", "memory", "-data", str(folder / "data"), "-external-url", endpoint]
    env = {
        "STORAGE_EMULATOR_HOST": endpoint,
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # asks over gRPC what a bucket is
        "MILLRACE_STORAGE_OPTIONS_FILE": str(folder / "options.json"),
    }
    with _running(command, port, folder / "log"):
        yield ObjectStore(endpoint, "gs://millrace-tests", env, secret)


@pytest.fixture(scope="session")
def az(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """An emulator of Azure Blob Storage, Azurite, with an empty container."""
    server = _server("azurite-blob", "npm install --global azurite@3.35.0")
    folder, port = tmp_path_factory.mktemp("az"), _free_port()
    account, key = "millracetests", base64.b64encode(b"a-secret-key-of-the-tests").decode()
    command = [server, "--inMemoryPersistence", "--silent", "--disableTelemetry"]
    command += ["--skipApiVersionCheck", "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    endpoint = f"http://127.0.0.1:{port}/{account}"
    text = f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={key};"
    env = {"AZURE_STORAGE_CONNECTION_STRING": f"{text}BlobEndpoint={endpoint};"}
    accounts = {"AZURITE_ACCOUNTS": f"{account}:{key}"}
    with _running(command, port, folder / "log", os.environ | accounts):
        from azure.storage.blob import BlobServiceClient

        with BlobServiceClient.from_connection_string(*env.values()) as client:
            client.create_container("millrace-tests")
        yield ObjectStore(endpoint, "az://millrace-tests", env, key)


def _server(name: str, install: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"needs {name}: {install}")
    return path


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def _running(
    command: list[str], port: int, log: Path, env: dict[str, str] | None = None
) -> Iterator[None]:
    """Runs a server, from when it takes connections."""
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=env)
    try:
        _wait_for(port, process, log)
        yield
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
