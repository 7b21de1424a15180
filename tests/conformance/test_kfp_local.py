"""Every case that the installed kfp.local can run, run by it: the same results as ours."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kfp
import pytest

from cases import HERE, Case, filled, load

Run = Callable[[Case, Path], dict[str, Any]]


@pytest.fixture(scope="module")
def kfp_local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Runs a case with kfp.local."""
    folder = tmp_path_factory.mktemp("kfp_local")
    command = [sys.executable, str(HERE / "kfp_local.py")]
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None

        def run(one: Case, tmp: Path) -> dict[str, Any]:
            folder = tmp_path_factory.mktemp("run")
            request = {"case": one.name, "values": one.given(tmp), "folder": str(folder)}
            print(json.dumps(request), file=server.stdin, flush=True)
            server.stdout.readline()
            sys.stdout.write((folder / "log.txt").read_text())
            return json.loads((folder / "outcome.json").read_text())

        yield run
        server.stdin.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "one",
    [
        pytest.param(one, id=name)
        for name, one in load().items()
        if one.runs_in_local(kfp.__version__) and not one.docker
    ],
)
def test_case(one: Case, kfp_local: Run, tmp_path):
    outcome = kfp_local(one, tmp_path)
    assert outcome["state"] == one.state, outcome["error"]
    if one.state == "COMPLETE":
        assert outcome["outputs"] == filled(one.outputs, tmp_path)
    for name, text in one.files.items():
        assert (tmp_path / name).read_text() == text, name
