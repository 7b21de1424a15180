"""An unusable store gives an error with the reason and what to do."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from ml_metadata import version

from millrace.errors import StoreError
from millrace.lineage.record import RunRecord
from millrace.lineage.store import Store


def start(path, run_id="r1"):
    with Store.open(path) as store:
        RunRecord.start(store, "p", run_id, "/root")


def why(path, create=True) -> str:
    with pytest.raises(StoreError) as error, Store.open(path, create) as store:
        RunRecord.start(store, "p", "another-run", "/root")
    return str(error.value)


def fill(run: RunRecord) -> None:
    for index in range(1_000):
        run.start_task(f"task-{index}", parameters={"query": "x" * 2_000})


def set_version(path: Path, version: int) -> None:
    database = sqlite3.connect(path)
    database.execute("UPDATE MLMDEnv SET schema_version = ?", [version])
    database.commit()
    database.close()


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}"])
def test_ways_to_write_a_path(tmp_path, form):
    path = tmp_path / "new" / "a b%.sqlite"
    uri = form.format(path).replace("%", "%25") if "://" in form else str(path)
    start(uri)
    assert path.exists()
    with Store.open(path) as store:
        assert store.where == str(path)
        assert repr(store) == f"Store({str(path)!r})"


def test_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start("sqlite:///x.sqlite", "r1")
    start("x.sqlite", "r2")
    with Store.open(tmp_path / "x.sqlite") as store:
        assert len(store.call("get_executions")) == 2


def test_an_empty_file_becomes_a_store(tmp_path):
    (tmp_path / "x").touch()
    start(tmp_path / "x")


def test_no_store(tmp_path):
    assert why(tmp_path / "x", create=False) == (
        f"There is no lineage store at {tmp_path}/x. `millrace run` creates it; --root or --store "
        "names another."
    )
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + "/metadata.sqlite"])
def test_a_name_that_is_too_long(tmp_path, name):
    assert why(tmp_path / name, create=False).startswith("There is no lineage store at ")
    assert why(tmp_path / name).endswith(
        "cannot be created: file name too long."
        if "/" in name
        else "cannot be opened: the file cannot be created."
    )


def test_a_closed_store(tmp_path):
    store = Store.open(tmp_path / "x")
    store.close()
    with pytest.raises(StoreError, match=f"The lineage store {tmp_path}/x is closed"):
        store.call("get_contexts")


def test_a_folder(tmp_path):
    assert why(tmp_path) == f"{tmp_path} is a folder, and a lineage store is a file."


def test_no_path():
    assert why("") == "The path of the lineage store is empty."


def test_no_database(tmp_path):
    (tmp_path / "x").write_text("a,b\n1,2\n" * 500)
    assert why(tmp_path / "x") == (
        f"The lineage store {tmp_path}/x is not a lineage store: the file is not an SQLite "
        "database. Name another file."
    )


def test_a_database_of_something_else_is_left_alone(tmp_path):
    path = tmp_path / "shop.sqlite"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE orders (id)")
    database.commit()
    before = path.read_bytes()
    for _ in range(2):
        assert why(path) == (
            f"{path} is an SQLite database of something else, with tables such as orders: name "
            "another file for the lineage store."
        )
    assert path.read_bytes() == before


def test_a_damaged_file(tmp_path):
    start(tmp_path / "x")
    os.truncate(tmp_path / "x", 5_000)
    assert why(tmp_path / "x") == (
        f"The lineage store {tmp_path}/x is damaged: SQLite cannot read the file. Restore it "
        "from a backup, or move it away to start a new one."
    )


def test_a_newer_version(tmp_path):
    start(tmp_path / "x")
    set_version(tmp_path / "x", 99)
    assert why(tmp_path / "x") == (
        f"The lineage store {tmp_path}/x was made by a newer ML Metadata: its schema has version "
        f"99, and ml-metadata {version.__version__}, which is installed, knows up to 10. Install a "
        "newer one, or name another store."
    )


def test_an_older_version(tmp_path):
    start(tmp_path / "x")
    set_version(tmp_path / "x", 7)
    assert why(tmp_path / "x").startswith(
        f"The lineage store {tmp_path}/x was made by an older ML Metadata: its schema has version "
        f"7, and ml-metadata {version.__version__}, which is installed, needs 10. Back it up and "
    )


def test_a_read_only_file_can_be_looked_at(tmp_path, unprivileged):
    start(tmp_path / "x")
    (tmp_path / "x").chmod(0o444)
    with unprivileged():
        with Store.open(tmp_path / "x", create=False) as store:
            assert len(store.call("get_executions")) == 1
        said = why(tmp_path / "x")
    assert said == (
        f"The lineage store {tmp_path}/x is read-only, so nothing can be "
        "recorded. Make the file and its folder writable, or name another store."
    )


def test_a_read_only_folder(tmp_path, unprivileged):
    start(tmp_path / "x")
    (tmp_path / "x").chmod(0o666)
    tmp_path.chmod(0o555)
    with unprivileged():
        assert "x is read-only, so nothing can be recorded" in why(tmp_path / "x")
        assert why(tmp_path / "new") == (
            f"The lineage store {tmp_path}/new cannot be opened: nothing can be written to "
            f"{tmp_path}."
        )
        assert why(tmp_path / "deep" / "new") == (
            f"The folder {tmp_path}/deep of the lineage store cannot be created: permission denied."
        )
    tmp_path.chmod(0o755)


def test_a_file_that_may_not_be_read(tmp_path, unprivileged):
    start(tmp_path / "x")
    (tmp_path / "x").chmod(0)
    with unprivileged():
        assert why(tmp_path / "x") == (
            f"The lineage store {tmp_path}/x cannot be opened: you may not read the file."
        )


def test_a_full_disk(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        with Store.open(small / "x") as store:
            run = RunRecord.start(store, "p", "r1", "/root")
            task = run.start_task("kept")
            with pytest.raises(StoreError) as error:
                fill(run)
            assert str(error.value) == (
                f"The lineage store {small}/x cannot be written: its disk is full. Free some space "
                "there."
            )
        with Store.open(small / "x") as store:  # what was written stays
            assert store.call("get_executions_by_id", [task])
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)


def test_a_store_that_another_process_locks(tmp_path):
    start(tmp_path / "x")
    script = (
        "import sqlite3, sys, time; database = sqlite3.connect(sys.argv[1]);"
        "database.execute('BEGIN EXCLUSIVE'); print('locked', flush=True); time.sleep(1)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path / "x"], stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"locked\n"
        start(tmp_path / "x", "r2")  # waits for the lock
    with Store.open(tmp_path / "x") as store:
        assert len(store.call("get_contexts_by_type", "system.PipelineRun")) == 2


def test_nothing_is_printed(tmp_path):
    """MLMD logs its errors from Python and from C++, and both are raised as well."""
    script = (
        "from millrace.lineage.store import Store\n"
        "from millrace.lineage.record import RunRecord\n"
        "from millrace.errors import StoreError\n"
        "import os, sys\n"
        "with Store.open(sys.argv[1]) as store:\n"
        "    RunRecord.start(store, 'p', 'r', '/')\n"
        "    try: RunRecord.start(store, 'p', 'r', '/')\n"
        "    except StoreError: pass\n"
        "try: Store.open('mysql://a:b@127.0.0.1:1/x')\n"
        "except StoreError: pass\n"
        "assert 'GLOG_minloglevel' not in os.environ\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "x"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_protobuf_without_its_c_library(tmp_path):
    """Part of its import is deferred, since the C library does not need it."""
    script = "from millrace.lineage.store import Store; import sys; Store.open(sys.argv[1]).close()"
    env = os.environ | {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "x"], capture_output=True, text=True, env=env
    )
    assert (done.returncode, done.stderr) == (0, "")


class TestAddresses:
    """Addresses that are wrong, and servers that are not there."""

    def test_wrong_scheme(self):
        assert why("mysq://me:pw@h/d") == (
            "mysq://me:***@h/d is not the address of a lineage store: it must be a path, or begin "
            'with sqlite, mysql, postgresql or grpc and ://. Did you mean "mysql"?'
        )

    def test_a_password_that_breaks_the_address(self):
        said = why("mysql://me:pa/ss@h/d")
        assert said.startswith("The address of the lineage store, mysql://…, cannot be read: ")
        assert "pa" not in said.partition("password")[0].replace("cannot", "")

    @pytest.mark.parametrize("uri", ["mysql://me:pw@h", "mysql://me:pw@h/"])
    def test_no_database(self, uri):
        assert why(uri) == (
            f"{uri.replace('pw', '***')} names no database: write "
            "mysql://USER:PASSWORD@HOST:PORT/DATABASE."
        )

    def test_unknown_option(self):
        assert why("mysql://me:pw@h/d?ssl_caa=/x") == (
            'mysql://me:***@h/d?ssl_caa=/x has an unknown option "ssl_caa"; known are ssl_key, '
            "ssl_cert, ssl_ca, ssl_capath, ssl_cipher, ssl_verify_server_cert."
            ' Did you mean "ssl_ca"?'
        )

    def test_unreadable_option(self):
        assert why("grpc://h?custom_ca=/no/such").startswith(
            "custom_ca=/no/such of the lineage store cannot be read: [Errno 2]"
        )

    @pytest.mark.parametrize("scheme", ["mysql", "postgresql"])
    def test_nobody_listens(self, scheme):
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            port = reserved.getsockname()[1]
            assert why(f"{scheme}://me:pw@127.0.0.1:{port}/d") == (
                f"The lineage store {scheme}://me:***@127.0.0.1:{port}/d cannot be reached: "
                "connection refused. Check that the server runs, its host and its port."
            )

    def test_nobody_listens_to_grpc(self):
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            port = reserved.getsockname()[1]
            said = why(f"grpc://127.0.0.1:{port}")
        assert said.startswith(f"The lineage store grpc://127.0.0.1:{port} cannot be reached: ")
        assert said.endswith("Check that the server runs, its host and its port.")

    @pytest.mark.parametrize("scheme", ["mysql", "postgresql"])
    def test_no_such_host(self, scheme):
        said = why(f"{scheme}://me:pw@no-such-host.invalid/d")
        assert said.startswith(f"The lineage store {scheme}://me:***@no-such-host.invalid/d cannot")

    @pytest.mark.parametrize("scheme", ["mysql", "postgresql", "grpc"])
    def test_silence_is_not_waited_for(self, scheme, monkeypatch):
        from millrace.lineage import address, probe

        monkeypatch.setattr(probe, "_SECONDS", 1.0)
        monkeypatch.setattr(address, "DEADLINE", 1.0)
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            before = time.monotonic()
            said = why(f"{scheme}://me:pw@127.0.0.1:{silent.getsockname()[1]}/d")
            assert time.monotonic() - before < 5
        assert "does not answer within" in said

    @pytest.mark.parametrize("scheme", ["mysql", "postgresql"])
    def test_a_server_of_another_kind(self, scheme):
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()

            def answer() -> None:
                connection, _ = listening.accept()
                with connection:
                    connection.sendall(b"+OK\n")

            thread = threading.Thread(target=answer)
            thread.start()
            said = why(f"{scheme}://me:pw@127.0.0.1:{listening.getsockname()[1]}/d")
            thread.join()
        assert said.endswith(f"the server there is not {scheme}.")
