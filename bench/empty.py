"""Chains a step that does nothing, to measure the runner's cost per task."""

from __future__ import annotations

import textwrap
from pathlib import Path

_STEP = """
def run(before: str = "") -> dict[str, str]:
    return {"after": before}
"""

_PIPELINE = """
from kfp import dsl

@dsl.container_component
def empty(after: dsl.OutputPath(str), before: str = ""):
    return dsl.ContainerSpec(
        image="millrace-core:empty",
        command=["python", "-m", "millrace.entrypoint", {step!r}],
        args=["--executor_input", "{{{{$}}}}"],
    )

@dsl.pipeline(name="empty-{tasks}")
def chain():
    task = empty()
    for _ in range({tasks} - 1):
        task = empty(before=task.outputs["after"])
"""


def chain(folder: Path, tasks: int) -> Path:
    """Writes a pipeline of some empty tasks, one after another, and returns its folder."""
    target = folder / f"empty-{tasks}"
    target.mkdir()
    step = target / "step.py"
    step.write_text(textwrap.dedent(_STEP), encoding="utf-8")
    text = _PIPELINE.format(step=str(step), tasks=tasks)
    (target / "pipeline.py").write_text(text, encoding="utf-8")
    return target
