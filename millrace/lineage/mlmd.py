"""ML Metadata's client, imported so that it raises every error and logs none."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any


class _Deferred(ModuleType):
    """Stands in for a module until something of it is used."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


@contextlib.contextmanager
def _deferred(name: str) -> Iterator[None]:
    """Has what is imported meanwhile get a module that is imported when it is used."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = _Deferred(name)
    try:
        yield
    finally:
        del sys.modules[name]


_LEVEL = "GLOG_minloglevel"  # read by the C++ library once, when it is loaded
_before = os.environ.get(_LEVEL)
os.environ[_LEVEL] = _before or "4"
try:
    with _deferred("grpc"):  # half the time of the import, for stores behind a server only
        from ml_metadata import errors, metadata_store
    from ml_metadata.metadata_store import ListOptions, OrderByField
    from ml_metadata.proto import metadata_store_pb2 as pb
    from ml_metadata.version import __version__
finally:
    if _before is None:
        del os.environ[_LEVEL]


class _NoClientLog(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("mlmd client")


logging.getLogger("absl").addFilter(_NoClientLog())

__all__ = ["ListOptions", "OrderByField", "__version__", "errors", "metadata_store", "pb"]
