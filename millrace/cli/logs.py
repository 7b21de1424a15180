"""`millrace logs RUN TASK`: prints a task's log, and follows it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from millrace.errors import PipelineError, nearest
from millrace.runner import kept
from millrace.runner.attempt import LOG
from millrace.runner.run import home_of
from millrace.runner.task import folder_of, path_of

_PAUSE = 0.2  # seconds between two reads of a growing file


def show(run: str, task: str, root: str | Path, follow: bool) -> None:
    """Prints the log of a task; with `follow`, goes on until the run has ended.

    Raises:
        PipelineError: There is no such run, or the task has no log.
    """
    folder = kept.find(home_of(root), run)
    path = _find(folder, task, follow)
    with path.open("rb") as file:
        while True:
            is_live = follow and kept.is_running(folder)  # before the last read of the file
            while part := file.read(1 << 16):
                sys.stdout.buffer.write(part)
            sys.stdout.buffer.flush()
            if not is_live:
                return
            time.sleep(_PAUSE)


def _find(folder: Path, task: str, follow: bool) -> Path:
    path = folder_of(folder, task) / LOG
    while not path.is_file():
        if not (follow and kept.is_running(folder)):
            logs = folder.rglob(LOG)
            known = sorted(path_of(folder, each.parent) for each in logs)
            raise PipelineError(
                f'The task "{task}" of run {folder.name} has no log.{nearest(task, known)} '
                f"Tasks with one: {', '.join(known[:10]) or 'none'}."
            )
        time.sleep(_PAUSE)
    return path
