"""Keeps Secrets out of a task's log while the task writes it."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Iterator
from pathlib import Path

from millrace import redact
from millrace.runner.scratch import scratch_folder

_BLOCK = 1 << 20  # bytes that are read at once; a pipe holds no more
_LONGEST_LINE = 1 << 16  # bytes of a line that are held back until it ends


@contextlib.contextmanager
def clean_log(log: Path) -> Iterator[Path]:
    """Yields a named pipe: what is written to it is appended to a log, with Secrets replaced.

    A line gets there once it has ended, so that a Secret in two writes is replaced as well. The
    Secrets are those that are known when this begins.
    """
    with scratch_folder() as folder, log.open("ab", buffering=0) as target:
        pipe = folder / "log"
        os.mkfifo(pipe, 0o600)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        writer = os.open(pipe, os.O_WRONLY)  # without one, a pipe ends between two others
        ended, end = os.pipe()
        cleaner = redact.Cleaner(_LONGEST_LINE)

        def copy() -> None:
            is_over = False
            while not is_over:
                is_over = ended in select.select([reader, ended], [], [])[0]
                with contextlib.suppress(OSError):  # the pipe is empty, or the disk full
                    target.write(cleaner.feed(os.read(reader, _BLOCK)))
            with contextlib.suppress(OSError):
                target.write(cleaner.end())

        thread = threading.Thread(target=copy, daemon=True)
        thread.start()
        try:
            yield pipe
        finally:
            os.close(end)
            thread.join()
            for number in (reader, writer, ended):
                os.close(number)
