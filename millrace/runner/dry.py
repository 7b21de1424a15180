"""Replaces the recorder in a dry run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from millrace.lineage.nodes import ArtifactRecord, CachedTask
from millrace.runner import cache, explain
from millrace.runner.graph import Outcome, TaskInstance

if TYPE_CHECKING:
    from millrace.lineage.resume import Ended
    from millrace.lineage.store import Store


class DryRecorder:
    """Finds earlier results, and records nothing.

    Args:
        store: The lineage store; None if there is none yet.
        pipeline: The pipeline's name.
        sources: Other stores whose results may be taken.
    """

    def __init__(self, store: Store | None, pipeline: str, sources: Sequence[Store] = ()) -> None:
        self._sources = sources
        self._store = store
        self._pipeline = pipeline

    def find(self, fingerprint: str) -> Iterator[CachedTask]:
        """Yields earlier results of tasks with a fingerprint."""
        from millrace.lineage import cache as lineage_cache

        for store in filter(None, (self._store, *self._sources)):
            if (found := lineage_cache.find(store, self._pipeline, fingerprint)) is not None:
                yield found

    def why_not(self, one: TaskInstance) -> str:
        """Returns why a task would run."""
        if self._store is None:
            return "it has not run before"
        before = explain.latest(self._store, self._pipeline, one.result.path)
        return explain.reason(cache.short(one.parts), before)

    def ended(self, path: str) -> Ended | None:
        """Returns None: a dry run resumes nothing."""
        return None

    def start(self, one: TaskInstance) -> int:
        """Records nothing."""
        return 0

    def finish(self, one: TaskInstance, outcome: Outcome) -> Outcome:
        """Records nothing."""
        return outcome

    def cached(
        self, one: TaskInstance, cached: CachedTask
    ) -> Mapping[str, Sequence[ArtifactRecord]] | None:
        """Records nothing."""
        return cached.outputs

    def give_up(self, one: TaskInstance, outcome: Outcome) -> None:
        """Records nothing."""

    def cancel_open(self) -> None:
        """Records nothing."""
