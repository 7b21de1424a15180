"""The lineage store: one connection to ML Metadata, safe between threads."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from millrace import redact
from millrace.errors import StoreError
from millrace.lineage import address, postgresql, probe, store_errors, values
from millrace.lineage.address import Address
from millrace.lineage.file_lock import FileLock
from millrace.lineage.mlmd import errors, metadata_store, pb

_DOOR = 10.0  # seconds to wait for another process that is making the store
_PAUSE = 0.2  # seconds between attempts to connect
_RETURN = 30.0  # seconds to wait for a server that went away during a run


class Store:
    """A lineage store, open."""

    def __init__(self, where: Address, client: Any, turns: FileLock) -> None:
        self._address = where
        self._client = client
        self._turns = turns
        self._lock = threading.RLock()
        self._reconnects = 0
        self._types: dict[tuple[str, str], int] = {
            (node, kind.name): kind.id
            for node in ("context", "execution", "artifact")
            for kind in getattr(client, f"get_{node}_types")()
        }

    @classmethod
    def open(cls, uri: str | Path, create: bool = True) -> Store:
        """Opens a lineage store.

        Args:
            uri: A path or `sqlite:////absolute/path`, `mysql://user:password@host:port/database`,
                `postgresql://user:password@host:port/database`, or `grpc://host:port`.
            create: Makes an SQLite file that does not exist yet.

        Raises:
            StoreError: It cannot be opened; the message says why and what to do.
        """
        where = address.parse(str(uri))
        if where.path is not None:
            probe.file(where.path, create)
        else:
            probe.server(where)
        until, turns = time.monotonic() + _DOOR, FileLock(where.path)
        while True:
            try:
                with turns:
                    return cls(where, metadata_store.MetadataStore(where.config), turns)
            except (errors.StatusError, RuntimeError) as error:
                if not store_errors.is_passing(error) or time.monotonic() > until:
                    turns.close()
                    raise store_errors.explain(where, error) from error
                time.sleep(random.uniform(0.02, 0.1))  # noqa: S311  not a secret

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({self.where!r})"

    @property
    def where(self) -> str:
        """The store's address, without its password."""
        return self._address.shown

    def close(self) -> None:
        """Closes the connection."""
        with self._lock:
            self._client = None
            self._turns.close()

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Calls a method of MLMD's client; a connection that was lost is made anew.

        A server closes connections that are idle, as they are while a model trains, and may be
        restarted. What it was doing then is undone, or was done without our hearing of it:
        `put_execution` tells the two apart.

        Raises:
            StoreError: The store cannot be read or written.
        """
        if self._address.scheme == "postgresql":
            arguments = postgresql.fit(arguments)
        until = time.monotonic() + _RETURN
        with self._lock:
            if self._client is None:
                raise StoreError(f"The lineage store {self.where} is closed.")
            while True:
                try:
                    with self._turns:
                        return getattr(self._client, method)(*arguments, **options)
                except errors.StatusError as error:
                    if not store_errors.is_lost(error) or time.monotonic() > until:
                        raise store_errors.explain(self._address, error) from error
                self._reconnect(until)

    def _reconnect(self, until: float) -> None:
        while True:
            try:
                probe.server(self._address)
                self._client = metadata_store.MetadataStore(self._address.config)
                self._reconnects += 1
            except (StoreError, RuntimeError) as error:
                if time.monotonic() > until:
                    if isinstance(error, StoreError):
                        raise
                    raise store_errors.explain(self._address, error) from error
                time.sleep(_PAUSE)
            else:
                return

    def put_execution(
        self,
        execution: pb.Execution,
        artifacts: Sequence[tuple[pb.Artifact | None, pb.Event]],
        contexts: Sequence[pb.Context],
        **options: Any,
    ) -> tuple[int, list[int], list[int]]:
        """Writes an execution with its artifacts, events and contexts, all or nothing.

        Returns:
            The ids of the execution, of the artifacts and of the contexts.
        """
        for node in (execution, *(artifact for artifact, _ in artifacts if artifact is not None)):
            if not node.HasField("id") and not node.name:
                node.name = uuid.uuid4().hex  # by which a write that was repeated is found
        reconnects = self._reconnects
        try:
            execution_id, artifact_ids, context_ids = self.call(
                "put_execution", execution, artifacts, contexts, **options
            )
        except StoreError as error:
            is_there = isinstance(error.__cause__, errors.AlreadyExistsError)
            if not is_there or self._reconnects == reconnects:
                raise
            return self._written(execution, artifacts, contexts)
        return execution_id, artifact_ids, context_ids

    def _written(
        self,
        execution: pb.Execution,
        artifacts: Sequence[tuple[pb.Artifact | None, pb.Event]],
        contexts: Sequence[pb.Context],
    ) -> tuple[int, list[int], list[int]]:
        """Return the ids of what was written just before the connection was lost."""
        names = {(node, number): name for (node, name), number in self._types.items()}

        def number_of(kind: str, node: Any) -> int:
            if node.HasField("id"):
                return int(node.id)
            method = f"get_{kind}_by_type_and_name"
            return int(self.call(method, names[kind, node.type_id], node.name).id)

        return (
            number_of("execution", execution),
            [
                number_of("artifact", artifact) if artifact is not None else event.artifact_id
                for artifact, event in artifacts
            ],
            [number_of("context", context) for context in contexts],
        )

    def artifacts_at(self, uri: str) -> list[pb.Artifact]:
        """Returns the artifacts that are recorded at an address, the oldest first."""
        uri = values.clean(redact.text(uri))
        found = self.call("get_artifacts_by_uri", uri)
        return sorted(found, key=lambda artifact: int(artifact.id))

    def context_type(self, name: str) -> int:
        """Returns the id of a type of contexts, made if it is not there."""
        return self._type("context", name, pb.ContextType)

    def execution_type(self, name: str) -> int:
        """Returns the id of a type of executions, made if it is not there."""
        return self._type("execution", name, pb.ExecutionType)

    def artifact_type(self, name: str) -> int:
        """Returns the id of a type of artifacts, made if it is not there."""
        return self._type("artifact", name, pb.ArtifactType)

    def _type(self, node: str, name: str, message: Any) -> int:
        name = values.clean(name)
        with self._lock:
            if (node, name) not in self._types:
                self._types[node, name] = self.call(f"put_{node}_type", message(name=name))
            return self._types[node, name]
