"""Folders that may hold Secrets do not outlive their task, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from millrace.runner.scratch import scratch_folder

_HOLDER = """
import sys
from millrace.runner.scratch import scratch_folder

with scratch_folder() as folder:
    (folder / "password").write_text("secret")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files, here and in other processes."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


@pytest.fixture
def holder(temporary):
    """Another process that holds a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def make_old(folder):
    (one,) = folder.iterdir()
    os.utime(one, (0, 0))
    return one


def test_it_is_private_and_removed(temporary):
    with scratch_folder() as folder:
        assert folder.parent == temporary
        assert folder.stat().st_mode & 0o077 == 0
    assert not list(temporary.iterdir())


def test_what_a_killed_process_left_is_removed(temporary, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    left = make_old(temporary)
    assert (left / "password").exists()
    with scratch_folder() as folder:
        assert list(temporary.iterdir()) == [folder]


def test_what_is_in_use_stays(temporary, holder):
    used = make_old(temporary)
    with scratch_folder():
        assert (used / "password").exists()


def test_a_link_of_that_name_is_not_followed(temporary, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "file").touch()
    (temporary / "millrace-pod-link").symlink_to(elsewhere)
    os.utime(temporary / "millrace-pod-link", (0, 0), follow_symlinks=False)
    with scratch_folder():
        assert (elsewhere / "file").exists()
