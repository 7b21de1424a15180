"""Writes what the runner does to the lineage store."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Mapping
from typing import Any

from millrace.errors import StoreError
from millrace.ir import spec as ir
from millrace.lineage import cache
from millrace.lineage.nodes import ArtifactRecord, CachedTask, Kind
from millrace.lineage.nodes import State as Recorded
from millrace.lineage.record import RunRecord
from millrace.lineage.store import Store
from millrace.runner.graph import Node, Outcome
from millrace.runner.result import State

_RECORDED = {
    State.COMPLETE: Recorded.COMPLETE,
    State.CACHED: Recorded.CACHED,
    State.FAILED: Recorded.FAILED,
    State.CANCELED: Recorded.CANCELED,
}
_CODE = {"sources": "code_digest", "image": "image_digest"}
_KINDS = {ir.Container: Kind.CONTAINER, ir.Importer: Kind.IMPORTER, ir.Dag: Kind.DAG}


class Recorder:
    """The record of one run, in the runner's terms; may be used from any thread."""

    def __init__(self, store: Store, run: RunRecord, pipeline: str) -> None:
        self._store = store
        self._run = run
        self._pipeline = pipeline
        self._open: dict[Node, int] = {}
        self._lock = threading.Lock()

    def find(self, fingerprint: str) -> CachedTask | None:
        """Returns what a task with that fingerprint made before."""
        return cache.find(self._store, self._pipeline, fingerprint)

    def start(self, node: Node) -> int:
        """Records that a task has started, and returns its execution."""
        inputs = node.inputs
        execution = self._run.start_task(
            node.task.name,
            kind=_KINDS[type(node.task.component.body)],
            display_name=node.task.display_name,
            parent=node.scope.execution,
            parameters=inputs.parameters if inputs else None,
            inputs=_ports({**inputs.artifacts, **node.read}) if inputs else None,
            image=_image(node),
            fingerprint=node.fingerprint,
            properties=_code(node),
        )
        with self._lock:
            self._open[node] = execution
        return execution

    def finish(self, execution: int, node: Node, outcome: Outcome) -> Outcome:
        """Records how a task ended, and returns that with the ids of what it made."""
        made = self._run.finish_task(
            execution,
            _RECORDED[outcome.state],
            parameters=outcome.parameters,
            outputs=_ports(outcome.artifacts),
            error=outcome.error,
            properties=_properties(node),
        )
        with self._lock:
            self._open.pop(node, None)
        artifacts = {name: records[0] for name, records in made.items()}
        return dataclasses.replace(outcome, artifacts=artifacts)

    def cached(self, node: Node, cached: CachedTask) -> None:
        """Records a task whose result was made before."""
        assert node.inputs is not None
        self._run.cached_task(
            node.task.name,
            display_name=node.task.display_name,
            parent=node.scope.execution,
            parameters=node.inputs.parameters,
            inputs=_ports({**node.inputs.artifacts, **node.read}),
            image=_image(node),
            fingerprint=node.fingerprint,
            properties=_code(node),
            cached=cached,
        )

    def give_up(self, node: Node, outcome: Outcome) -> None:
        """Records that a task has ended, whether or not it had started."""
        with self._lock:
            execution = self._open.get(node)
        self.finish(self.start(node) if execution is None else execution, node, outcome)

    def cancel_open(self) -> None:
        """Records that everything that has not ended was stopped, as far as the store takes it."""
        for node in reversed(list(self._open)):
            with contextlib.suppress(StoreError):
                self.give_up(node, Outcome(State.CANCELED))

    def end(self, state: State, error: str) -> None:
        """Records how the run ended."""
        self._run.finish(_RECORDED[state], error)


def _image(node: Node) -> str:
    body = node.task.component.body
    return body.image if isinstance(body, ir.Container) else ""


def _code(node: Node) -> dict[str, str]:
    """Returns which code a task runs: its step's, its image's, and that of modules it is given."""
    own = {_CODE[name]: value for name, value in node.code.items() if name in _CODE and value}
    return own | {f"{name}_digest": one.code for name, one in node.contents.items() if one.code}


def _ports(artifacts: Mapping[str, ArtifactRecord]) -> dict[str, list[ArtifactRecord]]:
    return {name: [record] for name, record in artifacts.items()}


def _properties(node: Node) -> dict[str, Any]:
    result = node.result
    facts = {
        "attempts": result.attempts,
        "peak_memory_bytes": result.peak_memory,
        "log": str(result.log) if result.log else "",
    }
    return {name: value for name, value in facts.items() if value}
