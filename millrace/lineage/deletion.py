"""Records that artifacts are deleted, or that a run keeps them.

Deleting takes three steps: `mark`, from when on the cache takes an artifact no more; then its files
are removed; then `record_deleted`. What is marked when a process is killed is in the next plan.
"""

from __future__ import annotations

from collections.abc import Iterable

from millrace import redact
from millrace.errors import StoreError
from millrace.lineage import layout, query, read, values
from millrace.lineage.mlmd import pb
from millrace.lineage.nodes import Run
from millrace.lineage.store import Store

_AT_ONCE = 500
_ABANDONED = "was_abandoned"  # a property of a marked artifact


def pin(store: Store, run_id: str, is_pinned: bool = True) -> Run:
    """Keeps everything that a run has read and made, whatever else is deleted.

    Raises:
        StoreError: There is no such run, or the store cannot be written.
    """
    run = query.find_run(store, run_id)
    context = store.call("get_context_by_type_and_name", layout.PIPELINE_RUN, run.run_id)
    values.set_property(context, query.PINNED, is_pinned)
    store.call("put_contexts", [context])
    return run


def mark(store: Store, ids: Iterable[int], who: str, why: str) -> None:
    """Records that artifacts are to be deleted: by whom, since when, and why.

    Raises:
        StoreError: There is no such artifact, or the store cannot be written.
    """
    said = {"deleted_at": layout.now(), "deleted_by": who, "delete_reason": redact.message(why)}
    messages = _messages(store, ids)
    for message in messages:
        if message.state == pb.Artifact.ABANDONED:
            values.set_property(message, _ABANDONED, True)
        message.state = pb.Artifact.MARKED_FOR_DELETION
        for name, value in said.items():
            values.set_property(message, name, value)
    _put(store, messages)


def unmark(store: Store, ids: Iterable[int]) -> None:
    """Records that artifacts which were marked are not deleted after all.

    Raises:
        StoreError: There is no such artifact, or the store cannot be written.
    """
    messages = _messages(store, ids)
    for message in messages:
        is_abandoned = _ABANDONED in message.custom_properties
        message.state = pb.Artifact.ABANDONED if is_abandoned else pb.Artifact.LIVE
        for name in ("deleted_at", "deleted_by", "delete_reason", _ABANDONED):
            message.custom_properties.pop(name, None)
    _put(store, messages)


def record_deleted(store: Store, ids: Iterable[int]) -> None:
    """Records that artifacts which were marked have been deleted.

    Raises:
        StoreError: There is no such artifact, or the store cannot be written.
    """
    messages = _messages(store, ids)
    for message in messages:
        message.state = pb.Artifact.DELETED
    _put(store, messages)


def _messages(store: Store, ids: Iterable[int]) -> list[pb.Artifact]:
    wanted = set(ids)
    messages = read.many(store, "get_artifacts_by_id", wanted)
    if missing := wanted - {int(message.id) for message in messages}:
        raise StoreError(f"There is no artifact {min(missing)} in the store {store.where}.")
    return messages


def _put(store: Store, messages: list[pb.Artifact]) -> None:
    for start in range(0, len(messages), _AT_ONCE):
        store.call("put_artifacts", messages[start : start + _AT_ONCE])
