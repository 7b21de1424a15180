"""The numbers that the summary of a run shows of each task."""

from __future__ import annotations

import pytest

from millrace.cli import task_summary
from millrace.lineage.nodes import ArtifactRecord
from millrace.ml.metrics import HEADLINE
from millrace.ml.problem import Kind
from millrace.runner.result import TaskResult


def task(**metadata: object) -> TaskResult:
    record = ArtifactRecord("out", "/out", "system.Metrics", "0.0.1", metadata)
    return TaskResult("step", "Step", artifacts={"out": [record]})


@pytest.mark.parametrize("kind", list(Kind))
def test_every_problem_shows_its_first_metric(kind: Kind) -> None:
    assert "0.25" in task_summary.of(task(blessed=True, rows=301, **{HEADLINE[kind]: 0.25}))


def test_the_first_ones_in_their_order() -> None:
    shown = task_summary.of(
        task(root_mean_squared_error=7968.6, rows=1234567, blessed=False, seed=3)
    )
    assert shown == "blessed no · rows 1,234,567 · rmse 7,969"


def test_of_other_steps_every_number() -> None:
    assert task_summary.of(task(words=12, share=0.12345, seed=1, name="x", sure=True)) == (
        "share 0.1235 · words 12"
    )
