"""What the cache knows a task's result by: everything the result follows from, and nothing else.

Image, command and environment; the code that runs; parameters; the content of the artifacts and of
the outside files that are read. Not where they lie, and not who runs it when.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millrace import redact
from millrace.errors import DataError
from millrace.ir import spec as ir
from millrace.lineage.nodes import ArtifactRecord, CachedTask
from millrace.runner import external
from millrace.storage import paths
from millrace.storage.digest_cache import DigestCache

VERSION = 1


def fingerprint(
    component: ir.Component,
    code: Mapping[str, str],
    parameters: Mapping[str, Any],
    contents: external.Contents,
    artifacts: Mapping[str, ArtifactRecord],
) -> str:
    """Returns the fingerprint of a container task.

    Args:
        component: What it runs.
        code: What the runner knows of the code: digests of sources and libraries, or of the image.
        parameters: Its parameters, defaults included.
        contents: What those of them that name something stand for, instead of their values.
        artifacts: The artifacts it reads.
    """
    container = component.body
    assert isinstance(container, ir.Container)
    return _sha256(
        {
            "version": VERSION,
            "image": container.image,
            "command": container.command,
            "args": container.args,
            "env": dict(container.env),
            "code": dict(code),
            "parameters": {
                name: contents[name].identity if name in contents else {"value": value}
                for name, value in parameters.items()
            },
            "inputs": {name: identity(record) for name, record in artifacts.items()},
            "outputs": [
                *((port.name, port.schema_title) for port in component.output_artifacts.values()),
                *((one.name, one.type) for one in component.output_parameters.values()),
            ],
        }
    )


def of_import(record: ArtifactRecord) -> str:
    """Returns the fingerprint of an imported artifact."""
    return _sha256(
        {
            "version": VERSION,
            "imported": record.uri,
            "type": record.schema_title,
            "metadata": record.metadata,
        }
    )


def of_key(key: str) -> str:
    """Returns the fingerprint that a pipeline's author chose."""
    return _sha256({"version": VERSION, "key": key})


def identity(record: ArtifactRecord) -> list[str]:
    """Returns what tells an artifact from another: its type and content, or else its address."""
    known = record.metadata.get("digest")
    return [record.schema_title, f"sha256:{known}" if known else record.uri]


def is_whole(cached: CachedTask, memo: DigestCache) -> bool:
    """Tells whether all that a task made before is known, and still there as it was recorded."""
    if f'"{redact.HIDDEN}"' in json.dumps(cached.parameters):
        return False
    return all(
        _is_there(record.uri, str(record.metadata["digest"]), memo)
        and _is_there(str(record.metadata.get("pushed_destination") or ""), "", memo)
        for records in cached.outputs.values()
        for record in records
        if "digest" in record.metadata
    )


def _is_there(uri: str, recorded: str, memo: DigestCache) -> bool:
    path = Path(paths.local(uri))
    if not uri or not path.is_absolute():
        return True  # a remote object, or nothing
    try:
        return path.exists() and (not recorded or memo.artifact(path)["digest"] == recorded)
    except (DataError, OSError):
        return False


def _sha256(parts: Mapping[str, Any]) -> str:
    text = json.dumps(parts, sort_keys=True)  # ASCII: the name of a file may be no valid text
    return hashlib.sha256(text.encode()).hexdigest()
