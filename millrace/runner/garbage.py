"""Deletes what old runs have made and nothing needs any more.

Runs may go on meanwhile. What is to be deleted is marked in the lineage store, and then the plan is
made again: it sees the tasks that have taken one of these results in between, and a task that comes
later sees the mark (`RunRecord.cached_task`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from millrace.errors import PipelineError, StorageError
from millrace.lineage import deletion, query, retention
from millrace.lineage.nodes import Run
from millrace.lineage.retention import Candidate, Choice, Filter, Plan
from millrace.lineage.store import Store
from millrace.runner import kept
from millrace.storage import location
from millrace.storage import store as storage

LOCK = ".gc.lock"  # in the home of the runs


@dataclasses.dataclass
class Result:
    """What is to be deleted, or was.

    Attributes:
        choice: The runs that were chosen, and those that were left alone.
        plan: Their artifacts.
        failed: Why artifacts could not be deleted, by id; the next time they are tried again.
    """

    choice: Choice
    plan: Plan
    failed: dict[int, str] = dataclasses.field(default_factory=dict)


class Collector:
    """Finds and deletes what nothing needs in one root.

    Args:
        store: The lineage store.
        home: The folder that keeps runs on this machine.
        wanted: Which runs are asked for.
        state_of: Returns a run as it is: one whose process was killed is not running.
    """

    def __init__(
        self, store: Store, home: Path, wanted: Filter, state_of: Callable[[Run], Run]
    ) -> None:
        self._store = store
        self._home = home
        self._wanted = wanted
        self._state_of = state_of
        self._marked: set[int] = set()  # by this process; what an earlier one has, may be half gone

    def plan(self) -> Result:
        """Return what would be deleted.

        Raises:
            StoreError: The lineage store cannot be read.
        """
        choice = self._choose()
        return Result(choice, retention.plan(self._store, choice.runs))

    def delete(self, who: str, why: str) -> Result:
        """Delete it, and return what was deleted.

        Raises:
            PipelineError: Another process is deleting in this root.
            StoreError: The lineage store cannot be read or written.
        """
        with exclusive(self._home):
            first = self.plan().plan.deletable
            self._marked = _ids(one for one in first if not one.artifact.deleted)
            deletion.mark(self._store, self._marked, who, why)
            second = self.plan()
            found = [one for one in second.plan.deletable if one.artifact.deleted]
            deletion.unmark(self._store, self._marked - _ids(found))
            result = dataclasses.replace(second, plan=Plan([], second.plan.needed))
            for run in list(second.choice.runs):
                self._delete(run, [one for one in found if one.run_id == run.run_id], result)
            return result

    def _choose(self) -> Choice:
        runs = map(self._state_of, query.runs(self._store))
        return retention.choose(runs, self._wanted, lambda run: kept.is_running(self._folder(run)))

    def _folder(self, run: Run) -> Path:
        return self._home / run.pipeline / run.run_id

    def _delete(self, run: Run, candidates: list[Candidate], result: Result) -> None:
        """Delete artifacts of a run, which nobody can resume meanwhile."""
        if not candidates:
            return
        folder = self._folder(run)
        with contextlib.ExitStack() as stack:
            is_free = True
            if (folder / kept.FOLDER).is_dir():
                try:
                    stack.enter_context(kept.lock(folder))
                except PipelineError:
                    is_free = False
            now = query.find_run(self._store, run.run_id)
            if is_free and (now.finished, now.properties) == (run.finished, run.properties):
                self._remove(run, candidates, result)
            else:
                self._leave(run, candidates, result)

    def _remove(self, run: Run, candidates: list[Candidate], result: Result) -> None:
        for one in candidates:
            try:
                _remove(one.artifact.uri, run.root)
            except StorageError as error:
                result.failed[one.artifact.id or 0] = str(error)
            else:
                result.plan.deletable.append(one)
        removed = {one.artifact.id or 0 for one in candidates} - result.failed.keys()
        deletion.record_deleted(self._store, removed)

    def _leave(self, run: Run, candidates: list[Candidate], result: Result) -> None:
        """Leave a run alone that somebody has resumed since it was chosen."""
        deletion.unmark(self._store, _ids(candidates) & self._marked)
        result.choice.runs.remove(run)
        result.choice.left[run.run_id] = "it is going on"


@contextlib.contextmanager
def exclusive(home: Path) -> Iterator[None]:
    """Keep other processes from deleting in a root, and from pinning runs of it.

    Raises:
        PipelineError: Another process is deleting.
    """
    try:
        file = (home / LOCK).open("w")
    except OSError as error:
        raise PipelineError(f"Cannot write {home / LOCK}: {error.strerror}.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PipelineError(
                f"Another `millrace gc` is deleting in {home}: wait until it has ended."
            ) from None
        yield


def _ids(candidates: Iterable[Candidate]) -> set[int]:
    return {one.artifact.id for one in candidates if one.artifact.id is not None}


def _remove(uri: str, root: str) -> None:
    """Remove an artifact, and the folders of its task that are empty then.

    Raises:
        StorageError: It cannot be removed, or a link leads out of the run's folder.
    """
    if not location.is_local(uri):
        storage.remove(uri)
        return
    path, folder = location.local_path(uri), location.local_path(root)
    if not path.parent.resolve().is_relative_to(folder.resolve()):
        raise StorageError(f"{uri} is left alone: a link leads out of the run's folder.")
    storage.remove(uri)
    for parent in path.parents:
        if parent == folder or not parent.is_relative_to(folder):
            break
        try:
            parent.rmdir()
        except OSError:  # it is not empty, or is gone already
            if parent.exists():
                break
