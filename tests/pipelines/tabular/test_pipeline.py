"""The compiled pipeline."""

from __future__ import annotations

from pathlib import Path

import yaml


def test_the_split_that_measures_the_model_has_no_say_in_it(repository: Path) -> None:
    compiled = repository / "pipelines/tabular/pipeline.yaml"
    tasks = next(yaml.safe_load_all(compiled.read_text("utf-8")))["root"]["dag"]["tasks"]
    takes_it = [
        name
        for name, task in tasks.items()
        if {"componentInputParameter": "measure_split"}
        in task.get("inputs", {}).get("parameters", {}).values()
    ]
    assert takes_it == ["evaluator"]
