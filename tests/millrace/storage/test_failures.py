"""Errors of object stores: which may pass, and what people see of them."""

from __future__ import annotations

import logging
import socket

import pytest

from millrace.storage import drivers
from millrace.storage.failures import is_transient


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (socket.EAI_NONAME, "Name or service not known", False),
        (socket.EAI_AGAIN, "Temporary failure in name resolution", True),
    ],
)
def test_a_host_that_does_not_exist_is_not_tried_again(
    code: int, reason: str, expected: bool
) -> None:
    aiohttp = pytest.importorskip("aiohttp")
    reqrep = pytest.importorskip("aiohttp.client_reqrep")
    key = reqrep.ConnectionKey("no.such.host", 443, True, True, None, None, None)
    error = aiohttp.ClientConnectorError(key, OSError(code, reason))
    assert is_transient(error) is expected


def test_the_driver_of_gcs_prints_no_tracebacks() -> None:
    pytest.importorskip("gcsfs")
    drivers.filesystem("gs://bucket")
    assert not logging.getLogger("gcsfs").isEnabledFor(logging.ERROR)
