"""Finds an artifact by id, path, address, digest, or RUN/TASK/OUTPUT."""

from __future__ import annotations

import fnmatch
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from millrace import redact
from millrace.errors import StoreError, nearest
from millrace.lineage import query, read, values
from millrace.lineage.mlmd import pb
from millrace.lineage.nodes import ArtifactRecord, Kind, Task
from millrace.lineage.store import Store
from millrace.storage import paths
from millrace.storage.external_files import SIGNS

_HEX = re.compile(r"(?:sha256:)?([0-9a-f]{4,64})")
_ITEM = re.compile(r"(.+)\[(\d{1,9})\]")
_LONGEST = 4096  # bytes of a path on Linux
_SOME = 5


@dataclass(frozen=True)
class Found:
    """The artifact or external data that was found.

    Attributes:
        artifact: The artifact; None for external data that is not recorded as one.
        others: Other artifacts of the same content, or formerly at the same place.
        uri: The external data.
        readers: The executions of the tasks that got it as a parameter.
        patterns: Recorded patterns that match it now; whether they did then is not recorded.
    """

    artifact: ArtifactRecord | None = None
    others: tuple[ArtifactRecord, ...] = ()
    uri: str = ""
    readers: tuple[int, ...] = ()
    patterns: tuple[str, ...] = ()


def find(store: Store, text: str) -> Found:
    """Finds an artifact, or external data that a task got as a parameter.

    Raises:
        StoreError: There is none, or there are several.
    """
    for search in (_by_id, _by_place, _by_port, _by_digest, _by_pattern, _external):
        if (found := search(store, text)) is not None:
            return found
    raise StoreError(
        f'There is no artifact "{redact.text(text)}" in the lineage store {store.where}. Name it '
        "by its id, its path or address, the beginning of its digest, or RUN/TASK/OUTPUT."
    )


def _by_id(store: Store, text: str) -> Found | None:
    if not re.fullmatch(r"#?\d{1,9}", text):
        return None
    number = int(text.lstrip("#"))
    artifact = read.artifacts(store, [number]).get(number)
    return Found(artifact) if artifact else None


def _by_place(store: Store, text: str) -> Found | None:
    """Finds the artifact that lies at a place, or in whose folder the place is."""
    for place in _places(text):
        if (found := _newest(store.artifacts_at(place))) is not None:
            return found
    return None


def _by_port(store: Store, text: str) -> Found | None:
    run_text, slash, rest = text.partition("/")
    task_name, other_slash, port = rest.rpartition("/")
    if not (run_text and slash and task_name and other_slash and port) or "://" in text:
        return None
    if not query.run_ids(store, run_text) and run_text != query.LATEST:
        return None
    run = query.find_run(store, run_text)
    tasks = {task.name: task for task in query.tasks(store, run)}
    if task_name not in tasks:
        raise StoreError(f'Run {run.run_id} has no task "{task_name}".{nearest(task_name, tasks)}')
    return Found(_of_port(tasks[task_name], port))


def _of_port(task: Task, text: str) -> ArtifactRecord:
    """Returns the artifact at an output, or at a place in the list there: `port[2]`."""
    match = _ITEM.fullmatch(text)
    port, index = (match[1], int(match[2])) if match else (text, None)
    if port not in task.outputs:
        raise StoreError(
            f'Task "{task.name}" of run {task.run_id} has no output "{port}".'
            f"{nearest(port, task.outputs)}"
        )
    records = task.outputs[port]
    if index is None and len(records) == 1:
        return records[0]
    if index is None or index >= len(records):
        raise StoreError(
            f'Output "{port}" of task "{task.name}" of run {task.run_id} is a list of '
            f"{len(records)} artifacts: write {port}[0] to {port}[{len(records) - 1}]."
        )
    return records[index]


def _by_digest(store: Store, text: str) -> Found | None:
    match = _HEX.fullmatch(text.lower())
    if match is None:
        return None
    messages = [
        message
        for message in store.call("get_artifacts")
        if values.text(message, "digest").startswith(match[1])
    ]
    found = [read.artifact(message) for message in sorted(messages, key=lambda one: -one.id)]
    contents = {str(artifact.metadata["digest"]) for artifact in found}
    if len(contents) > 1:
        some = ", ".join(f"{content[:16]}…" for content in sorted(contents)[:_SOME])
        raise StoreError(
            f'"{text}" matches the digests of {len(contents)} artifacts: {some}. Give more of it.'
        )
    return Found(found[0], tuple(found[1:])) if found else None


def _by_pattern(store: Store, text: str) -> Found | None:
    """Finds the data of patterns that match a file, unless the file was not there then."""
    place = next(iter(_places(text)), "")
    messages = [
        message
        for message in store.call("get_artifacts")
        if place and _matches(place, message.uri) and _may_hold(message, place)
    ]
    unlisted = {message.uri for message in messages if not _files(message)}
    found = _newest(messages)
    return replace(found, patterns=tuple(sorted(unlisted))) if found else None


def _newest(messages: Iterable[pb.Artifact]) -> Found | None:
    live = [message for message in messages if not read.is_deleted(message)]
    found = [read.artifact(message) for message in sorted(live, key=lambda one: -one.id)]
    return Found(found[0], tuple(found[1:])) if found else None


def _external(store: Store, text: str) -> Found | None:
    """Finds the tasks that got a file, folder or address as a parameter."""
    names = set(_places(text)[:1]) | {text}
    recorded = {message.uri for message in store.call("get_artifacts")}  # see `_by_pattern`
    readers: list[int] = []
    patterns: set[str] = set()
    for message in store.call("get_executions_by_type", Kind.CONTAINER):
        places = set(_texts(list(values.struct(message, "inputs").values())))
        if any(_holds(place, name) for place in places for name in names):
            readers.append(int(message.id))
        elif named := {
            place for place in places - recorded if any(_matches(name, place) for name in names)
        }:
            readers.append(int(message.id))
            patterns |= named
    if not readers:
        return None
    return Found(uri=text, readers=tuple(readers), patterns=tuple(sorted(patterns)))


def _places(text: str) -> list[str]:
    """Returns a place and its parent folders, in the forms that artifacts' URIs may have."""
    text = paths.local(text)
    if "://" in text:
        scheme, _, rest = redact.text(text).partition("://")
        parts = rest.rstrip("/").split("/")
        return [f"{scheme}://{'/'.join(parts[:end])}" for end in range(len(parts), 0, -1)]
    path = paths.absolute(text)
    if len(os.fsencode(path)) > _LONGEST:
        return [str(path)]
    lexical = [path, *path.parents][:-1]
    true = [path.resolve(), *path.resolve().parents][:-1]
    found = [*lexical, *(place for place in true if place not in lexical)]
    return [str(place) for place in found]


def _holds(place: str, name: str) -> bool:
    """Returns whether a place is another, or the folder that it is in."""
    return name == place or name.startswith(place.rstrip("/") + "/")


def _matches(name: str, pattern: str) -> bool:
    """Returns whether a pattern names a place, or a folder that it is in."""
    return not SIGNS.isdisjoint(pattern) and _fit(_parts(name), _parts(pattern))


def _fit(parts: list[str], patterns: list[str]) -> bool:
    if not patterns:
        return True
    if patterns[0] == "**" and _fit(parts, patterns[1:]):
        return True
    if not parts or not fnmatch.fnmatchcase(parts[0], patterns[0]):
        return False
    return _fit(parts[1:], patterns if patterns[0] == "**" else patterns[1:])


def _may_hold(message: pb.Artifact, place: str) -> bool:
    """Returns whether a place was among a pattern's files; True if they are not listed."""
    fixed = itertools.takewhile(SIGNS.isdisjoint, _parts(message.uri))
    name = "/".join(_parts(place)[len(list(fixed)) :])
    files = _files(message)
    return not files or any(_holds(name, file) for file in files)


def _files(message: pb.Artifact) -> Iterable[str]:
    """Returns the files that an artifact consisted of, by their paths in it, if they are listed."""
    files = values.metadata(message).get("file_digests")
    return files if isinstance(files, dict) else ()


def _parts(place: str) -> list[str]:
    return [part for part in place.split("/") if part]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str) and "/" in value:
        yield paths.local(value)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
