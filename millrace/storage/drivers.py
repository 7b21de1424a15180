"""The drivers of object stores: their options, their repeated attempts, their errors.

Options come from the usual environment variables and profiles of each store, and from a JSON file
that `MILLRACE_STORAGE_OPTIONS_FILE` names: for each scheme, arguments of its fsspec file system.

    {"s3": {"profile": "research", "endpoint_url": "https://minio.example.com"}}
"""

from __future__ import annotations

import errno
import functools
import json
import logging
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from millrace.errors import StorageError
from millrace.storage import location

OPTIONS_FILE = "MILLRACE_STORAGE_OPTIONS_FILE"
BLOCK = 16 << 20  # bytes of one part of a large object
_EXTRAS = {"s3": "s3", "gs": "gcs", "az": "azure", "abfs": "azure"}
_ATTEMPTS = 3  # each of which repeats its requests as the store's own client does
_FIRST_WAIT = 0.5  # seconds
_TRANSIENT_ERRNOS = {errno.EBUSY, errno.EREMOTEIO, errno.EAGAIN, errno.EPIPE, errno.ECONNRESET}
# Errors of botocore, aiohttp, gcsfs and azure-core, which may not be installed.
_TRANSIENT_CLASSES = re.compile(
    r"(HTTPClient|ClientPayload|ClientConnection|ServerDisconnected|ServiceRequest|ServiceResponse"
    r"|IncompleteRead|ResponseParser|FSTimeout|Retry)Error$|^IncompleteRead$"
)
_TRANSIENT_CODES = re.compile(
    r"SlowDown|Throttl|RequestTimeout|InternalError|ServiceUnavailable|Conflict|\b50[0234]\b"
)
_SECRET = re.compile(r"key|secret|token|password|credential|sas|connection_string", re.IGNORECASE)
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


def filesystem(uri: str) -> Any:
    """Returns the fsspec file system of an object store.

    Raises:
        StorageError: Its driver is not installed, or its options are wrong.
    """
    kind = location.scheme(uri)
    try:
        return _opened(kind, _options_text(), os.getpid())
    except ImportError as error:
        extra = _EXTRAS.get(kind)
        raise StorageError(
            f"{uri}: the driver of {kind}:// is not installed ({error}). "
            f"Install it: pip install 'millrace[{extra}]'"
        ) from error
    except (OSError, TypeError, ValueError, KeyError) as error:
        raise failure(uri, "cannot be opened", error) from error


def retried(uri: str, action: str, function: Callable[[], _T]) -> _T:
    """Returns what a function returns, which is called again after a passing fault.

    Args:
        uri: What the function is about.
        action: What failed if it fails, as in "cannot be read".
        function: What to call; it may be called several times.

    Raises:
        StorageError: It failed, and again, or for a reason that does not pass.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return function()
        except Exception as error:  # each driver has errors of its own
            if isinstance(error, FileNotFoundError | FileExistsError | StorageError):
                raise
            if attempt + 1 == _ATTEMPTS or not _is_transient(error):
                raise failure(uri, action, error) from error
            wait = _FIRST_WAIT * 2**attempt * random.uniform(0.5, 1.5)  # noqa: S311
            _log.info("%s; trying again in %.1f s", _redacted(f"{uri} {action}: {error}"), wait)
            time.sleep(wait)
    raise AssertionError("not reached")


def failure(uri: str, action: str, error: BaseException) -> StorageError:
    """Returns the error that tells a user what failed, why, and what to do about it."""
    reason = " ".join(_redacted(_reason(error)).split()).rstrip(".")
    return StorageError(f"{uri} {action}: {reason}. {_advice(uri, error)}".rstrip())


def forget() -> None:
    """Has the next call open each store anew, with what the environment says then."""
    _opened.cache_clear()


def _options(kind: str, text: str) -> dict[str, Any]:
    options = json.loads(text or "{}").get(kind, {})
    if kind == "s3":
        options.setdefault("default_block_size", BLOCK)
        options.setdefault("max_concurrency", 4)  # parts of an object that memory holds at once
        if "AWS_RETRY_MODE" not in os.environ and "AWS_MAX_ATTEMPTS" not in os.environ:
            retries = {"mode": "standard", "total_max_attempts": 4}
            options.setdefault("config_kwargs", {}).setdefault("retries", retries)
    return dict(options)


@functools.lru_cache(maxsize=16)
def _opened(kind: str, text: str, pid: int) -> Any:  # a fork needs its own
    import fsspec

    # One for all threads: fsspec would open one for each.
    files = fsspec.filesystem(kind, skip_instance_cache=True, **_options(kind, text))
    if kind == "s3":
        files.retries = 3  # on top of the client's own
    return files


def _options_text() -> str:
    path = os.environ.get(OPTIONS_FILE)
    if not path:
        return ""
    try:
        text = Path(path).read_text(encoding="utf-8")
        options = json.loads(text)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise StorageError(f"{OPTIONS_FILE}: {path} cannot be read: {reason}.") from None
    if not isinstance(options, dict) or not all(isinstance(v, dict) for v in options.values()):
        raise StorageError(
            f"{OPTIONS_FILE}: {path} must hold an object of options for each scheme, as in "
            '{"s3": {"profile": "research"}}.'
        )
    return text


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, TimeoutError | ConnectionError):
        return True
    if any(_TRANSIENT_CLASSES.search(base.__name__) for base in type(error).__mro__):
        return True
    if isinstance(error, PermissionError):
        return False
    if isinstance(error, OSError) and error.errno in _TRANSIENT_ERRNOS:
        return True
    return _TRANSIENT_CODES.search(f"{_code(error)} {error}") is not None


def _code(error: BaseException) -> str:
    """Returns the code that S3 gave an error, or the HTTP status of others."""
    for one in (error, error.__cause__):
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
        for attribute in ("status_code", "status", "code"):
            if isinstance(value := getattr(one, attribute, None), int):
                return str(value)
    return ""


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror.lower()}{where}"
    return str(error) or type(error).__name__


def _advice(uri: str, error: BaseException) -> str:
    kind = location.scheme(uri)
    if kind == "file":
        return ""
    if isinstance(error, PermissionError) or type(error).__name__ in (
        "NoCredentialsError",
        "ProfileNotFound",
        "ClientAuthenticationError",
        "RefreshError",
    ):
        return (
            "Check the credentials (the store's usual environment variables, a profile, or "
            f"{OPTIONS_FILE}) and what they may do there."
        )
    if isinstance(error, FileNotFoundError):
        return f"Check that {kind}://{location.remote_path(uri).partition('/')[0]} exists."
    if _is_transient(error):
        return "Try again later, and check the network and the endpoint."
    return ""


def _redacted(text: str) -> str:
    """Returns a message without the secrets of the options and of the environment."""
    for secret in _secrets(json.loads(_options_text() or "{}")):
        text = text.replace(secret, "***")
    for variable in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_ACCOUNT_KEY"):
        text = text.replace(os.environ.get(variable) or "\0", "***")
    return text


def _secrets(options: Any, is_secret: bool = False) -> Iterator[str]:
    if isinstance(options, dict):
        for name, value in options.items():
            yield from _secrets(value, is_secret or _SECRET.search(name) is not None)
    elif isinstance(options, str) and is_secret and len(options) >= 4:
        yield options
