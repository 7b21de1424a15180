"""Explains MLMD's errors: what is wrong with which store, and what to do."""

from __future__ import annotations

import os
import re
from pathlib import Path

from millrace import redact
from millrace.errors import StoreError
from millrace.lineage.address import DEADLINE, Address
from millrace.lineage.mlmd import __version__, errors
from millrace.storage import paths

_LONGEST = 500
_BUSY = ("database is locked", "subset of tables", "Concurrent writes aborted")
_GONE = ("gone away", "Lost connection", "terminating connection")


def explain(address: Address, error: Exception) -> StoreError:
    """Returns the user's error for an error of MLMD."""
    said = re.sub(r"\s+", " ", str(error)).strip()
    return StoreError(
        f"The lineage store {address.shown} "
        + (_version(said) or _sqlite(address, said) or _server(address, said, error) or _rest(said))
    )


def is_passing(error: Exception) -> bool:
    """Returns whether an error is temporary: another process creates the store or writes to it."""
    said = str(error)
    return isinstance(error, errors.AbortedError) or any(
        sign in said for sign in (*_BUSY, "already exists")
    )


def connection_lost(error: Exception) -> bool:
    """Returns whether an error means that an established connection was lost."""
    said = str(error)
    return isinstance(error, errors.UnavailableError) or any(
        sign in said for sign in (*_GONE, "server closed the connection")
    )


def _version(said: str) -> str:
    newer = re.search(r"database version (\d+) is greater than library version (\d+)", said)
    if newer:
        return (
            f"was made by a newer ML Metadata: its schema has version {newer[1]}, and ml-metadata "
            f"{__version__}, which is installed, knows up to {newer[2]}. Install a newer one, or "
            "name another store."
        )
    older = re.search(r"database version (\d+) is older than library version (\d+)", said)
    if older:
        return (
            f"was made by an older ML Metadata: its schema has version {older[1]}, and ml-metadata "
            f"{__version__}, which is installed, needs {older[2]}. Back it up and upgrade it "
            "(https://github.com/google/ml-metadata/blob/master/g3doc/get_started.md), or name "
            "another store."
        )
    return ""


def _sqlite(address: Address, said: str) -> str:
    if address.path is None:
        return ""
    if "readonly database" in said:
        return (
            "is read-only, so nothing can be recorded. Make the file and its "
            "folder writable, or name another store."
        )
    if "unable to open database file" in said:
        return f"cannot be opened: {_closed(address.path)}."
    if "file is not a database" in said or "file is encrypted" in said:
        return "is not a lineage store: the file is not an SQLite database. Name another file."
    if "malformed" in said:
        return (
            "is damaged: SQLite cannot read the file. Restore it from a backup, or move it away "
            "to start a new one."
        )
    if "disk is full" in said:
        return "cannot be written: its disk is full. Free some space there."
    if any(sign in said for sign in _BUSY):
        return "is busy: another process keeps it locked. Try again when that has ended."
    if "disk I/O error" in said:
        return "cannot be read or written: its disk reports an error."
    return ""


def _server(address: Address, said: str, error: Exception) -> str:
    if "mysql_real_connect failed" in said or "connection pointer is NULL" in said:
        return (
            "refuses the connection: check user, password and database, and that the server lets "
            "this host in."
        )
    if denied := re.search(r"Access denied for user [^,]*", said):
        return f"refuses the connection: {denied[0]}."
    if isinstance(error, errors.DeadlineExceededError):
        return f"does not answer within {DEADLINE:.0f} s. Check host, port and firewall."
    if isinstance(error, errors.UnavailableError):
        return f"cannot be reached: {said}. Check that the server runs, its host and its port."
    if isinstance(error, errors.UnimplementedError) and address.scheme == "grpc":
        return f"is not an ML Metadata server: {said}."
    if any(sign in said for sign in _GONE):
        return "has closed the connection: check that the server still runs."
    return ""


def _rest(said: str) -> str:
    return f"failed: {redact.message(said)[:_LONGEST]}"


def _closed(path: Path) -> str:
    if paths.exists(path):
        return "it cannot be read" if _may(path, os.R_OK) else "you may not read the file"
    if not _may(path.parent, os.W_OK):
        return f"nothing can be written to {path.parent}"
    return "the file cannot be created"


def _may(path: Path, what: int) -> bool:
    return os.access(path, what, effective_ids=True)
