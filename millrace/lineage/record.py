"""Records the lineage of one run: its start, its tasks and its end."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from millrace.errors import StoreError
from millrace.lineage import layout, read, values
from millrace.lineage.layout import ROOT_NAME, Pair, Ports
from millrace.lineage.mlmd import errors, pb
from millrace.lineage.nodes import ArtifactRecord, CachedTask, Kind, State
from millrace.lineage.store import Store

__all__ = ["ArtifactRecord", "CachedTask", "Kind", "RunRecord", "State"]

_LONGEST_NAME = 255 - len(ROOT_NAME)


class RunRecord:
    """The record of one run; tasks may be recorded from any thread."""

    def __init__(
        self, store: Store, pipeline: str, contexts: Iterable[int], root: pb.Execution
    ) -> None:
        self.root_id: int = root.id
        self._store = store
        self._pipeline = pipeline  # a store may hold the name in another form
        self._contexts = [pb.Context(id=number) for number in contexts]
        self._usable: set[int] = set()  # artifacts that no failed task has made
        self._running: dict[int, pb.Execution] = {root.id: root}
        self._lock = threading.Lock()

    @classmethod
    def start(
        cls,
        store: Store,
        pipeline: str,
        run_id: str,
        root: str,
        display_name: str = "",
        parameters: Mapping[str, Any] | None = None,
        properties: Mapping[str, Any] | None = None,
    ) -> RunRecord:
        """Records that a run has started: its contexts and its root DAG, which is RUNNING.

        Args:
            store: The lineage store.
            pipeline: The pipeline's name.
            run_id: The run's id, which must be unique.
            root: The folder or address that holds the run's outputs.
            display_name: The run's name for people.
            parameters: The pipeline's parameters; secrets among them are not written.
            properties: Other properties: code version, pipeline digest, user, host.

        Raises:
            StoreError: There is a run with that id, or the store cannot be written.
        """
        for name in (pipeline, run_id):
            if not 0 < len(name) <= _LONGEST_NAME:
                raise StoreError(
                    f'"{name[:40]}…" cannot name a pipeline or run: it has {len(name)} characters, '
                    f"and names have 1 to {_LONGEST_NAME}."
                )
        display_name = display_name or run_id
        execution = layout.root_execution(
            store, run_id, display_name, parameters or {}, properties or {}
        )
        contexts = [
            layout.pipeline_context(store, pipeline),
            layout.run_context(store, run_id, root, display_name),
        ]
        try:
            execution.id, _, (contexts[0].id, context_id) = store.put_execution(
                execution, [], contexts, reuse_context_if_already_exist=True
            )
        except StoreError as error:
            if isinstance(error.__cause__, errors.AlreadyExistsError):
                raise StoreError(
                    f"There is a run {run_id} in the lineage store {store.where} already: "
                    "run ids must be unique."
                ) from error
            raise
        parent = pb.ParentContext(child_id=context_id, parent_id=contexts[0].id)
        store.call("put_parent_contexts", [parent])
        return cls(store, pipeline, (contexts[0].id, context_id), execution)

    def start_task(
        self,
        name: str,
        kind: str = Kind.CONTAINER,
        display_name: str = "",
        parent: int | None = None,
        parameters: Mapping[str, Any] | None = None,
        inputs: Ports | None = None,
        image: str = "",
        fingerprint: str = "",
        properties: Mapping[str, Any] | None = None,
    ) -> int:
        """Records that a task has started, and returns the id of its execution.

        Args:
            name: The task's name in the pipeline.
            kind: One of `Kind`.
            display_name: The task's name for people.
            parent: The execution of the DAG it is in; the run's root if None.
            parameters: Its input parameters; secrets among them are not written.
            inputs: The artifacts it reads, by port. One without an id is external: an earlier
                record of its address and content is reused, or a new one made.
            image: The image it runs in.
            fingerprint: The cache's key of its result.
            properties: Other properties, such as `iteration_index`.

        Raises:
            StoreError: The store cannot be written.
        """
        execution = self._task(
            name, kind, display_name, parent, parameters, image, fingerprint, properties
        )
        self._put(execution, self._read(inputs or {}))
        with self._lock:
            self._running[execution.id] = execution
        return int(execution.id)

    def adopt(self, executions: Iterable[pb.Execution]) -> None:
        """Takes over executions that an earlier process has recorded."""
        with self._lock:
            self._running.update({execution.id: execution for execution in executions})

    def restart_task(self, execution_id: int) -> None:
        """Records that an adopted task is RUNNING again.

        Raises:
            StoreError: The store cannot be written, or there is no such execution.
        """
        execution = self._execution(execution_id)
        execution.last_known_state = pb.Execution.RUNNING
        for name in ("error", "finished_at"):
            execution.custom_properties.pop(name, None)
        self._put(execution, [])

    def finish_task(
        self,
        execution_id: int,
        state: State,
        parameters: Mapping[str, Any] | None = None,
        outputs: Ports | None = None,
        error: str = "",
        properties: Mapping[str, Any] | None = None,
        reimport: bool = False,
    ) -> dict[str, list[ArtifactRecord]]:
        """Records how a task ended and its outputs, and returns these with their ids.

        Args:
            execution_id: What `start_task` returned.
            state: COMPLETE, FAILED or CANCELED.
            parameters: Its output parameters; secrets among them are not written.
            outputs: The artifacts it made, by port; those with an id are recorded already. Those
                of a failed or canceled task become ABANDONED, and are never used again.
            error: Why it failed.
            properties: Other properties.
            reimport: Whether an importer makes new records of artifacts that the store has with
                the same address, type, content and metadata. If not, it reuses them with their
                provenance.

        Raises:
            StoreError: The store cannot be written, or no such execution is running.
        """
        execution = self._execution(execution_id)
        outputs = outputs or {}
        if execution.type_id == self._store.execution_type(Kind.IMPORTER) and not reimport:
            outputs = {
                port: [self._imported(record) for record in records]
                for port, records in outputs.items()
            }
        layout.end(execution, state, parameters, error, properties or {})
        is_good = state not in (State.FAILED, State.CANCELED)
        of_artifacts = pb.Artifact.LIVE if is_good else pb.Artifact.ABANDONED
        made = layout.new_artifacts(self._store, outputs, pb.Event.OUTPUT, of_artifacts)
        ids = self._put(
            execution,
            made + layout.events(outputs, pb.Event.OUTPUT),
            self._cache(execution) if state is State.COMPLETE else [],
        )
        with self._lock:
            self._running.pop(execution_id, None)
        return _with_ids(outputs, iter(ids))

    def cached_task(
        self,
        name: str,
        kind: str = Kind.CONTAINER,
        display_name: str = "",
        parent: int | None = None,
        parameters: Mapping[str, Any] | None = None,
        inputs: Ports | None = None,
        image: str = "",
        fingerprint: str = "",
        properties: Mapping[str, Any] | None = None,
        *,
        cached: CachedTask,
    ) -> dict[str, list[ArtifactRecord]] | None:
        """Records a cached task, and returns its result.

        Returns None if the result is being deleted: then the task must run. Whoever deletes first
        marks what is to be deleted, and looks afterwards which runs use it; so either that sees
        this record, or this sees the mark.

        Raises:
            StoreError: The store cannot be written.
        """
        execution = self._task(
            name, kind, display_name, parent, parameters, image, fingerprint, properties
        )
        if cached.store:
            values.set_property(execution, "cached_from_store", cached.store)
        else:
            values.set_property(execution, "cached_execution_id", str(cached.execution_id))
        layout.end(execution, State.CACHED, cached.parameters, "", {})
        new = layout.new_artifacts(self._store, cached.outputs, pb.Event.OUTPUT)
        known = layout.events(cached.outputs, pb.Event.OUTPUT)
        ids = self._put(
            execution,
            new + known + self._read(inputs or {}),
            self._cache(execution) if cached.store else [],
        )
        known_ids = [pair[1].artifact_id for pair in known]
        if not all(map(_is_live, read.many(self._store, "get_artifacts_by_id", known_ids))):
            layout.end(execution, State.CANCELED, None, "its earlier result is being deleted", {})
            self._put(execution, [])
            return None
        return _with_ids(cached.outputs, iter(ids))

    def finish(
        self, state: State, error: str = "", parameters: Mapping[str, Any] | None = None
    ) -> None:
        """Records how the run ended, and the pipeline's own output parameters.

        Raises:
            StoreError: The store cannot be written.
        """
        root = self._execution(self.root_id)
        layout.end(root, state, parameters, error, {})
        self._put(root, [])

    def _task(
        self,
        name: str,
        kind: str,
        display_name: str,
        parent: int | None,
        parameters: Mapping[str, Any] | None,
        image: str,
        fingerprint: str,
        properties: Mapping[str, Any] | None,
    ) -> pb.Execution:
        return layout.task_execution(
            self._store,
            name,
            kind,
            display_name or name,
            parent or self.root_id,
            parameters or {},
            image,
            fingerprint,
            properties or {},
        )

    def _read(self, inputs: Ports) -> list[Pair]:
        """Returns an event for every artifact that a task reads."""
        known = {port: list(map(self._known, records)) for port, records in inputs.items()}
        new = layout.new_artifacts(self._store, known, pb.Event.INPUT)
        return new + layout.events(known, pb.Event.INPUT)

    def _known(self, record: ArtifactRecord) -> ArtifactRecord:
        """Returns the record with the id of the same artifact, if the store has it already."""
        found = next(self._same(record), None) if record.id is None else None
        return replace(record, id=int(found.id)) if found else record

    def _imported(self, record: ArtifactRecord) -> ArtifactRecord:
        """Returns the record with the id of the same artifact with the same metadata, or more.

        Metadata that are new to the store, or differ, make another artifact.
        """
        if record.id is not None:
            return record
        wanted = read.artifact(layout.artifact(self._store, "", record)).metadata
        for found in self._same(record):
            metadata = read.artifact(found).metadata
            if {**metadata, **wanted} == metadata:
                return replace(record, id=int(found.id), metadata={**metadata, **record.metadata})
        return record

    def _same(self, record: ArtifactRecord) -> Iterator[pb.Artifact]:
        """Yields the artifacts of a record's address, type and content, the newest first."""
        wanted = record.metadata.get("digest")
        for found in reversed(self._store.artifacts_at(record.uri)):
            same_type = found.type == record.schema_title and found.state == pb.Artifact.LIVE
            same_content = values.text(found, "digest") == (wanted or "")
            if same_type and same_content and self._is_usable(int(found.id)):
                yield found

    def _is_usable(self, artifact_id: int) -> bool:
        """Returns whether no failed task has made an artifact: old records have these LIVE."""
        if artifact_id not in self._usable:
            events = read.events_of_artifacts(self._store, [artifact_id])
            makers = [event.execution_id for event in events if event.is_output]
            if any(map(_has_failed, read.many(self._store, "get_executions_by_id", makers))):
                return False
            self._usable.add(artifact_id)
        return True

    def _execution(self, execution_id: int) -> pb.Execution:
        with self._lock:
            execution = self._running.get(execution_id)
        if execution is None:
            raise StoreError(f"No execution {execution_id} of this run is running.")
        return execution

    def _cache(self, execution: pb.Execution) -> list[pb.Context]:
        """Returns the context by which the cache finds an execution, if it may."""
        fingerprint = values.text(execution, "cache_fingerprint")
        if not fingerprint:
            return []
        return [layout.cache_context(self._store, self._pipeline, fingerprint)]

    def _put(
        self,
        execution: pb.Execution,
        pairs: Sequence[Pair],
        more_contexts: Sequence[pb.Context] = (),
    ) -> list[int]:
        execution.id, ids, _ = self._store.put_execution(
            execution,
            pairs,
            [*self._contexts, *more_contexts],
            force_reuse_context=True,
            reuse_context_if_already_exist=True,
        )
        return ids


def _is_live(artifact: pb.Artifact) -> bool:
    return bool(artifact.state == pb.Artifact.LIVE)


def _has_failed(execution: pb.Execution) -> bool:
    return execution.last_known_state in (pb.Execution.FAILED, pb.Execution.CANCELED)


def _with_ids(outputs: Ports, ids: Iterator[int]) -> dict[str, list[ArtifactRecord]]:
    return {
        port: [
            record if record.id is not None else replace(record, id=next(ids)) for record in records
        ]
        for port, records in outputs.items()
    }
