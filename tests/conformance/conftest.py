"""Fixtures of the conformance tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from millrace import images

sys.path.insert(0, str(Path(__file__).parent))  # the cases import what lies beside this file
os.environ.setdefault("CONFORMANCE_IMAGE", images.name(images.Image.CORE))

_OURS = {"digest", "bytes", "file_digests"}  # recorded with an artifact, but none of its own


@pytest.fixture(scope="session")
def session_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One root for all cases, since it keeps the environments that components run in."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    root = shared / "conformance"
    root.mkdir(exist_ok=True)
    return root


@pytest.fixture(scope="session")
def outputs_of() -> Callable[[Any, Mapping[str, Any]], dict[str, Any]]:
    """Returns the outputs of a run of ours, in the form in which results are compared."""
    return _outputs


def _outputs(result: Any, expected: Mapping[str, Any]) -> dict[str, Any]:
    from cases import described

    found = dict(result.outputs)
    for name, records in result.artifacts.items():
        listed = [
            described(
                record.schema_title,
                record.uri,
                {key: value for key, value in record.metadata.items() if key not in _OURS},
            )
            for record in records
        ]
        is_list = isinstance(expected.get(name), list) or len(listed) != 1
        found[name] = listed if is_list else listed[0]
    return found
