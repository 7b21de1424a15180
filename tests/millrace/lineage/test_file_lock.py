"""One process at a time uses an SQLite store, and none waits for a dead one."""

from __future__ import annotations

import subprocess
import sys
import threading

from millrace.lineage.file_lock import FileLock

HOLDER = """
import sys, time
from pathlib import Path
from millrace.lineage.file_lock import FileLock
with FileLock(Path(sys.argv[1])):
    print("mine", flush=True)
    time.sleep(60)
"""


def test_threads_and_stores_take_turns(tmp_path):
    inside, seen = [], []

    def work(number: int) -> None:
        lock = FileLock(tmp_path / "x")
        for _ in range(200):
            with lock:
                inside.append(number)
                seen.append(len(inside))
                inside.remove(number)
        lock.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 800


def test_a_killed_process_gives_its_turn_away(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path / "x"], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"mine\n"
        got = threading.Event()

        def wait() -> None:
            with FileLock(tmp_path / "x"):
                got.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not got.wait(0.2)
        holder.kill()
        assert got.wait(10)
        waiting.join()


def test_an_error_ends_a_turn(tmp_path):
    lock = FileLock(tmp_path / "x")
    try:
        with lock:
            raise ValueError
    except ValueError:
        pass
    with FileLock(tmp_path / "x"), FileLock(tmp_path / "elsewhere" / "x"):
        pass


def test_where_there_is_no_queue(tmp_path):
    for lock in (FileLock(None), FileLock(tmp_path / "no" / "such" / "x")):
        with lock, lock:
            pass
        lock.close()
        lock.close()
