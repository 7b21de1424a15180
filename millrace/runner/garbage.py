"""Deletes what old runs have made and nothing needs any more.

Runs may go on meanwhile. What is to be deleted is marked in the lineage store, and then the plan is
made again: it sees the tasks that have taken one of these results in between, and a task that comes
later sees the mark (`RunRecord.cached_task`).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from millrace.errors import PipelineError, StorageError
from millrace.lineage import deletion, query, retention
from millrace.lineage.nodes import Kind, Run, State
from millrace.lineage.retention import Candidate, Choice, Filter, Plan
from millrace.lineage.store import Store
from millrace.runner import kept
from millrace.runner.attempt import LOG
from millrace.runner.task import folder_of
from millrace.storage import location
from millrace.storage import store as storage

LOCK = ".gc.lock"  # in the home of the runs


@dataclasses.dataclass
class Result:
    """What is to be deleted, or was.

    Attributes:
        choice: The runs that were chosen, and those that were left alone.
        plan: Their artifacts.
        leftovers: How many bytes tasks of them that failed or were stopped have left, by run.
        failed: Why something could not be deleted, by its place; the next time it is tried again.
    """

    choice: Choice
    plan: Plan
    leftovers: dict[str, int] = dataclasses.field(default_factory=dict)
    failed: dict[str, str] = dataclasses.field(default_factory=dict)


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
        """Returns what would be deleted.

        Raises:
            StoreError: The lineage store cannot be read.
        """
        choice, plan = self._look()
        sizes = {run.run_id: sum(map(_size, self._leftovers(run, plan))) for run in choice.runs}
        return Result(choice, plan, {run_id: size for run_id, size in sizes.items() if size})

    def delete(self, who: str, why: str) -> Result:
        """Deletes it, and return what was deleted.

        Raises:
            PipelineError: Another process is deleting in this root.
            StoreError: The lineage store cannot be read or written.
        """
        with exclusive(self._home):
            first = self._look()[1].deletable
            self._marked = _ids(one for one in first if not one.artifact.deleted)
            deletion.mark(self._store, self._marked, who, why)
            choice, plan = self._look()
            found = [one for one in plan.deletable if one.artifact.deleted]
            deletion.unmark(self._store, self._marked - _ids(found))
            result = Result(choice, dataclasses.replace(plan, deletable=[]))
            for run in list(choice.runs):
                self._delete(run, [one for one in found if one.run_id == run.run_id], result)
            return result

    def _look(self) -> tuple[Choice, Plan]:
        """Finds what may be deleted, by what the lineage store says now."""
        runs = map(self._state_of, query.runs(self._store))
        choice = retention.choose(
            runs, self._wanted, lambda run: kept.is_running(self._folder(run))
        )
        return choice, retention.plan(self._store, choice.runs)

    def _folder(self, run: Run) -> Path:
        return self._home / run.pipeline / run.run_id

    def _leftovers(self, run: Run, plan: Plan) -> Iterator[Path]:
        """Yields what tasks of a run that did not end well have left, and no record names."""
        folder = self._folder(run)
        if run.counts.keys() <= {State.COMPLETE, State.CACHED} or not folder.is_dir():
            return
        tasks = [task for task in query.tasks(self._store, run) if task.kind == Kind.CONTAINER]
        good = {task.name for task in tasks if task.state == State.COMPLETE}
        bad = {task.name for task in tasks if task.state != State.CACHED} - good
        for own in (folder_of(folder, name) for name in sorted(bad)):
            if own.is_dir() and own.resolve() == folder.resolve() / own.relative_to(folder):
                for path in sorted(own.iterdir()):
                    if path.name != LOG and not plan.is_needed(str(path)):
                        yield path

    def _delete(self, run: Run, candidates: list[Candidate], result: Result) -> None:
        """Deletes what a run has made, which nobody can resume meanwhile."""
        leftovers = list(self._leftovers(run, result.plan))
        if not candidates and not leftovers:
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
            if not is_free or (now.finished, now.properties) != (run.finished, run.properties):
                self._leave(run, candidates, result)
                return
            gone = [one for one in candidates if _remove(one.artifact.uri, run.root, result)]
            deletion.record_deleted(self._store, _ids(gone))
            result.plan.deletable.extend(gone)
            size = 0
            for path in leftovers:
                before = _size(path)
                size += before if _remove(str(path), str(folder), result) else 0
            if size:
                result.leftovers[run.run_id] = size

    def _leave(self, run: Run, candidates: list[Candidate], result: Result) -> None:
        """Leaves a run alone that somebody has resumed since it was chosen."""
        deletion.unmark(self._store, _ids(candidates) & self._marked)
        result.choice.runs.remove(run)
        result.choice.left[run.run_id] = "it is going on"


@contextlib.contextmanager
def exclusive(home: Path) -> Iterator[None]:
    """Keeps other processes from deleting in a root, and from pinning runs of it.

    Raises:
        PipelineError: Another process is deleting.
    """
    try:
        file = (home / LOCK).open("w")
    except OSError as error:
        raise PipelineError(f"Cannot write {home / LOCK}: {error.strerror}.") from error
    with file:
        kept.hold(file, f"Another `millrace gc` is deleting in {home}: wait until it has ended.")
        yield


def _ids(candidates: Iterable[Candidate]) -> set[int]:
    return {one.artifact.id for one in candidates if one.artifact.id is not None}


def _size(path: Path) -> int:
    """Returns the bytes of a file, or of those in a folder."""
    files = [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir() or file.is_symlink())


def _remove(uri: str, root: str, result: Result) -> bool:
    """Removes what lies in a run's folder, and the folders of its task that are empty then.

    Returns whether that was done; why not is in the result.
    """
    try:
        if location.is_local(uri):
            path, folder = location.local_path(uri), location.local_path(root)
            if not path.parent.resolve().is_relative_to(folder.resolve()):
                raise StorageError(f"{uri} is left alone: a link leads out of the run's folder.")
            storage.remove(uri)
            _remove_empty(path.parent, folder)
        else:
            storage.remove(uri)
    except StorageError as error:
        result.failed[uri] = str(error)
        return False
    return True


def _remove_empty(path: Path, folder: Path) -> None:
    """Removes a folder and those around it that are empty, up to the folder of the run."""
    while path != folder and path.is_relative_to(folder):
        try:
            path.rmdir()
        except OSError:  # it is not empty, or is gone already
            if path.exists():
                return
        path = path.parent
