"""The same data and code make the same bytes, in another process and wherever artifacts lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from millrace.storage import drivers, staging

pytestmark = pytest.mark.slow

MEASURED = "pusher/report"  # the page that shows how fast each candidate was


@pytest.fixture(scope="module")
def local(
    tmp_path_factory: pytest.TempPathFactory, flights_sample: Path, millrace: Any
) -> dict[str, str]:
    """The digests of a run on local files."""
    return digests(millrace, str(flights_sample), tmp_path_factory.mktemp("local"))


def digests(
    millrace: Any, data_uri: str, folder: Path, root: str = "", **env: str
) -> dict[str, str]:
    """Runs the flights, and returns the digest of each artifact with files."""
    words = ["run", "flights", "-p", f"data_uri={data_uri}", "-p", "train_steps=20", "--json"]
    done = millrace(*words, "--root", root or folder / "root", cwd=folder, **env)
    found = {
        f"{task['task']}/{name}": output["metadata"]["digest"]
        for task in json.loads(done.stdout)["tasks"]
        for name, output in task["outputs"].items()
        if "digest" in output["metadata"]
    }
    assert len(found) >= 17, found
    del found[MEASURED]
    return found


def test_another_process_makes_the_same(
    local: dict[str, str], tmp_path: Path, flights_sample: Path, millrace: Any
) -> None:
    other = tmp_path / "other" / flights_sample.name
    other.parent.mkdir()
    other.write_bytes(flights_sample.read_bytes())
    assert digests(millrace, str(other), tmp_path) == local


@pytest.mark.parametrize("kind", ["s3", "gs", "az"])
def test_an_object_store_holds_the_same(
    request: pytest.FixtureRequest,
    kind: str,
    local: dict[str, str],
    tmp_path: Path,
    flights_sample: Path,
    millrace: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = request.getfixturevalue(kind)
    root = f"{server.uri}/{tmp_path.name}"
    with monkeypatch.context() as patch:
        for name, value in server.env.items():
            patch.setenv(name, value)
        drivers.forget()
        staging.stage_out(flights_sample, f"{root}/in/flights.csv")
    env = server.env | {"MILLRACE_HOME": str(tmp_path / "home")}
    # The command drops the tests' own MILLRACE_… variables, and takes these.
    assert digests(millrace, f"{root}/in/flights.csv", tmp_path, f"{root}/out", **env) == local
