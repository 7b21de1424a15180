"""Finds earlier results of tasks with the same fingerprint.

MLMD has no index of properties, and its newer versions no queries by them. So every fingerprint has
a context, as in TFX, with the successful executions in it.
"""

from __future__ import annotations

import dataclasses

from millrace import redact
from millrace.lineage import layout, read, values
from millrace.lineage.mlmd import ListOptions, OrderByField, pb
from millrace.lineage.nodes import CachedTask
from millrace.lineage.store import Store


def find(store: Store, pipeline_name: str, fingerprint: str) -> CachedTask | None:
    """Returns the newest successful task of a pipeline with a fingerprint.

    A task does not count if one of its artifacts is no longer LIVE, or if its result contains a
    secret, which lineage does not keep.

    Raises:
        StoreError: The store cannot be read.
    """
    name = layout.cache_name(pipeline_name, fingerprint)
    context = store.call("get_context_by_type_and_name", layout.CACHE, name)
    if context is None:
        return None
    newest = ListOptions(limit=1, order_by=OrderByField.ID, is_asc=False)
    found = store.call("get_executions_by_context", context.id, newest)
    if not found or found[0].last_known_state not in (pb.Execution.COMPLETE, pb.Execution.CACHED):
        return None
    return _result(store, found[0])


def foreign(found: CachedTask, where: str) -> CachedTask:
    """Returns a result of another store without its ids, since they are not of this store."""
    outputs = {
        port: [dataclasses.replace(record, id=None) for record in records]
        for port, records in found.outputs.items()
    }
    return dataclasses.replace(found, outputs=outputs, store=where)


def _result(store: Store, execution: pb.Execution) -> CachedTask | None:
    made = [event for event in read.events_of_executions(store, [execution.id]) if event.is_output]
    messages = read.many(store, "get_artifacts_by_id", [event.artifact_id for event in made])
    live = {
        int(message.id): read.artifact(message)
        for message in messages
        if message.state == pb.Artifact.LIVE
    }
    if any(event.artifact_id not in live for event in made):
        return None
    outputs = read.by_port(made, live)
    parameters = values.struct(execution, "outputs")
    hidden = [record.uri for records in outputs.values() for record in records]
    if any(redact.HIDDEN in text for text in [*hidden, *map(str, parameters.values())]):
        return None
    return CachedTask(int(execution.id), parameters, outputs)
