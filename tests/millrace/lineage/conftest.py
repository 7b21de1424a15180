"""Real servers of MLMD's other kinds of store, started for the tests where they are installed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from ml_metadata.metadata_store.pywrap.metadata_store_extension import metadata_store as native
from ml_metadata.proto import metadata_store_pb2 as pb
from ml_metadata.proto import metadata_store_service_pb2 as service
from ml_metadata.proto import metadata_store_service_pb2_grpc as service_grpc

USER, PASSWORD = "millrace", "p@ss/w:rd"
QUOTED = "p%40ss%2Fw%3Ard"


@pytest.fixture
def tmp_path(quick_path: Path) -> Path:
    """Every store of these tests is in memory, if it can be."""
    return quick_path


def free_port() -> int:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        return int(reserved.getsockname()[1])


def wait(ready: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < until, "the server does not start"
        time.sleep(0.05)


@contextmanager
def process(command: list[str], log: Path, end: int, **options) -> Iterator[None]:
    with (
        log.open("w") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, **options) as running,
    ):
        try:
            yield
        finally:
            running.send_signal(end)  # which does not wait for its clients


@pytest.fixture(scope="session")
def mysql() -> Iterator[str]:
    """The address of a MariaDB server, without the name of a database."""
    if not (shutil.which("mariadbd") and shutil.which("mariadb-install-db")):
        pytest.skip("needs Debian's mariadb-server")
    with tempfile.TemporaryDirectory(prefix="my") as folder:
        data, where, port = Path(folder, "data"), Path(folder, "s"), free_port()
        user = "--user=root" if os.geteuid() == 0 else f"--user={os.environ.get('USER', '')}"
        common = ["--no-defaults", user, f"--datadir={data}"]
        subprocess.run(
            [
                *("mariadb-install-db", *common, "--skip-test-db"),
                "--auth-root-authentication-method=normal",
            ],
            check=True,
            capture_output=True,
        )
        server = ["mariadbd", *common, f"--socket={where}", f"--port={port}"]
        server += ["--bind-address=127.0.0.1", "--innodb-flush-log-at-trx-commit=0"]
        with process(server, Path(folder, "log"), signal.SIGKILL):
            admin = ["mariadb", f"--socket={where}", "--user=root"]
            ready = [*admin, "-e", "SELECT 1"]
            wait(lambda: not subprocess.run(ready, capture_output=True).returncode)
            sql = "".join(
                f"CREATE USER '{USER}'@'{host}' IDENTIFIED BY '{PASSWORD}';"
                f"GRANT ALL ON `mlmd%`.* TO '{USER}'@'{host}';"
                for host in ("%", "localhost")
            )
            subprocess.run([*admin, "-e", sql], check=True)
            yield f"mysql://{USER}:{QUOTED}@127.0.0.1:{port}"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of a PostgreSQL server, without the name of a database."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        pytest.skip("needs Debian's postgresql")
    # PostgreSQL refuses to run as root.
    other = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        Path(folder, "password").write_text(PASSWORD)
        if other:
            shutil.chown(folder, 65534)
            shutil.chown(Path(folder, "password"), 65534)
        data, port, programs = Path(folder, "data"), free_port(), found[-1].parent
        subprocess.run(
            [
                *(programs / "initdb", "-D", data, "-U", USER, "-A", "scram-sha-256"),
                *("--no-sync", f"--pwfile={folder}/password", "-E", "UTF8"),
            ],
            check=True,
            capture_output=True,
            cwd=folder,
            **other,
        )
        server = [programs / "postgres", "-D", data, "-p", str(port), "-k", folder]
        server += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        with process(server, Path(folder, "log"), signal.SIGQUIT, cwd=folder, **other):
            ready = [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
            wait(lambda: not subprocess.run(ready, capture_output=True).returncode)
            yield f"postgresql://{USER}:{QUOTED}@127.0.0.1:{port}"


@pytest.fixture
def mysql_close(mysql: str) -> Callable[[], None]:
    """Closes the connections to the MariaDB server, as an idle one is closed."""
    port = mysql.rpartition(":")[2]
    command = [
        "mariadb",
        "--protocol=tcp",
        "-h127.0.0.1",
        f"-P{port}",
        f"-u{USER}",
        f"-p{PASSWORD}",
    ]
    others = "SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID()"

    def close() -> None:
        found = subprocess.run(
            [*command, "-NBe", others], check=True, capture_output=True, text=True
        )
        for number in found.stdout.split():
            subprocess.run([*command, "-e", f"KILL {number}"], capture_output=True)

    return close


@pytest.fixture
def postgresql_close(postgresql: str) -> Callable[[], None]:
    """Closes the connections to the PostgreSQL server."""
    sql = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE usename = '{USER}' AND pid <> pg_backend_pid()"
    )
    command = ["psql", "-h127.0.0.1", f"-p{postgresql.rpartition(':')[2]}", f"-U{USER}", "postgres"]

    def close() -> None:
        environment = os.environ | {"PGPASSWORD": PASSWORD}
        subprocess.run([*command, "-c", sql], check=True, capture_output=True, env=environment)

    return close


@dataclass
class GrpcServer:
    """MLMD's own library behind MLMD's own service, over an SQLite file."""

    path: Path
    port: int = 0

    def __post_init__(self) -> None:
        config = pb.ConnectionConfig()
        config.sqlite.filename_uri = str(self.path)
        self._store = native.CreateMetadataStore(
            config.SerializeToString(), pb.MigrationOptions().SerializeToString()
        )
        methods = service.DESCRIPTOR.services_by_name["MetadataStoreService"].methods
        answers = {one.name: staticmethod(self._answer(one.name)) for one in methods}
        self._server = grpc.server(futures.ThreadPoolExecutor(1))
        service_grpc.add_MetadataStoreServiceServicer_to_server(
            type("Servicer", (), answers)(), self._server
        )
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    @property
    def address(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._server.stop(None).wait()

    def _answer(self, name: str) -> Callable[..., object]:
        statuses = {status.value[0]: status for status in grpc.StatusCode}

        def answer(request, context: grpc.ServicerContext) -> object:
            content, said, code = getattr(native, name)(self._store, request.SerializeToString())
            if code:
                context.abort(statuses[code], said.decode())
            response = getattr(service, f"{name}Response")()
            response.ParseFromString(content)
            return response

        return answer


@pytest.fixture
def grpc_servers(tmp_path: Path) -> Iterator[Callable[..., GrpcServer]]:
    """Starts gRPC servers of one store."""
    started: list[GrpcServer] = []

    def start(port: int = 0) -> GrpcServer:
        started.append(GrpcServer(tmp_path / "served.sqlite", port))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture(params=["sqlite", "mysql", "postgresql", "grpc"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "another.sqlite")
    if request.param == "grpc":
        return str(request.getfixturevalue("grpc_servers")().address)
    return f"{request.getfixturevalue(request.param)}/mlmd_{time.time_ns()}"
