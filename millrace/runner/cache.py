"""What the cache knows a task's result by: everything the result follows from, and nothing else.

Image, command and environment; the code that runs; parameters; the content of the artifacts and of
the outside files that are read. Not where they lie, and not who runs it when.

Lineage keeps these digests, and whoever reads it could try passwords until one gives the same. So
what holds a secret is digested with the key of the root.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from millrace import redact
from millrace.errors import DataError, StorageError
from millrace.ir import spec as ir
from millrace.lineage.nodes import ArtifactRecord, CachedTask
from millrace.runner import external
from millrace.runner.inputs import Inputs
from millrace.storage import paths
from millrace.storage.digest_cache import DigestCache

VERSION = 2
Parts = Mapping[str, str]
Key = Callable[[], bytes]
_SHORT = 12  # hexadecimal digits of a part that are recorded, to tell what has changed


def parts(
    component: ir.Component,
    container: ir.Container,
    code: Mapping[str, str],
    inputs: Inputs,
    contents: external.Contents,
    platform: Sequence[Any],
    key: Key,
) -> Parts:
    """Returns the digest of each thing that the result of a container task follows from.

    Args:
        component: What it runs.
        container: Its container, with image filled in.
        code: What the runner knows of the code: digests of sources and libraries, or of the image.
        inputs: Its parameters, defaults included, and the artifacts it reads.
        contents: What those parameters that name something stand for, instead of their values.
        platform: The Secrets, ConfigMaps and volumes that it is given.
        key: Returns the key of the root; called only if there is a secret.
    """
    found: dict[str, Any] = {
        "format": VERSION,
        "image": container.image,
        "command": [list(container.command), list(container.args)],
        "environment": dict(container.env),
        "outputs": [
            *((port.name, port.schema_title) for port in component.output_artifacts.values()),
            *((one.name, one.type) for one in component.output_parameters.values()),
        ],
    }
    if platform:
        found["Kubernetes settings"] = platform
    found |= {f"code, {name}": value for name, value in code.items()}
    found |= {
        f"parameter {name}": contents[name].identity if name in contents else {"value": value}
        for name, value in inputs.parameters.items()
    }
    found |= {
        f"input {name}": [identity(record) for record in records]
        for name, records in inputs.artifacts.items()
    }
    secrets = {
        "command": redact.has_secret({"command": found["command"]}),
        "environment": redact.has_secret(container.env),
    } | {
        f"parameter {name}": name not in contents and redact.has_secret({name: value})
        for name, value in inputs.parameters.items()
    }
    return {
        name: _hmac(value, key()) if secrets.get(name) else _sha256(value)
        for name, value in found.items()
    }


def fingerprint(found: Parts) -> str:
    """Returns the fingerprint of a container task."""
    return _sha256(dict(found))


def short(found: Parts) -> dict[str, str]:
    """Returns parts as lineage keeps them, to tell later what has changed."""
    return {name: value[:_SHORT] for name, value in found.items()}


def of_import(record: ArtifactRecord, key: Key) -> str:
    """Returns the fingerprint of an imported artifact."""
    found = {
        "version": VERSION,
        "imported": record.uri,
        "type": record.schema_title,
        "metadata": record.metadata,
    }
    return _hmac(found, key()) if redact.has_secret(record.metadata) else _sha256(found)


def of_key(component: str, key: str) -> str:
    """Returns the fingerprint that a pipeline's author chose for a component, as KFP forms it."""
    return hashlib.sha256(f"{component}\0{key}".encode()).hexdigest()


def identity(record: ArtifactRecord) -> list[str]:
    """Returns what tells an artifact from another: its type and content, or else its address."""
    known = record.metadata.get("digest")
    return [record.schema_title, f"sha256:{known}" if known else record.uri]


def whole_result(cached: CachedTask, home: Path, digests: DigestCache) -> CachedTask | None:
    """Returns what a task made before if all of it is known, and still as it was recorded.

    Artifacts that are no longer where they were recorded are looked for below the present home: the
    folder of all runs may have been moved or copied.

    Args:
        cached: The result.
        home: The folder that keeps runs.
        digests: Remembers the digests of files.
    """
    if f'"{redact.HIDDEN}"' in json.dumps(cached.parameters):
        return None
    outputs: dict[str, list[ArtifactRecord]] = {}
    for port, records in cached.outputs.items():
        for record in records:
            found = _found(record, home, digests)
            if found is None:
                return None
            outputs.setdefault(port, []).append(found)
    return dataclasses.replace(cached, outputs=outputs)


def _found(record: ArtifactRecord, home: Path, digests: DigestCache) -> ArtifactRecord | None:
    """Returns an artifact as it lies now; None if it is nowhere, or is not what was recorded."""
    if record.deleted:
        return None
    pushed = str(record.metadata.get("pushed_destination") or "")
    if "digest" not in record.metadata:
        return record
    if pushed and not _is_there(pushed, "", digests):
        return None
    digest = str(record.metadata["digest"])
    for uri in (record.uri, *paths.moved(record.uri, home)):
        if _is_there(uri, digest, digests):
            return dataclasses.replace(record, uri=uri)
    return None


def _is_there(uri: str, recorded: str, digests: DigestCache) -> bool:
    path = Path(paths.local(uri))
    try:
        if not path.is_absolute():
            from millrace.storage import store

            return store.exists(uri) and (
                not recorded or store.digest(uri, digests).hexdigest == recorded
            )
        return path.exists() and (not recorded or digests.artifact(path)["digest"] == recorded)
    except (DataError, StorageError, OSError):
        return False


def _sha256(value: Any) -> str:
    return hashlib.sha256(_text(value)).hexdigest()


def _hmac(value: Any, key: bytes) -> str:
    return hmac.new(key, _text(value), hashlib.sha256).hexdigest()


def _text(value: Any) -> bytes:
    """Returns JSON, in ASCII: the name of a file may be no valid text."""
    return json.dumps(value, sort_keys=True).encode()
