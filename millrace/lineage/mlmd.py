"""ML Metadata's client, imported so that it raises every error and logs none."""

from __future__ import annotations

import logging
import os

_LEVEL = "GLOG_minloglevel"  # read by the C++ library once, when it is loaded
_before = os.environ.get(_LEVEL)
os.environ[_LEVEL] = _before or "4"
try:
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
