"""Two runs with the same data and code, in separate processes, make the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

MADE = {
    "example-gen/examples",
    "statistics-gen/statistics",
    "schema-gen/schema",
    "example-validator/anomalies",
    "transform/transform_graph",
    "transform/transformed_examples",
    "trainer/model",
    "evaluator/evaluation",
}


def digests(done: Any) -> dict[str, str]:
    """The digest of each artifact that contains no times or speeds."""
    return {
        f"{task['task']}/{name}": output["metadata"]["digest"]
        for task in json.loads(done.stdout)["tasks"]
        for name, output in task["outputs"].items()
        if f"{task['task']}/{name}" in MADE
    }


@pytest.mark.slow
def test_the_same_rows_make_the_same_model(
    tmp_path: Path, flights_sample: Path, millrace: Any
) -> None:
    words = ["run", "flights", "-p", f"data_uri={flights_sample}", "-p", "train_steps=20", "--json"]
    first, second = (
        digests(millrace(*words, "--root", tmp_path / one, cwd=tmp_path)) for one in "ab"
    )
    assert set(first) == MADE
    assert first == second
