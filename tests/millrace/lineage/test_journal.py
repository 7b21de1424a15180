"""A store has a write-ahead log while a run writes, and is a single file before and after."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from millrace.lineage.nodes import State
from millrace.lineage.record import RunRecord
from millrace.lineage.store import Store

_WRITER = """
import sys
from millrace.lineage.record import RunRecord
from millrace.lineage.store import Store

store = Store.open(sys.argv[1], write_ahead=True)
record = RunRecord.start(store, "p", "killed", "/root")
record.start_task("one")
open(sys.argv[1], "rb").close()  # which drops the locks of SQLite's that this process holds
print("written", flush=True)
sys.stdin.read()
record.start_task("two")
store.close()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metadata.sqlite"


def mode(path: Path) -> str:
    """Returns the journal mode that the file is in."""
    return {b"\1\1": "delete", b"\2\2": "wal"}[path.read_bytes()[18:20]]


def files(path: Path) -> list[str]:
    """Returns the names of the files of a store."""
    return sorted(one.name for one in path.parent.iterdir())


@pytest.fixture
def writer(path):
    """Another process that has the store open, and has written to it."""
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"written\n"
    yield process
    process.kill()
    process.communicate()


def test_a_run_writes_ahead_and_leaves_one_file(path):
    with Store.open(path, write_ahead=True) as store:
        record = RunRecord.start(store, "p", "r", "/root")
        assert mode(path) == "wal"
        record.finish(State.COMPLETE)
    assert mode(path) == "delete"
    assert files(path) == ["metadata.sqlite"]


def test_a_reader_changes_nothing(path):
    Store.open(path).close()
    with Store.open(path, create=False):
        assert mode(path) == "delete"
    assert files(path) == ["metadata.sqlite"]


def test_the_last_of_a_process_to_close_makes_one_file(path):
    first = Store.open(path, write_ahead=True)
    second = Store.open(path, write_ahead=True)
    first.close()
    first.close()
    RunRecord.start(second, "p", "r", "/root")
    assert mode(path) == "wal"
    second.close()
    assert files(path) == ["metadata.sqlite"]
    assert mode(path) == "delete"


def test_the_log_stays_as_long_as_another_process_writes(path, writer):
    with Store.open(path, create=False) as store:
        assert store.call("get_context_by_type_and_name", "system.PipelineRun", "killed")
    assert mode(path) == "wal"
    writer.communicate(b"")
    assert files(path) == ["metadata.sqlite"]
    with Store.open(path, create=False) as store:
        assert len(store.call("get_executions")) == 3


def test_a_file_of_two_names_is_one_store(path, tmp_path):
    (tmp_path / "other.sqlite").symlink_to(path)
    first = Store.open(path, write_ahead=True)
    record = RunRecord.start(first, "p", "r", "/root")
    Store.open(tmp_path / "other.sqlite", create=False).close()
    assert mode(path) == "wal"
    record.start_task("one")
    first.close()
    with Store.open(path) as store:
        assert len(store.call("get_executions")) == 2


def test_what_a_killed_run_wrote_is_there(path, writer):
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    assert len(files(path)) == 3
    with Store.open(path, create=False) as store:
        assert len(store.call("get_executions")) == 2
    assert files(path) == ["metadata.sqlite"]
    assert mode(path) == "delete"


def test_after_a_run_a_store_is_read_from_a_folder_that_cannot_be_written(path):
    with Store.open(path, write_ahead=True) as store:
        RunRecord.start(store, "p", "r", "/root").finish(State.COMPLETE)
    database = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    assert database.execute("SELECT count(*) FROM Execution").fetchone() == (1,)
    database.close()


def test_a_network_file_system_gets_no_log(path, monkeypatch):
    mounts = path.with_name("mounts")
    mounts.write_text(
        f"/dev/vda / ext4 rw 0 0\nserver:/a {path.parent.parent}/with\\040space nfs4 rw 0 0\n"
    )
    monkeypatch.setattr("millrace.lineage.journal._MOUNTS", mounts)
    folder = path.parent.parent / "with space"
    folder.mkdir()
    try:
        with Store.open(folder / "metadata.sqlite", write_ahead=True):
            assert mode(folder / "metadata.sqlite") == "delete"
    finally:
        shutil.rmtree(folder)
