"""docs/lineage.md lists everything that is recorded."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from millrace.lineage.address import parse
from millrace.lineage.nodes import ArtifactRecord, Kind, State

# Set by the runner, but not in the history of these tests.
_OF_THE_RUNNER = {"libraries", "pipeline_digest", "image_digest"}


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "lineage.md").read_text()


def cells(page: str, node: str) -> list[tuple[str, set[str]]]:
    rows = re.findall(rf"^\| {node} \| (.*?) \| (.*?) ?\|$", page, re.MULTILINE)
    return [(first, set(re.findall(r"`(\w+)`", second))) for first, second in rows]


def test_every_property_is_in_the_table(history, page):
    history.run("r1")
    history.run("r2")
    history.fail("r3")
    run = history.start("r4")
    task = run.start_task("importer", kind=Kind.IMPORTER)
    record = ArtifactRecord("x", "/x", metadata={"digest": "aa"})
    run.finish_task(task, State.COMPLETE, outputs={"artifact": [record]})
    store = history.store
    _, run_properties = cells(page, "context")[1]
    for context in store.call("get_contexts_by_type", "system.PipelineRun"):
        assert set(context.custom_properties) == run_properties
    (_, root), (_, tasks) = cells(page, "execution")
    seen: set[str] = set()
    for execution in store.call("get_executions"):
        names = set(execution.custom_properties)
        if execution.name.startswith("run/"):
            assert root - _OF_THE_RUNNER <= names
        else:
            seen |= names
    assert seen - {"log"} == tasks - _OF_THE_RUNNER
    ((_, artifact),) = cells(page, "artifact")
    of_artifacts = {
        name
        for message in store.call("get_artifacts_by_type", "system.Examples")
        for name in message.custom_properties
    }
    assert of_artifacts == artifact
    types = {
        kind for first, _ in cells(page, "context") for kind in re.findall(r"`(\w+\.\w+)`", first)
    }
    assert types == {kind.name for kind in store.call("get_context_types")}


def test_every_option_is_in_the_table(page):
    for scheme, address in (
        ("mysql", "mysql://a:b@h/d"),
        ("postgresql", "postgresql://a:b@h/d"),
        ("grpc", "grpc://h"),
    ):
        config = parse(address).config
        source = config if scheme == "grpc" else getattr(config, scheme)
        field = {"mysql": "ssl_options", "postgresql": "ssloption", "grpc": "ssl_config"}[scheme]
        prefix = "ssl_" if scheme == "mysql" else ""
        known = {prefix + one.name for one in getattr(source, field).DESCRIPTOR.fields}
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{scheme}://")]
        said = set(re.findall(r"\b(?:ssl\w+|custom_ca|client_key|server_cert)\b", row))
        assert said == known


def test_the_command_gives_the_digest(history, page):
    model = history.run("r1")["trainer"]["model"][0]
    (command,) = re.findall(r"^ {4}(find .*)$", page, re.MULTILINE)
    done = subprocess.run(
        ["bash", "-c", command], cwd=model.uri, check=True, capture_output=True, text=True
    )
    assert done.stdout.split()[0] == model.metadata["digest"]
