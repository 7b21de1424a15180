"""ML Metadata's client, imported so that it raises every error and logs none."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any


class _Deferred(ModuleType):
    """Stands in for a module until something of it is used."""

    def __getattr__(self, name: str) -> Any:
        self.give_way()
        return getattr(importlib.import_module(self.__name__), name)

    def give_way(self) -> None:
        """Has later imports load the module itself."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]


class _Silent(ModuleType):
    """Stands in for `absl.logging`, which takes a while to import: all errors are raised too."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


@contextlib.contextmanager
def _deferred(*names: str) -> Iterator[None]:
    """Has what is imported meanwhile get modules that are imported when they are used."""
    stand_ins = [_Deferred(name) for name in names if name not in sys.modules]
    sys.modules.update({one.__name__: one for one in stand_ins})
    try:
        yield
    finally:
        for one in stand_ins:
            one.give_way()


# Most of the time of the import: for stores behind a server, for protobuf without its C library,
# and for messages that nobody reads.
_UNUSED = ("grpc", "google.protobuf.internal.python_message", "absl.logging")
_LEVEL = "GLOG_minloglevel"  # read by the C++ library once, when it is loaded
_before = os.environ.get(_LEVEL)
os.environ[_LEVEL] = _before or "4"
try:
    with _deferred(*_UNUSED):
        from ml_metadata import errors, metadata_store
    from ml_metadata.metadata_store import ListOptions, OrderByField
    from ml_metadata.proto import metadata_store_pb2 as pb
    from ml_metadata.version import __version__
finally:
    if _before is None:
        del os.environ[_LEVEL]

errors.logging = metadata_store.metadata_store.logging = _Silent("absl.logging")

__all__ = ["ListOptions", "OrderByField", "__version__", "errors", "metadata_store", "pb"]
