"""The key of a root, which salts fingerprints of secrets.

Without it, a reader of a fingerprint could guess passwords until one matches.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import threading
from pathlib import Path

from millrace.errors import StoreError
from millrace.storage import paths

FILE = ".secret_key"

_BYTES = 32
_logger = logging.getLogger(__name__)


class SecretKey:
    """The key of a root, read or made when it is first needed; may be called from any thread.

    Where it cannot be, another one serves for this process: then fingerprints over secrets match
    nothing, and a task with secrets runs.

    Args:
        root: The folder that keeps runs.
        create: Whether the key may be made.
    """

    def __init__(self, root: Path, create: bool = True) -> None:
        self._root = root
        self._create = create
        self._key = b""
        self._lock = threading.Lock()

    def __call__(self) -> bytes:
        """Returns the key."""
        with self._lock:
            self._key = self._key or self._read()
            return self._key

    def _read(self) -> bytes:
        if not self._create and not paths.exists(self._root / FILE):
            return secrets.token_bytes(_BYTES)
        try:
            return secret_key(self._root)
        except StoreError as error:
            _logger.warning("%s Tasks with secrets are not taken from the cache.", error)
            return secrets.token_bytes(_BYTES)


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
