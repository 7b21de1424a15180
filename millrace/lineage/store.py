"""The lineage store: one thread-safe connection to ML Metadata."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from millrace import redact
from millrace.errors import StoreError
from millrace.lineage import address, journal, postgresql, probe, store_errors, values
from millrace.lineage.address import Address
from millrace.lineage.file_lock import FileLock
from millrace.lineage.mlmd import errors, metadata_store, pb

_OPENING = 10.0  # seconds to wait for another process that creates the store
_PAUSE = 0.2  # seconds between attempts to connect
_RECONNECTING = 30.0  # seconds to wait for a server that went away during a run


class Store:
    """A lineage store, open."""

    def __init__(self, where: Address, client: Any, file_lock: FileLock) -> None:
        self._address = where
        self._client = client
        self._file_lock = file_lock
        self._lock = threading.RLock()
        self._types: dict[tuple[str, str], int] = {
            (node, kind.name): kind.id
            for node in ("context", "execution", "artifact")
            for kind in getattr(client, f"get_{node}_types")()
        }

    @classmethod
    def open(cls, uri: str | Path, create: bool = True, write_ahead: bool = False) -> Store:
        """Opens a lineage store.

        Args:
            uri: A path or `sqlite:////absolute/path`, `mysql://user:password@host:port/database`,
                `postgresql://user:password@host:port/database`, or `grpc://host:port`.
            create: Whether to create an SQLite file that does not exist yet.
            write_ahead: Whether an SQLite file uses a write-ahead log until it is closed; see
                `journal`.

        Raises:
            StoreError: It cannot be opened; the message says why and what to do.
        """
        where = address.parse(str(uri))
        if where.path is not None:
            probe.file(where.path, create)
        else:
            probe.server(where)
        until, file_lock = time.monotonic() + _OPENING, FileLock(where.path)
        with file_lock:
            journal.opened(where.path, write_ahead)
        while True:
            try:
                with file_lock:
                    return cls(where, metadata_store.MetadataStore(where.config), file_lock)
            except (errors.StatusError, RuntimeError) as error:
                if not store_errors.is_passing(error) or time.monotonic() > until:
                    journal.closed(where.path)
                    file_lock.close()
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
        """The store's address, with the password hidden."""
        return self._address.shown

    def close(self) -> None:
        """Closes the connection."""
        with self._lock:
            if self._client is None:
                return
            self._client = None
            with self._file_lock:
                journal.closed(self._address.path)
            self._file_lock.close()

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Calls a method of MLMD's client, and reconnects if the connection is lost.

        Servers close connections that are idle, as they are while a model trains, and may be
        restarted. A call that was interrupted is repeated, unless it is known to be done.

        Raises:
            StoreError: The store cannot be read or written.
        """
        return self._call(method, arguments, options, lambda: None)

    def _call(
        self,
        method: str,
        arguments: Sequence[Any],
        options: Mapping[str, Any],
        done: Callable[[], Any],
    ) -> Any:
        """Calls a method. After a lost connection, `done` returns its result if it was done."""
        if self._address.scheme == "postgresql":
            arguments = postgresql.fit(arguments)
        until, is_repeated = time.monotonic() + _RECONNECTING, False
        with self._lock:
            if self._client is None:
                raise StoreError(f"The lineage store {self.where} is closed.")
            while True:
                try:
                    with self._file_lock:
                        return getattr(self._client, method)(*arguments, **options)
                except errors.StatusError as error:
                    if (
                        is_repeated
                        and isinstance(error, errors.AlreadyExistsError)
                        and ((answer := done()) is not None or method == "put_parent_contexts")
                    ):
                        return answer
                    if not store_errors.connection_lost(error) or time.monotonic() > until:
                        raise store_errors.explain(self._address, error) from error
                self._reconnect(until)
                is_repeated = True
                if (answer := done()) is not None:
                    return answer

    def _reconnect(self, until: float) -> None:
        while True:
            try:
                probe.server(self._address)
                self._client = metadata_store.MetadataStore(self._address.config)
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
        execution_id, artifact_ids, context_ids = self._call(
            "put_execution",
            (execution, artifacts, contexts),
            options,
            lambda: self._written(execution, artifacts, contexts),
        )
        return execution_id, artifact_ids, context_ids

    def _written(
        self,
        execution: pb.Execution,
        artifacts: Sequence[tuple[pb.Artifact | None, pb.Event]],
        contexts: Sequence[pb.Context],
    ) -> tuple[int, list[int], list[int]] | None:
        """Returns the ids of an execution and its nodes if they are in the store already.

        They are written atomically, and new executions and artifacts have unique names.
        """
        if execution.id:
            (found,) = self.call("get_executions_by_id", [execution.id])
        else:
            found = self._named("execution", execution)
        if found is None or _progress(found) != _progress(execution):
            return None
        known = [self._named("artifact", artifact) for artifact, _ in artifacts if artifact]
        parents = [one if one.id else self._named("context", one) for one in contexts]
        if None in known or None in parents:
            return None
        return int(found.id), [int(one.id) for one in known], [int(one.id) for one in parents]

    def _named(self, kind: str, node: Any) -> Any:
        """Returns the stored node with the type and name of a node, if there is one."""
        names = {number: name for (each, name), number in self._types.items() if each == kind}
        return self.call(f"get_{kind}_by_type_and_name", names[node.type_id], node.name)

    def artifacts_at(self, uri: str) -> list[pb.Artifact]:
        """Returns the artifacts with an address, the oldest first."""
        uri = values.clean(redact.text(uri))
        found = self.call("get_artifacts_by_uri", uri)
        return sorted(found, key=lambda artifact: int(artifact.id))

    def context_type(self, name: str) -> int:
        """Returns the id of a context type, and creates it if missing."""
        return self._type("context", name, pb.ContextType)

    def execution_type(self, name: str) -> int:
        """Returns the id of an execution type, and creates it if missing."""
        return self._type("execution", name, pb.ExecutionType)

    def artifact_type(self, name: str) -> int:
        """Returns the id of an artifact type, and creates it if missing."""
        return self._type("artifact", name, pb.ArtifactType)

    def _type(self, node: str, name: str, message: Any) -> int:
        name = values.clean(name)
        with self._lock:
            if (node, name) not in self._types:
                self._types[node, name] = self.call(f"put_{node}_type", message(name=name))
            return self._types[node, name]


def _progress(execution: pb.Execution) -> tuple[int, str, str]:
    """Returns the fields that differ between versions of an execution."""
    times = [values.text(execution, name) for name in ("started_at", "finished_at")]
    return int(execution.last_known_state), times[0], times[1]
