"""Tells which artifacts may be deleted, and why others must stay."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from millrace.lineage import provenance, query, read, values
from millrace.lineage.layout import PIPELINE_RUN, ROOT_NAME
from millrace.lineage.mlmd import pb
from millrace.lineage.nodes import ArtifactRecord, Event, Kind, Run, State
from millrace.lineage.store import Store

PUSHED_MODEL = "system.PushedModel"

_Place = tuple[str, ...]
_ON_DISK = (pb.Artifact.LIVE, pb.Artifact.ABANDONED, pb.Artifact.MARKED_FOR_DELETION)


@dataclass(frozen=True)
class Filter:
    """Which runs are asked for: those to which all of it applies.

    Attributes:
        before: Those that ended before, or began before if it is unknown when they ended.
        states: Those in one of these states; in any if empty.
        pipelines: Those of one of these pipelines; of any if empty.
        keep_last: Not the newest of each pipeline, so many.
        root: Those that lie below this folder or address; anywhere if empty.
    """

    before: datetime | None = None
    states: Collection[str] = ()
    pipelines: Collection[str] = ()
    keep_last: int = 0
    root: str = ""


@dataclass(frozen=True)
class Choice:
    """The runs whose artifacts are to be deleted.

    Attributes:
        runs: These runs, the newest first.
        left: Why runs to which the filter applies are left alone, by id.
    """

    runs: list[Run]
    left: dict[str, str]


@dataclass(frozen=True)
class Candidate:
    """An artifact of a chosen run.

    Attributes:
        artifact: The artifact.
        run_id: The run that made it.
        why: Why it must stay; empty if it may be deleted.
    """

    artifact: ArtifactRecord
    run_id: str
    why: str = ""


@dataclass(frozen=True)
class Plan:
    """What may be deleted.

    Attributes:
        deletable: Artifacts of the chosen runs that nothing needs.
        needed: The other artifacts that the chosen runs have made.
        is_needed: Tells whether what lies at a place must stay, whatever it is.
    """

    deletable: list[Candidate]
    needed: list[Candidate]
    is_needed: Callable[[str], bool] = field(compare=False, repr=False)


def choose(
    runs: Iterable[Run], wanted: Filter, is_held: Callable[[Run], bool] = lambda _: False
) -> Choice:
    """Returns the runs whose artifacts are to be deleted: none that is going on or pinned.

    Args:
        runs: All runs of the store, the newest first, as `cli.liveness` tells them: one that was
            killed is not running.
        wanted: Which of them are asked for.
        is_held: Tells whether a process still works on a run, whatever its record says.
    """
    newer: Counter[str] = Counter()
    chosen, left = [], {}
    for run in runs:
        newer[run.pipeline] += 1
        if not _is_wanted(run, wanted):
            continue
        if wanted.root and not _lies_in(run.root, wanted.root):
            left[run.run_id] = "it lies in another root"
        elif run.state == State.RUNNING or is_held(run):
            left[run.run_id] = "it is going on"
        elif run.pinned:
            left[run.run_id] = "it is pinned"
        elif newer[run.pipeline] <= wanted.keep_last:
            left[run.run_id] = "--keep-last keeps it"
        else:
            chosen.append(run)
    return Choice(chosen, left)


def _is_wanted(run: Run, wanted: Filter) -> bool:
    ended = run.finished or run.started
    is_old = wanted.before is None or (ended is not None and ended < wanted.before)
    return (
        is_old
        and (not wanted.states or run.state in wanted.states)
        and (not wanted.pipelines or run.pipeline in wanted.pipelines)
    )


def plan(store: Store, chosen: Iterable[Run]) -> Plan:
    """Returns which artifacts of some runs may be deleted, and why the others must stay.

    Needed are the models that were pushed, and everything upstream of them; everything upstream of
    what pinned runs and those that are going on have read and made; and what all other runs have
    read and made, results that they took from the cache included. Only files that a task has
    written into the folder of its run are deleted: no data from outside, and nothing that was
    imported. What lies at the place of a needed artifact, within it or around it, stays too.

    Raises:
        StoreError: The store cannot be read.
    """
    cleared = {run.run_id: run for run in chosen}
    uses = _Uses(store)
    reasons = _needed(store, uses, cleared.keys())
    places = _Places()
    for number, why in reasons.items():
        places.add(_place(uses.artifacts[number].uri), why)
    found = Plan([], [], lambda uri: bool(places.why(_place(uri))))
    for number, run_id in sorted(uses.makers.items()):
        message = uses.artifacts[number]
        has_files = bool(values.text(message, "digest"))  # metrics are in the lineage alone
        if run_id not in cleared or not has_files:
            continue
        if not _lies_in(message.uri, cleared[run_id].root):
            continue
        why = reasons.get(number) or places.why(_place(message.uri))
        one = Candidate(read.artifact(message), run_id, why)
        (found.needed if why else found.deletable).append(one)
    return found


class _Uses:
    """All artifacts that are on disk, and which runs have read and made them.

    Attributes:
        artifacts: The artifacts by id.
        makers: The run whose task has made each: none if it was imported or read from outside.
        events: What each run has read and made.
        pinned: The runs that are pinned.
        running: The runs that are recorded as going on.
        pushed: The pushed models of tasks that ended well.
    """

    def __init__(self, store: Store) -> None:
        self.artifacts: dict[int, pb.Artifact] = {
            int(message.id): message
            for message in store.call("get_artifacts")
            if message.state in _ON_DISK
        }
        self.makers: dict[int, str] = {}
        self.events: dict[str, list[Event]] = defaultdict(list)
        self.pinned: set[str] = set()
        self.running: set[str] = set()
        self.pushed: set[int] = set()
        for context in store.call("get_contexts_by_type", PIPELINE_RUN):
            self._add(store, context)

    def of(self, run_ids: Iterable[str]) -> set[int]:
        """Returns what runs have read and made, as far as it is on disk."""
        found = {event.artifact_id for run_id in run_ids for event in self.events[run_id]}
        return found & self.artifacts.keys()

    def _add(self, store: Store, context: pb.Context) -> None:
        run_id = str(context.name)
        if query.is_pinned(context):
            self.pinned.add(run_id)
        executions = {
            int(message.id): message
            for message in store.call("get_executions_by_context", context.id)
        }
        if any(
            one.name == ROOT_NAME + run_id and one.last_known_state == pb.Execution.RUNNING
            for one in executions.values()
        ):
            self.running.add(run_id)
        self.events[run_id] = read.events_of_executions(store, executions)
        for event in self.events[run_id]:
            if not event.is_output or event.artifact_id not in self.artifacts:
                continue
            execution = executions[event.execution_id]
            state = execution.last_known_state
            is_cached = bool(values.text(execution, "cached_execution_id"))
            if not is_cached and state != pb.Execution.CACHED and execution.type == Kind.CONTAINER:
                self.makers.setdefault(event.artifact_id, run_id)
            is_good = state in (pb.Execution.COMPLETE, pb.Execution.CACHED)
            if is_good and _is_pushed(self.artifacts[event.artifact_id]):
                self.pushed.add(event.artifact_id)


def _is_pushed(artifact: pb.Artifact) -> bool:
    """Tells whether an artifact is a pushed model, and not the record of why none was pushed."""
    return artifact.type == PUSHED_MODEL and values.metadata(artifact).get("pushed") is not False


def _needed(store: Store, uses: _Uses, cleared: Collection[str]) -> dict[int, str]:
    """Returns why artifacts are needed, the strongest reason first."""
    reasons: dict[int, str] = {}

    def need(ids: Iterable[int], why: str) -> None:
        for number in ids:
            if number in uses.artifacts:
                reasons.setdefault(number, why)

    def upstream(ids: Iterable[int]) -> Iterable[int]:
        return provenance.upstream(store, ids).artifacts

    need(uses.pushed, "it is a pushed model")
    need(upstream(uses.pushed), "a pushed model was made from it")
    for run_id in sorted(uses.pinned):
        need(upstream(uses.of([run_id])), f"the pinned run {run_id} needs it")
    kept = sorted(uses.events.keys() - cleared)
    for run_id in kept:
        need(uses.of([run_id]), f"run {run_id} uses it")
    # A run that is going on may yet push what it has read.
    need(upstream(uses.of(uses.running.intersection(kept))), "a run that is going on needs it")
    return reasons


class _Places:
    """The places of needed artifacts; what is at, within or around one of them must stay."""

    def __init__(self) -> None:
        self._needed: dict[_Place, str] = {}
        self._around: dict[_Place, str] = {}

    def add(self, place: _Place, why: str) -> None:
        """Adds a place, and why it is needed."""
        self._needed.setdefault(place, why)
        for end in range(1, len(place)):
            self._around.setdefault(place[:end], why)

    def why(self, place: _Place) -> str:
        """Returns why a place must stay, empty if it need not."""
        outer = (self._needed.get(place[:end]) for end in range(1, len(place) + 1))
        return self._around.get(place) or next(filter(None, outer), "")


def _place(uri: str) -> _Place:
    return tuple(part for part in uri.removeprefix("file://").split("/") if part not in ("", "."))


def _lies_in(uri: str, folder: str) -> bool:
    inner, outer = _place(uri), _place(folder)
    is_within = inner[: len(outer)] == outer and len(inner) > len(outer) > 0
    return is_within and ".." not in inner
