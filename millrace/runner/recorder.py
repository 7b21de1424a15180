"""Writes what the runner does to the lineage store."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from millrace.errors import StoreError
from millrace.ir import spec as ir
from millrace.lineage import cache as lineage_cache
from millrace.lineage.nodes import ArtifactRecord, CachedTask, Kind
from millrace.lineage.nodes import State as Recorded
from millrace.lineage.record import RunRecord
from millrace.lineage.resume import PARTS, TASK_FINGERPRINT, Ended, Previous
from millrace.lineage.store import Store
from millrace.runner import cache
from millrace.runner.graph import Outcome, TaskInstance
from millrace.runner.result import State

_RECORDED = {
    State.COMPLETE: Recorded.COMPLETE,
    State.CACHED: Recorded.CACHED,
    State.FAILED: Recorded.FAILED,
    State.CANCELED: Recorded.CANCELED,
}
_CODE = {"sources": "code_digest", "image": "image_digest"}
_KINDS: dict[type, str] = {
    ir.Container: Kind.CONTAINER,
    ir.Importer: Kind.IMPORTER,
    ir.VolumeTask: Kind.CONTAINER,
    ir.Dag: Kind.DAG,
}


class Recorder:
    """Records one run in the runner's terms; may be used from any thread."""

    def __init__(
        self,
        store: Store,
        run: RunRecord,
        pipeline: str,
        previous: Previous | None = None,
        sources: Sequence[Store] = (),
    ) -> None:
        self._sources = sources
        self._previous = previous or Previous()
        self._store = store
        self._run = run
        self._pipeline = pipeline
        self._open: set[TaskInstance] = set()
        self._lock = threading.Lock()

    def find(self, fingerprint: str) -> Iterator[CachedTask]:
        """Yields earlier results with a fingerprint: from this store, then from others."""
        if (found := lineage_cache.find(self._store, self._pipeline, fingerprint)) is not None:
            yield found
        for other in self._sources:
            if (found := lineage_cache.find(other, self._pipeline, fingerprint)) is not None:
                yield lineage_cache.foreign(found, other.where)

    def ended(self, path: str) -> Ended | None:
        """Returns a task's result from before the run was resumed, if it succeeded."""
        return self._previous.ended.get(path)

    def start(self, one: TaskInstance) -> int:
        """Records that a task has started, and returns its execution."""
        earlier = self._previous.dags.get(one.result.path) if one.is_dag else None
        if earlier is not None:
            one.execution = earlier
            self._run.restart_task(earlier)
            with self._lock:
                self._open.add(one)
            return earlier
        one.execution = self._run.start_task(
            one.task.name,
            kind=_KINDS[type(one.task.component.body)],
            display_name=one.task.display_name,
            parent=one.parent,
            parameters=one.inputs.parameters if one.inputs else None,
            inputs=_inputs(one),
            image=one.container.image if one.container else "",
            fingerprint=_cache_fingerprint(one),
            properties=_code(one) | _cache_parts(one) | _loop(one),
        )
        with self._lock:
            self._open.add(one)
        return one.execution

    def finish(self, one: TaskInstance, outcome: Outcome) -> Outcome:
        """Records how a task ended, and returns that with the ids of its outputs."""
        assert one.execution is not None
        body = one.task.component.body
        made = self._run.finish_task(
            one.execution,
            _RECORDED[outcome.state],
            parameters=outcome.parameters,
            outputs=outcome.artifacts,
            error=outcome.error,
            properties=_properties(one),
            reimport=isinstance(body, ir.Importer) and body.reimport,
        )
        with self._lock:
            self._open.discard(one)
        return dataclasses.replace(outcome, artifacts=made)

    def cached(
        self, one: TaskInstance, cached: CachedTask
    ) -> Mapping[str, Sequence[ArtifactRecord]] | None:
        """Records a cached task, and returns its artifacts with their ids.

        Returns None if they are being deleted.
        """
        assert one.inputs is not None
        return self._run.cached_task(
            one.task.name,
            display_name=one.task.display_name,
            parent=one.parent,
            parameters=one.inputs.parameters,
            inputs=_inputs(one),
            image=one.container.image if one.container else "",
            fingerprint=_cache_fingerprint(one),
            properties=_code(one) | _cache_parts(one),
            cached=cached,
        )

    def give_up(self, one: TaskInstance, outcome: Outcome) -> None:
        """Records how a task ended, whether or not it had started."""
        if one.execution is None:
            self.start(one)
        self.finish(one, outcome)

    def cancel_open(self) -> None:
        """Records everything that has not ended as canceled, as far as the store allows."""
        for one in sorted(self._open, key=lambda each: -(each.execution or 0)):
            with contextlib.suppress(StoreError):
                self.give_up(one, Outcome(State.CANCELED))

    def end(self, outcome: Outcome) -> None:
        """Records how the run ended, and the pipeline's own outputs."""
        self._run.finish(_RECORDED[outcome.state], outcome.error, outcome.parameters)


def _inputs(one: TaskInstance) -> dict[str, Sequence[ArtifactRecord]]:
    artifacts = one.inputs.artifacts if one.inputs else {}
    return {**artifacts, **{name: [record] for name, record in one.external.items()}}


def _code(one: TaskInstance) -> dict[str, Any]:
    """Returns the code that a task runs: of its step, its image and its modules."""
    own = {_CODE[name]: value for name, value in one.code.items() if name in _CODE and value}
    return own | {f"{name}_digest": each.code for name, each in one.contents.items() if each.code}


def _cache_fingerprint(one: TaskInstance) -> str:
    """Returns the fingerprint by which later runs may find the task."""
    is_import = isinstance(one.task.component.body, ir.Importer)
    return one.fingerprint if one.task.cache or is_import else ""


def _cache_parts(one: TaskInstance) -> dict[str, Any]:
    """Returns the fingerprint and its parts, which later explain why the task runs again."""
    if not one.fingerprint:
        return {}
    return {TASK_FINGERPRINT: one.fingerprint, PARTS: cache.short(one.parts)}


def _loop(one: TaskInstance) -> dict[str, int]:
    """Returns the properties that KFP records for a loop and its iterations."""
    if one.iterations is not None:
        return {"iteration_count": len(one.iterations.items)}
    return {} if one.index is None else {"iteration_index": one.index}


def _properties(one: TaskInstance) -> dict[str, Any]:
    result = one.result
    found = {
        "attempts": result.attempts,
        "peak_memory_bytes": result.peak_memory,
        "log": str(result.log) if result.log else "",
    }
    return {name: value for name, value in found.items() if value}
