"""The drivers of object stores: their options, and their repeated attempts.

Options come from the usual environment variables and profiles of each store, and from a JSON file
that `MILLRACE_STORAGE_OPTIONS_FILE` names: for each scheme, arguments of its fsspec file system.

    {"s3": {"profile": "research", "endpoint_url": "https://minio.example.com"}}
"""

from __future__ import annotations

import functools
import json
import logging
import os
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

from millrace.errors import StorageError
from millrace.storage import location
from millrace.storage.failures import failure, is_transient, options_text, redacted

BLOCK = 16 << 20  # bytes of one part of a large object
_EXTRAS = {"s3": "s3", "gs": "gcs", "az": "azure", "abfs": "azure"}
_ATTEMPTS = 3  # each of which repeats its requests as the store's own client does
_FIRST_WAIT = 0.5  # seconds
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


def filesystem(uri: str) -> Any:
    """Returns the fsspec file system of an object store.

    Raises:
        StorageError: Its driver is not installed, or its options are wrong.
    """
    kind = location.scheme(uri)
    try:
        files = _opened(kind, options_text(), os.getpid())
        if uri.startswith(f"{location.MINIO}://"):
            _check_endpoint(uri, files)
        return files
    except ImportError as error:
        extra = _EXTRAS.get(kind)
        raise StorageError(
            f"{uri}: the driver of {kind}:// is not installed ({error}). "
            f"Install it: pip install 'millrace[{extra}]'"
        ) from error
    except (OSError, TypeError, ValueError, KeyError) as error:
        raise failure(uri, "cannot be opened", error) from error


def _check_endpoint(uri: str, files: Any) -> None:
    """Checks that KFP's own object store is not looked for at Amazon, which is the default."""
    files.connect()
    if ".amazonaws.com" in files.s3.meta.endpoint_url:
        raise StorageError(
            f"{uri} is in KFP's own object store, and its endpoint is not known: set "
            "AWS_ENDPOINT_URL, for example to http://localhost:9000 after `kubectl port-forward "
            "--namespace kubeflow service/minio-service 9000`, and its keys."
        )


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
            if attempt + 1 == _ATTEMPTS or not is_transient(error):
                raise failure(uri, action, error) from error
            wait = _FIRST_WAIT * 2**attempt * random.uniform(0.5, 1.5)  # noqa: S311
            _log.info("%s; trying again in %.1f s", redacted(f"{uri} {action}: {error}"), wait)
            time.sleep(wait)
    raise AssertionError("not reached")


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
    if kind == "gs":
        # It logs the traceback of each error that it raises, and we tell the error ourselves.
        logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
    return files
