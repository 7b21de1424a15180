"""Sorts the tasks of a DAG so that each comes after its dependencies."""

from __future__ import annotations

import graphlib
from collections.abc import Mapping

from millrace.errors import PipelineError
from millrace.ir import spec as ir


def ordered(tasks: Mapping[str, ir.Task]) -> dict[str, ir.Task]:
    """Returns the tasks in that order.

    Raises:
        PipelineError: Some of them wait for one another.
    """
    sorter = graphlib.TopologicalSorter({name: task.depends for name, task in tasks.items()})
    try:
        return {name: tasks[name] for name in sorter.static_order()}
    except graphlib.CycleError as error:
        raise PipelineError(f"tasks wait for one another: {' → '.join(error.args[1])}") from None
