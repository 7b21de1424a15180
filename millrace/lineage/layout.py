"""Builds MLMD nodes in the layout of KFP v2's own records.

See https://github.com/kubeflow/pipelines/blob/2.4.0/backend/src/v2/metadata/client.go.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from millrace import redact
from millrace.lineage import values
from millrace.lineage.mlmd import pb
from millrace.lineage.nodes import ArtifactRecord, Kind, State
from millrace.lineage.store import Store

PIPELINE, PIPELINE_RUN = "system.Pipeline", "system.PipelineRun"
CACHE = "millrace.Cache"
ROOT_NAME = "run/"  # with the run's id, the name of its root DAG's execution

_LONGEST_ERROR = 10_000

Ports = Mapping[str, Sequence[ArtifactRecord]]
Pair = tuple[pb.Artifact | None, pb.Event]


def pipeline_context(store: Store, name: str) -> pb.Context:
    """Returns the context of a pipeline."""
    return pb.Context(type_id=store.context_type(PIPELINE), name=name)


def run_context(store: Store, run_id: str, root: str, display_name: str) -> pb.Context:
    """Returns the context of a run."""
    context = pb.Context(type_id=store.context_type(PIPELINE_RUN), name=run_id)
    for name, value in {
        "namespace": "",
        "resource_name": run_id,
        "pipeline_root": redact.text(root),
        "display_name": display_name,
    }.items():
        values.set_property(context, name, value)
    return context


def cache_context(store: Store, pipeline: str, fingerprint: str) -> pb.Context:
    """Returns the context of the results with a fingerprint, which is not part of KFP's layout."""
    name = cache_name(pipeline, fingerprint)
    return pb.Context(type_id=store.context_type(CACHE), name=name)


def cache_name(pipeline: str, fingerprint: str) -> str:
    """Returns the name of the context of a fingerprint."""
    return hashlib.sha256(f"{pipeline}\0{fingerprint}".encode(errors="replace")).hexdigest()


def root_execution(
    store: Store,
    run_id: str,
    display_name: str,
    parameters: Mapping[str, Any],
    properties: Mapping[str, Any],
) -> pb.Execution:
    """Returns the execution of a run's root DAG, RUNNING."""
    execution = pb.Execution(type_id=store.execution_type(Kind.DAG), name=ROOT_NAME + run_id)
    _start(execution, "", display_name, parameters, properties)
    return execution


def task_execution(
    store: Store,
    name: str,
    kind: str,
    display_name: str,
    parent: int,
    parameters: Mapping[str, Any],
    image: str,
    fingerprint: str,
    properties: Mapping[str, Any],
) -> pb.Execution:
    """Returns the execution of a task, RUNNING."""
    execution = pb.Execution(type_id=store.execution_type(kind), name=_own_name())
    _start(execution, name, display_name, parameters, properties)
    values.set_property(execution, "parent_dag_id", parent)
    if kind == Kind.CONTAINER:
        for key, value in {"pod_name": "", "pod_uid": "", "namespace": "", "image": image}.items():
            values.set_property(execution, key, value)
    if fingerprint:
        values.set_property(execution, "cache_fingerprint", fingerprint)
    return execution


def end(
    execution: pb.Execution,
    state: State,
    results: Mapping[str, Any] | None,
    error: str,
    properties: Mapping[str, Any],
) -> None:
    """Sets how an execution ended, and its output parameters."""
    execution.last_known_state = pb.Execution.State.Value(state.value)
    if results is not None:
        values.set_struct(execution, "outputs", redact.parameters(results))
    for name, value in {
        **redact.parameters(properties),
        "error": redact.message(error)[:_LONGEST_ERROR] or None,
        "finished_at": now(),
    }.items():
        values.set_property(execution, name, value)


def new_artifacts(
    store: Store, ports: Ports, kind: int, state: int = pb.Artifact.LIVE
) -> list[Pair]:
    """Returns the artifacts that are not recorded yet, each with its event."""
    return [
        (artifact(store, port, record, state), _event([(port, index)], kind))
        for port, index, record in _places(ports)
        if record.id is None
    ]


def events(ports: Ports, kind: int) -> list[Pair]:
    """Returns an event for every artifact that is recorded already.

    MLMD keeps one event of a type between an execution and an artifact, so an artifact at several
    ports has steps in the event's path for each.
    """
    places: dict[int, list[tuple[str, int | None]]] = {}
    for port, index, record in _places(ports):
        if record.id is not None:
            places.setdefault(record.id, []).append((port, index))
    return [(None, _event(of_one, kind, number)) for number, of_one in places.items()]


def _places(ports: Ports) -> Iterator[tuple[str, int | None, ArtifactRecord]]:
    """Yields every artifact with its port and, if that holds a list, its index."""
    for port, records in ports.items():
        for index, record in enumerate(records):
            yield port, index if len(records) > 1 else None, record


def artifact(
    store: Store, port: str, record: ArtifactRecord, state: int = pb.Artifact.LIVE
) -> pb.Artifact:
    """Returns an artifact that is not recorded yet."""
    made = pb.Artifact(
        type_id=store.artifact_type(record.schema_title),
        name=_own_name(),
        uri=values.clean(redact.text(record.uri)),
        state=state,
    )
    values.set_metadata(made, redact.metadata(record.metadata))
    values.set_property(made, values.NAME, record.name or port)
    return made


def _event(
    places: Iterable[tuple[str, int | None]], kind: int, artifact_id: int | None = None
) -> pb.Event:
    event = pb.Event(type=kind, artifact_id=artifact_id)
    for port, index in places:
        event.path.steps.add().key = values.clean(port)
        if index is not None:
            event.path.steps.add().index = index
    return event


def _start(
    execution: pb.Execution,
    name: str,
    display_name: str,
    parameters: Mapping[str, Any],
    properties: Mapping[str, Any],
) -> None:
    execution.last_known_state = pb.Execution.RUNNING
    redact.learn(parameters)
    values.set_struct(execution, "inputs", redact.parameters(parameters))
    for key, value in {
        **redact.parameters(properties),
        "task_name": name,
        "display_name": display_name,
        "started_at": now(),
    }.items():
        values.set_property(execution, key, value)


def _own_name() -> str:
    """Returns a unique name, by which a write that was already done is recognised."""
    return uuid.uuid4().hex


def now() -> str:
    """Returns the time as it is recorded."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
