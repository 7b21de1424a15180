"""The key of a root, which salts fingerprints of secrets.

Without it, a reader of a fingerprint could guess passwords until one matches.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path

from millrace.errors import StoreError

FILE = ".secret_key"

_BYTES = 32


def secret_key(root: Path) -> bytes:
    """Returns the key of a root, which is created on first use.

    Only the owner can read its file. Processes that ask at the same time get the same key.

    Raises:
        StoreError: The file cannot be read or created.
    """
    path = root / FILE
    try:
        if len(key := path.read_bytes()) == _BYTES:
            return key
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _failure(path, error) from error
    try:
        root.mkdir(parents=True, exist_ok=True)
        return _made(path)
    except OSError as error:
        raise _failure(path, error) from error


def _made(path: Path) -> bytes:
    """Creates the key, unless another process has; a killed one may have left it incomplete."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if len(key := file.read()) == _BYTES:
            return key
        key = secrets.token_bytes(_BYTES)
        file.seek(0)
        file.truncate()
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
        return key


def _failure(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"The key that fingerprints of secrets need cannot be read or written: {path}: "
        f"{error.strerror}."
    )
