"""Tells which artifacts may be deleted, and records that they were.

Deleting takes two steps, in this order: `mark_deleted`, from when on the cache takes an artifact no
more, and then its files.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timezone

from millrace import redact
from millrace.errors import StoreError
from millrace.lineage import provenance, query, read, values
from millrace.lineage.layout import PIPELINE_RUN
from millrace.lineage.mlmd import pb
from millrace.lineage.nodes import ArtifactRecord, Event, Kind, Run, State
from millrace.lineage.store import Store

PUSHED_MODEL = "system.PushedModel"

_AT_ONCE = 500
_Place = tuple[str, ...]
_ON_DISK = (pb.Artifact.LIVE, pb.Artifact.ABANDONED)


@dataclass(frozen=True)
class Plan:
    """What may be deleted.

    Attributes:
        deletable: Artifacts of the chosen runs that nothing needs.
        needed: Why each other artifact of the chosen runs must stay, by id.
    """

    deletable: list[ArtifactRecord]
    needed: dict[int, str]


def pin(store: Store, run_id: str, is_pinned: bool = True) -> None:
    """Keeps everything that a run has read and made, whatever else is deleted.

    Raises:
        StoreError: There is no such run, or the store cannot be written.
    """
    run = query.find_run(store, run_id)
    context = store.call("get_context_by_type_and_name", PIPELINE_RUN, run.run_id)
    values.set_property(context, query.PINNED, is_pinned)
    store.call("put_contexts", [context])


def choose(
    runs: Iterable[Run],
    before: datetime | None = None,
    states: Collection[str] = (),
    pipelines: Collection[str] = (),
) -> list[Run]:
    """Returns the runs whose artifacts are to be deleted: none that is running or pinned.

    Args:
        runs: The runs of the store, as `cli.liveness` tells them: one that was killed is not
            running.
        before: Chooses those that ended before, or began before if it is unknown when they ended.
        states: Chooses those in one of these states; in any if empty.
        pipelines: Chooses those of one of these pipelines; of any if empty.
    """

    def is_old(run: Run) -> bool:
        ended = run.finished or run.started
        return before is None or (ended is not None and ended < before)

    return [
        run
        for run in runs
        if run.state != State.RUNNING
        and not run.pinned
        and is_old(run)
        and (not states or run.state in states)
        and (not pipelines or run.pipeline in pipelines)
    ]


def plan(store: Store, chosen: Iterable[Run]) -> Plan:
    """Returns which artifacts of some runs may be deleted, and why the others must stay.

    Needed are pushed models of tasks that are COMPLETE, and everything upstream of them; everything
    upstream of what pinned runs have read and made; and what all other runs have read and made,
    results that they took from the cache included. Only what a task has written into the folder of
    its run is deleted: no data from outside, and nothing that was imported. What lies at the place
    of a needed artifact, within it or around it, stays too.

    Raises:
        StoreError: The store cannot be read.
    """
    cleared = {run.run_id: run for run in chosen}
    uses = _Uses(store)
    candidates = {
        number
        for number, run_id in uses.makers.items()
        if run_id in cleared and _lies_in(uses.artifacts[number].uri, cleared[run_id].root)
    }
    reasons = _needed(store, uses, cleared.keys())
    places = _Places()
    for number, why in reasons.items():
        places.add(_place(uses.artifacts[number].uri), why)
    needed = {}
    deletable = []
    for number in sorted(candidates):
        if why := reasons.get(number) or places.why(_place(uses.artifacts[number].uri)):
            needed[number] = why
        else:
            deletable.append(read.artifact(uses.artifacts[number]))
    return Plan(deletable, needed)


def mark_deleted(store: Store, ids: Iterable[int], who: str, why: str) -> None:
    """Records that artifacts were deleted: by whom, when, and why.

    Raises:
        StoreError: There is no such artifact, or the store cannot be written.
    """
    wanted = set(ids)
    messages = read.many(store, "get_artifacts_by_id", wanted)
    if missing := wanted - {int(message.id) for message in messages}:
        raise StoreError(f"There is no artifact {min(missing)} in the store {store.where}.")
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    for message in messages:
        message.state = pb.Artifact.DELETED
        for name, value in {
            "deleted_at": now,
            "deleted_by": who,
            "delete_reason": redact.message(why),
        }.items():
            values.set_property(message, name, value)
    for start in range(0, len(messages), _AT_ONCE):
        store.call("put_artifacts", messages[start : start + _AT_ONCE])


class _Uses:
    """All artifacts that are on disk, and which runs have read and made them.

    Attributes:
        artifacts: The artifacts by id.
        makers: The run whose task has made each: none if it was imported or read from outside.
        events: What each run has read and made.
        pinned: The runs that are pinned.
        pushed: The pushed models of tasks that are COMPLETE.
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
        self.pushed: set[int] = set()
        for context in store.call("get_contexts_by_type", PIPELINE_RUN):
            self._add(store, context)

    def of(self, run_id: str) -> set[int]:
        """Returns what a run has read and made, as far as it is on disk."""
        return {event.artifact_id for event in self.events[run_id]} & self.artifacts.keys()

    def _add(self, store: Store, context: pb.Context) -> None:
        run_id = str(context.name)
        if query.is_pinned(context):
            self.pinned.add(run_id)
        executions = {
            int(message.id): message
            for message in store.call("get_executions_by_context", context.id)
        }
        self.events[run_id] = read.events_of_executions(store, executions)
        for event in self.events[run_id]:
            if not event.is_output or event.artifact_id not in self.artifacts:
                continue
            execution = executions[event.execution_id]
            state = execution.last_known_state
            if state != pb.Execution.CACHED and execution.type == Kind.CONTAINER:
                self.makers.setdefault(event.artifact_id, run_id)
            is_model = self.artifacts[event.artifact_id].type == PUSHED_MODEL
            if is_model and state in (pb.Execution.COMPLETE, pb.Execution.CACHED):
                self.pushed.add(event.artifact_id)


def _needed(store: Store, uses: _Uses, cleared: Collection[str]) -> dict[int, str]:
    """Returns why artifacts are needed, the strongest reason first."""
    reasons: dict[int, str] = {}

    def need(ids: Iterable[int], why: str) -> None:
        for number in ids:
            if number in uses.artifacts:
                reasons.setdefault(number, why)

    need(provenance.upstream(store, uses.pushed).artifacts, "a pushed model was made from it")
    for run_id in sorted(uses.pinned):
        upstream = provenance.upstream(store, uses.of(run_id)).artifacts
        need(upstream, f"the pinned run {run_id} needs it")
    for run_id in sorted(uses.events.keys() - cleared):
        need(uses.of(run_id), f"run {run_id} uses it")
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
