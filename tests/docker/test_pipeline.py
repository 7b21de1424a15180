"""The flights in containers: the same file as in processes, the same lineage, the same outputs.

Processes run on the dependency line of this machine, containers on the current one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from millrace.lineage import query
from millrace.lineage.store import Store

pytestmark = [pytest.mark.docker, pytest.mark.slow]

# Depend only on the rows, with libraries whose files do not differ between the lines.
SAME_BYTES = [("schema-gen", "schema")]
WITHIN = {"auc": 0.01, "binary_accuracy": 0.01, "binary_crossentropy": 0.02}


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory, flights_sample: Path, millrace: Any
) -> dict[str, dict[str, Any]]:
    """One run with each runner, as `--json` prints it."""
    found = {}
    for runner in ("process", "docker"):
        folder = tmp_path_factory.mktemp(runner)
        words = ["run", "flights", "-p", f"data_uri={flights_sample}", "--json"]
        done = millrace(*words, "--runner", runner, "--docker-network", "none", cwd=folder)
        found[runner] = json.loads(done.stdout)
    return found


def artifact(run: Mapping[str, Any], task: str, output: str) -> Mapping[str, Any]:
    (found,) = (each for each in run["tasks"] if each["task"] == task)
    return found["outputs"][output]


def test_every_task_completes_with_both(runs: dict[str, dict[str, Any]]) -> None:
    for runner, run in runs.items():
        states = {task["task"]: task["state"] for task in run["tasks"]}
        assert len(states) == 8, runner
        assert set(states.values()) == {"COMPLETE"}, (runner, states)


def test_the_rows_are_the_same(runs: dict[str, dict[str, Any]]) -> None:
    import pyarrow as pa

    from millrace.data import examples

    tables = {}
    for runner, run in runs.items():
        root = Path(artifact(run, "example-gen", "examples")["uri"])
        tables[runner] = [
            pa.Table.from_batches(examples.read(root, split)) for split in ("train", "eval")
        ]
    assert tables["process"] == tables["docker"]


@pytest.mark.parametrize(("task", "output"), SAME_BYTES)
def test_what_is_deterministic_has_the_same_digest(
    task: str, output: str, runs: dict[str, dict[str, Any]]
) -> None:
    digests = {artifact(run, task, output)["metadata"]["digest"] for run in runs.values()}
    assert len(digests) == 1


def test_statistics_agree(runs: dict[str, dict[str, Any]]) -> None:
    import tensorflow_data_validation as tfdv

    ours, theirs = (
        tfdv.load_stats_binary(
            str(
                Path(artifact(runs[runner], "statistics-gen", "statistics")["uri"])
                / "Split-train/FeatureStats.pb"
            )
        ).datasets[0]
        for runner in ("process", "docker")
    )
    assert ours.num_examples == theirs.num_examples
    assert [f.path.step for f in ours.features] == [f.path.step for f in theirs.features]
    for one, other in zip(ours.features, theirs.features, strict=True):
        assert one.num_stats.mean == pytest.approx(other.num_stats.mean)
        assert one.num_stats.std_dev == pytest.approx(other.num_stats.std_dev)
        assert one.string_stats.unique == other.string_stats.unique


def test_vocabularies_are_the_same(runs: dict[str, dict[str, Any]]) -> None:
    import tensorflow_transform as tft

    ours, theirs = (
        tft.TFTransformOutput(artifact(runs[runner], "transform", "transform_graph")["uri"])
        for runner in ("process", "docker")
    )
    for name in ("carrier", "origin", "dest", "tailnum"):
        assert ours.vocabulary_by_name(name) == theirs.vocabulary_by_name(name)


def test_quality_agrees(runs: dict[str, dict[str, Any]]) -> None:
    ours, theirs = (
        artifact(runs[runner], "evaluator", "metrics")["metadata"]
        for runner in ("process", "docker")
    )
    assert ours["example_count"] == theirs["example_count"]
    for name, tolerance in WITHIN.items():
        assert ours[name] == pytest.approx(theirs[name], abs=tolerance), name


def test_lineage_has_the_same_shape(runs: dict[str, dict[str, Any]]) -> None:
    shapes = []
    for run in runs.values():
        with Store.open(run["store"]) as store:
            tasks = query.tasks(store, query.find_run(store, run["run_id"]))
        shapes.append(
            {
                task.name: (
                    task.image,
                    task.kind,
                    {port: records[0].schema_title for port, records in task.inputs.items()},
                    {port: records[0].schema_title for port, records in task.outputs.items()},
                )
                for task in tasks
            }
        )
    assert shapes[0] == shapes[1]
    assert len(shapes[0]) >= 8


def test_an_object_store_holds_the_same(
    runs: dict[str, dict[str, Any]], s3: Any, flights_sample: Path, millrace: Any, tmp_path: Path
) -> None:
    root = f"{s3.uri}/{tmp_path.name}"
    words = ["run", "flights", "-p", f"data_uri={flights_sample}", "--json", "--root", root]
    words += ["--runner", "docker", "--docker-network", "none"]
    env = s3.env | {"MILLRACE_HOME": str(tmp_path / "home")}
    remote = json.loads(millrace(*words, cwd=tmp_path, **env).stdout)
    for task in runs["docker"]["tasks"]:
        for output, made in task["outputs"].items():
            found = artifact(remote, task["task"], output)
            assert found["uri"].startswith(f"{root}/flights/"), found
            if (task["task"], output) != ("pusher", "report"):  # it shows speeds
                assert found["metadata"].get("digest") == made["metadata"].get("digest"), found
