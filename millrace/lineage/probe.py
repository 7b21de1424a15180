"""Checks a store before MLMD opens it: MLMD would hang, or write into an unrelated file."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import threading
from pathlib import Path
from urllib.parse import quote

from millrace.errors import StoreError
from millrace.lineage.address import Address
from millrace.storage import paths

_SECONDS = 5.0
_SSL_REQUEST = (
    b"\x00\x00\x00\x08\x04\xd2\x16\x2f"  # PostgreSQL's first message, which is answered by one byte
)
_MLMD = {"MLMDEnv", "Type"}  # `Type` is the first table that MLMD creates

_seen: set[str] = set()
_lock = threading.Lock()


def file(path: Path, create: bool) -> None:
    """Checks the file of an SQLite store, and creates its folder if the store may be created.

    Raises:
        StoreError: It does not exist, or is not a lineage store.
    """
    if paths.is_folder(path):
        raise StoreError(f"{path} is a folder, and a lineage store is a file.")
    if not paths.exists(path):
        if not create:
            raise StoreError(
                f"There is no lineage store at {path}. `millrace run` creates it; "
                "--root or --store names another."
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"The folder {path.parent} of the lineage store cannot be created: "
                f"{(error.strerror or str(error)).lower()}."
            ) from None
        return
    with _lock:
        # Once, before the store is open: closing a file drops this process's locks on it.
        if (name := os.path.realpath(path)) not in _seen:
            _look_inside(path)
            _seen.add(name)


def server(address: Address) -> None:
    """Checks that a server answers, since MLMD would wait for MySQL and PostgreSQL for ever.

    Raises:
        StoreError: It cannot be reached, or it is a server of another kind.
    """
    where = f"The lineage store {address.shown} cannot be reached"
    try:
        with socket.create_connection((address.host, address.port), _SECONDS) as connection:
            if address.scheme == "grpc":
                return  # its calls have a deadline
            if address.scheme == "postgresql":
                connection.sendall(_SSL_REQUEST)
            answer = connection.recv(5)
    except TimeoutError:
        raise StoreError(
            f"{where}: {address.host}:{address.port} does not answer within {_SECONDS:.0f} s, "
            f"as a {address.scheme} server would. Check host, port and firewall."
        ) from None
    except OSError as error:
        raise StoreError(
            f"{where}: {(error.strerror or str(error)).lower()}. "
            "Check that the server runs, its host and its port."
        ) from None
    known = answer[:1] in (b"S", b"N") if address.scheme == "postgresql" else len(answer) == 5
    if not known:
        raise StoreError(f"{where}: the server there is not {address.scheme}.")


def _look_inside(path: Path) -> None:
    try:
        if path.stat().st_size == 0:
            return
        with contextlib.closing(
            sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=_SECONDS)
        ) as database:
            rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = {str(name) for (name,) in rows}
    except (sqlite3.Error, OSError):
        return  # MLMD will report the same error
    if tables and not tables & _MLMD:
        some = ", ".join(sorted(tables)[:3])
        raise StoreError(
            f"{path} is an SQLite database of something else, with tables such as {some}: "
            "name another file for the lineage store."
        )
