"""Where the artifacts of a run lie: in its folder, or below the URI of an object store.

Steps read and write local files only. With a remote root, what a task made is uploaded before its
record is COMPLETE, and what a task reads is staged once for all tasks on this machine, by content.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from millrace.errors import StorageError
from millrace.lineage.nodes import ArtifactRecord
from millrace.runner.external import Contents
from millrace.runner.inputs import Inputs
from millrace.storage import digest, location, paths
from millrace.storage.digest_cache import DigestCache

STAGED = "staged"  # in the home of the runs: copies of remote files, by their digest
LIMIT_VARIABLE = "MILLRACE_STAGED_BYTES"
_LIMIT = 20 << 30  # bytes of staged copies that are kept between runs
_PATIENCE = 5.0  # seconds; a bucket that took longer to fail is not tried again in a run


class Placement:
    """Moves the artifacts of one run between its folder and where they lie for good.

    Args:
        folder: The run's folder on this machine.
        target: The URI below which its artifacts lie for good; empty if that is the folder.
        home: The folder that keeps runs and staged copies.
        digests: Remembers the digests of files, remote ones too.
    """

    def __init__(self, folder: Path, target: str, home: Path, digests: DigestCache) -> None:
        self._folder = folder
        self._target = target
        self._staged = home / STAGED
        self._digests = digests
        self._local: dict[str, Path] = {}
        self._unreadable: dict[str, str] = {}  # why, by bucket
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    @property
    def is_remote(self) -> bool:
        """Whether what tasks make is uploaded."""
        return bool(self._target)

    def is_staged(self, inputs: Inputs, contents: Contents) -> bool:
        """Returns whether anything that a task is given may have to be copied here."""
        uris = [record.uri for records in inputs.artifacts.values() for record in records]
        uris += [one for name in contents if isinstance(one := inputs.parameters.get(name), str)]
        return any(map(is_remote, uris))

    def publish(
        self, made: Mapping[str, Sequence[ArtifactRecord]]
    ) -> dict[str, list[ArtifactRecord]]:
        """Uploads what a task made, and returns it as it lies for good.

        Raises:
            StorageError: It cannot be uploaded.
        """
        return {port: [self._publish(one) for one in records] for port, records in made.items()}

    def stage(
        self, inputs: Inputs, contents: Contents, ours: bool, reads: Callable[[str], bool]
    ) -> Inputs:
        """Returns the inputs of a task with local copies in place of what is remote.

        A component of others may want the address of what somebody else has put elsewhere, and not
        its content. So if that cannot be read, the component is given the address.

        Args:
            inputs: What the task is given.
            contents: What its parameters name outside of the pipeline.
            ours: Whether our entrypoint runs the task.
            reads: Tells whether a component of others is given the path of an input.

        Raises:
            StorageError: Something cannot be read, or is not what was recorded.
        """
        unread: list[str] = []

        def staged(port: str, record: ArtifactRecord) -> ArtifactRecord:
            if ours or "digest" in record.metadata:
                return self._stage_artifact(record)
            if not (is_remote(record.uri) and reads(port)):
                return record
            bucket, started = record.uri.split("/")[2], time.monotonic()
            if bucket not in self._unreadable:
                try:
                    return self._stage_artifact(record)
                except StorageError as error:
                    unread.append(str(error))
                    if time.monotonic() - started > _PATIENCE:
                        self._unreadable[bucket] = str(error)
            else:
                unread.append(self._unreadable[bucket])
            return record

        artifacts = {
            port: [staged(port, one) for one in records]
            for port, records in inputs.artifacts.items()
        }
        parameters = dict(inputs.parameters)
        for name, content in contents.items():
            value = parameters.get(name)
            if isinstance(value, str) and is_remote(value) and content.digest is not None:
                parameters[name] = str(self._copy(value, content.digest.hexdigest))
        return dataclasses.replace(
            inputs, parameters=parameters, artifacts=artifacts, unread=tuple(unread)
        )

    def local(self, record: ArtifactRecord) -> Path | None:
        """Returns the copy of an artifact on this machine, if there is one."""
        if not is_remote(record.uri):
            return Path(paths.local(record.uri))
        return self._local.get(record.uri)

    def close(self) -> None:
        """Keeps copies of uploads for later runs, up to the limit, and removes the others."""
        if not self._target:
            return
        for path in list(self._local.values()):
            if not path.exists():  # metrics and the like, which are metadata alone
                continue
            if path.is_relative_to(self._folder) and path.suffix not in (".html", ".md"):
                with contextlib.suppress(OSError):
                    _keep(path, self._staged)
        with contextlib.suppress(OSError):
            prune(self._staged, int(os.environ.get(LIMIT_VARIABLE) or _LIMIT))

    def _publish(self, record: ArtifactRecord) -> ArtifactRecord:
        from millrace.storage import staging

        path = Path(paths.local(record.uri))
        if not self._target or is_remote(record.uri) or not path.is_relative_to(self._folder):
            return record
        uri = location.join(self._target, *path.relative_to(self._folder).parts)
        if path.exists():
            try:
                staging.stage_out(path, uri)
            except OSError as error:
                raise StorageError(f"{uri} cannot be written: {error}") from error
            self._remember(path, uri)
        with self._lock:
            self._local[uri] = path
        return dataclasses.replace(record, uri=uri)

    def _remember(self, path: Path, uri: str) -> None:
        """Keeps the digests of what was just uploaded, so that nobody reads it to know them."""
        from millrace.storage import store

        found = digest.of(path)
        sums = found.files or {"": found.hexdigest}
        for name, info in store.list_files(uri).items():
            if info.version and name in sums:
                where = f"{uri}/{name}".rstrip("/")
                self._digests.keep_remote(where, [info.size, info.version], sums[name])

    def _stage_artifact(self, record: ArtifactRecord) -> ArtifactRecord:
        if not is_remote(record.uri):
            return record
        expected = str(record.metadata.get("digest") or "")
        return dataclasses.replace(record, uri=str(self._copy(record.uri, expected)))

    def _copy(self, uri: str, expected: str) -> Path:
        """Returns the local copy of a remote file or folder, which is made once."""
        from millrace.storage import staging

        with self._lock:
            lock = self._locks.setdefault(uri, threading.Lock())
        with lock:
            known = self._local.get(uri)
            if known is not None and known.exists():
                return known
            key = expected or hashlib.sha256(uri.encode()).hexdigest()
            path = self._staged / key / location.name(uri)
            if not (expected and path.exists()):
                path.parent.mkdir(parents=True, exist_ok=True)
                staging.stage_in(uri, path, expected or None)
            os.utime(path.parent)
            with self._lock:
                self._local[uri] = path
            return path


def is_remote(uri: str) -> bool:
    """Returns whether a URI names something that is not on this machine."""
    return "://" in paths.local(uri)


def prune(folder: Path, limit: int) -> None:
    """Removes the staged copies that were not used for longest, until the rest fits the limit."""
    copies = sorted(_copies(folder), reverse=True)
    total = 0
    for _, path in copies:
        total += sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        if total > limit:
            shutil.rmtree(path, ignore_errors=True)


def _copies(folder: Path) -> Iterator[tuple[float, Path]]:
    if folder.is_dir():
        for path in folder.iterdir():
            yield path.stat().st_mtime, path


def _keep(path: Path, staged: Path) -> None:
    """Moves a complete artifact to where copies are kept, unless there is one."""
    target = staged / digest.of(path).hexdigest / path.name
    if target.exists():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    path.rename(target)
