"""Verifies artifacts by recomputing their digests."""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Container, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from millrace.errors import DataError, StorageError
from millrace.lineage import read
from millrace.lineage.mlmd import pb
from millrace.lineage.nodes import ArtifactRecord
from millrace.lineage.store import Store
from millrace.storage import digest, external_files, paths

_THREADS = min(8, (os.cpu_count() or 1) * 2)


class Verdict(str, enum.Enum):
    """The state of an artifact compared with its record."""

    OK = "ok"
    ALTERED = "altered"
    MISSING = "missing"
    UNREADABLE = "unreadable"
    UNCHECKED = "not checked"
    SOURCE_CHANGED = "source changed"

    @property
    def good(self) -> bool:
        """Whether it is acceptable: a source may change after it was read."""
        return self in (Verdict.OK, Verdict.UNCHECKED, Verdict.SOURCE_CHANGED)


@dataclass(frozen=True)
class Finding:
    """The result of verifying an artifact.

    Attributes:
        artifact: The artifact.
        verdict: Its state compared with its record.
        reason: One line of explanation.
        files: The changes of a folder's files, if they are recorded: `altered: a.txt`.
        digest: Its digest now.
        size: Its bytes now.
    """

    artifact: ArtifactRecord
    verdict: Verdict
    reason: str = ""
    files: tuple[str, ...] = field(default=())
    digest: str | None = None
    size: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the finding as `--json` prints it."""
        return {
            "artifact": self.artifact.to_json(),
            "verdict": self.verdict.value,
            "reason": self.reason or None,
            "files": list(self.files),
            "digest": self.digest,
            "bytes": self.size,
        }


def live_artifacts(store: Store, ids: Iterable[int] | None = None) -> list[ArtifactRecord]:
    """Returns all live artifacts, or those among some.

    Raises:
        StoreError: The store cannot be read.
    """
    if ids is None:
        messages = store.call("get_artifacts")
    else:
        messages = read.many(store, "get_artifacts_by_id", ids)
    live = [message for message in messages if message.state == pb.Artifact.LIVE]
    return list(map(read.artifact, live))


def external(store: Store, artifacts: Iterable[ArtifactRecord]) -> set[int]:
    """Returns the ids of external artifacts: no task made them.

    Raises:
        StoreError: The store cannot be read.
    """
    ids = {artifact.id for artifact in artifacts if artifact.id is not None}
    events = read.events_of_artifacts(store, ids)
    return ids - {event.artifact_id for event in events if event.is_output}


def verify(
    artifacts: Iterable[ArtifactRecord],
    sources: Container[int] = (),
    on_finding: Callable[[Finding], None] = lambda _: None,
    own: Path | None = None,
) -> list[Finding]:
    """Verifies artifacts in parallel, and returns the findings in order of their ids.

    Args:
        artifacts: The artifacts.
        sources: The ids of the external ones, from `external`.
        on_finding: Called with each finding as soon as there is one.
        own: The folder of the runs. It is ignored within a source, and artifacts that are no
            longer at their place are searched in it.
    """
    findings = []
    with ThreadPoolExecutor(_THREADS) as threads:
        checks = [
            threads.submit(check, artifact, artifact.id in sources, own) for artifact in artifacts
        ]
        for done in as_completed(checks):
            findings.append(done.result())
            on_finding(findings[-1])
    return sorted(findings, key=lambda finding: finding.artifact.id or 0)


def check(artifact: ArtifactRecord, is_source: bool = False, own: Path | None = None) -> Finding:
    """Verifies one artifact; a source may change after it was read."""
    recorded = artifact.metadata.get("digest")
    if not recorded:
        return Finding(artifact, Verdict.UNCHECKED, "no digest of it is recorded")
    changed = Verdict.SOURCE_CHANGED if is_source else None
    moved = None if is_source or own is None else next(paths.moved(artifact.uri, own), None)
    try:
        place = artifact.uri if _exists(artifact.uri, is_source) else moved
    except StorageError as error:
        if moved is None:
            return Finding(artifact, Verdict.UNCHECKED, str(error))
        place = moved
    if place is None:
        return Finding(artifact, changed or Verdict.MISSING, "there is nothing at its place")
    where = "" if place == artifact.uri else f"it lies at {place} now"
    try:
        found = _digest(place, is_source, own)
    except (DataError, StorageError) as error:
        return Finding(artifact, Verdict.UNREADABLE, str(error))
    if (found.hexdigest, found.size) == (recorded, artifact.metadata.get("bytes", found.size)):
        return Finding(artifact, Verdict.OK, where, digest=found.hexdigest, size=found.size)
    files = _differences(artifact.metadata.get("file_digests") or {}, digest.short(found.files))
    return Finding(
        artifact,
        changed or Verdict.ALTERED,
        "; ".join(filter(None, [_altered(artifact, found), where])),
        tuple(files),
        found.hexdigest,
        found.size,
    )


def _exists(uri: str, is_source: bool) -> bool:
    """Returns whether there is anything at an artifact's place.

    Raises:
        StorageError: The place cannot be reached.
    """
    if path := local_path(uri):
        return bool(external_files.matches(path)) if is_source else os.path.lexists(path)
    if "://" not in uri:
        raise StorageError("its path is relative, to an unknown folder")
    from millrace.storage import store as storage

    return storage.exists(uri)


def _digest(uri: str, is_source: bool, own: Path | None) -> digest.Digest:
    if path := local_path(uri):
        return external_files.digest_of(path, own) if is_source else digest.of(path)
    from millrace.storage import store as storage

    return storage.digest(uri)


def local_path(uri: str) -> Path | None:
    """Returns the path of an artifact on this machine; None if it lies elsewhere."""
    path = Path(paths.local(uri))
    return path if path.is_absolute() else None


def _altered(artifact: ArtifactRecord, found: digest.Digest) -> str:
    recorded = artifact.metadata
    was, size = str(recorded["digest"])[:12], recorded.get("bytes")
    before = f", not {size:,}" if isinstance(size, (int, float)) else ""
    before = " as before" if size == found.size else before
    return f"sha256 is {found.hexdigest[:12]}…, not {was}…; {found.size:,} bytes{before}"


def _differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    if not before:
        return []
    found = {
        **dict.fromkeys(before.keys() - now.keys(), "removed"),
        **dict.fromkeys(now.keys() - before.keys(), "added"),
        **{name: "altered" for name in before.keys() & now.keys() if before[name] != now[name]},
    }
    return [f"{what}: {name}" for name, what in sorted(found.items())]
