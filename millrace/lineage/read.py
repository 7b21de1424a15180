"""Converts MLMD's messages to the data classes of lineage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, TypeVar

from millrace.lineage import values
from millrace.lineage.mlmd import pb
from millrace.lineage.nodes import ArtifactRecord, Event, Kind, Task
from millrace.lineage.store import Store

_T = TypeVar("_T")
_AT_ONCE = 500  # ids in one query: SQLite, MySQL and gRPC all accept that many
_TASK = {
    *("inputs", "outputs", "task_name", "display_name", "started_at", "finished_at", "error"),
    *("parent_dag_id", "image", "cache_fingerprint", "cached_execution_id", values.EXACT),
}
_ENDED = ("COMPLETE", "FAILED", "CACHED", "CANCELED")
_OUTPUTS = (pb.Event.OUTPUT, pb.Event.DECLARED_OUTPUT, pb.Event.INTERNAL_OUTPUT)


def artifact(message: pb.Artifact) -> ArtifactRecord:
    """Returns an artifact."""
    return ArtifactRecord(
        values.text(message, values.NAME) or message.name,
        message.uri,
        message.type,
        metadata=values.metadata(message),
        id=int(message.id),
        deleted=is_deleted(message),
    )


def is_deleted(message: pb.Artifact) -> bool:
    """Tells whether an artifact was deleted, or is about to be."""
    return message.state in (pb.Artifact.MARKED_FOR_DELETION, pb.Artifact.DELETED)


def span(message: pb.Execution) -> dict[str, Any]:
    """Returns the common fields of runs and tasks, except the run's id."""
    state = pb.Execution.State.Name(message.last_known_state)
    started = _time(message, "started_at", message.create_time_since_epoch)
    finished = _time(message, "finished_at", message.last_update_time_since_epoch)
    return {
        "id": int(message.id),
        "display_name": values.text(message, "display_name"),
        "state": state,
        "started": started,
        "finished": finished if state in _ENDED else None,
        "parameters": values.struct(message, "inputs"),
        "error": values.text(message, "error"),
        "properties": {
            name: values.plain(value)
            for name, value in sorted(message.custom_properties.items())
            if name not in _TASK and values.plain(value) != ""
        },
    }


def task(message: pb.Execution, run_id: str, name: str) -> Task:
    """Returns a task, without its artifacts."""
    cached = values.text(message, "cached_execution_id")
    return Task(
        run_id=run_id,
        name=name,
        kind=message.type,
        parent=parent(message),
        image=values.text(message, "image"),
        fingerprint=values.text(message, "cache_fingerprint"),
        cached_from=int(cached) if cached.isdecimal() else None,
        results=values.struct(message, "outputs"),
        **span(message),
    )


def parent(message: pb.Execution) -> int | None:
    """Returns the execution of the DAG that an execution is in."""
    if "parent_dag_id" not in message.custom_properties:
        return None
    return int(message.custom_properties["parent_dag_id"].int_value)


def path(message: pb.Execution, known: Mapping[int, pb.Execution]) -> str:
    """Returns a task's name with those of its enclosing DAGs, as far as `known` has them."""
    names: list[str] = []
    seen: set[int] = set()
    inner: pb.Execution | None = message
    while inner is not None and inner.id not in seen:
        seen.add(inner.id)
        name = values.text(inner, "task_name")
        outer = known.get(parent(inner) or 0)
        if "iteration_index" in inner.custom_properties:
            name += f"[{inner.custom_properties['iteration_index'].int_value}]"
            if outer is not None and "iteration_count" in outer.custom_properties:
                outer = known.get(parent(outer) or 0)  # the loop itself has the same name
        names.append(name)
        inner = outer
    return "/".join(name for name in reversed(names) if name)


def is_dag(message: pb.Execution) -> bool:
    """Returns whether an execution is of a DAG, whose tasks have executions of their own."""
    return bool(message.type == Kind.DAG)


def artifacts(store: Store, ids: Iterable[int]) -> dict[int, ArtifactRecord]:
    """Returns artifacts by id, those that were deleted among them."""
    return {
        int(message.id): artifact(message) for message in many(store, "get_artifacts_by_id", ids)
    }


def by_port(
    events: Iterable[Event], artifacts: Mapping[int, ArtifactRecord]
) -> dict[str, list[ArtifactRecord]]:
    """Returns an execution's inputs or outputs by port, lists in order."""
    places = sorted(
        (
            (index, order, port, event.artifact_id)
            for order, event in enumerate(events)
            for port, index in event.places
            if event.artifact_id in artifacts
        ),
        key=lambda place: place[:2],
    )
    ports: dict[str, list[ArtifactRecord]] = {}
    for _, _, port, number in places:
        ports.setdefault(port, []).append(artifacts[number])
    return ports


def events_of_executions(store: Store, ids: Iterable[int]) -> list[Event]:
    """Returns the events of executions."""
    return _events(many(store, "get_events_by_execution_ids", ids))


def events_of_artifacts(store: Store, ids: Iterable[int]) -> list[Event]:
    """Returns the events of artifacts."""
    return _events(many(store, "get_events_by_artifact_ids", ids))


def many(store: Store, method: str, ids: Iterable[int]) -> list[Any]:
    """Calls a method of MLMD's client for any number of ids, and returns all it finds."""
    return [
        found for part in _parts(sorted(set(ids)), _AT_ONCE) for found in store.call(method, part)
    ]


def _time(message: pb.Execution, name: str, otherwise: int) -> datetime | None:
    """Returns a time that Millrace recorded, or else MLMD's own time of the record."""
    try:
        return datetime.fromisoformat(values.text(message, name))
    except ValueError:
        return datetime.fromtimestamp(otherwise / 1000, timezone.utc) if otherwise else None


def _events(messages: Iterable[pb.Event]) -> list[Event]:
    found = [
        Event(
            int(message.execution_id),
            int(message.artifact_id),
            message.type in _OUTPUTS,
            _places(message.path.steps),
        )
        for message in messages
    ]
    return sorted(found, key=lambda event: (event.execution_id, event.artifact_id))


def _places(steps: Sequence[pb.Event.Path.Step]) -> tuple[tuple[str, int], ...]:
    """Returns ports with the indices in their lists; an index belongs to the key before it."""
    found: list[tuple[str, int]] = []
    for step in steps:
        if step.HasField("key"):
            found.append((step.key, 0))
        elif step.HasField("index") and found:
            found[-1] = (found[-1][0], int(step.index))
    return tuple(found)


def _parts(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
