"""The key numbers of a task, picked from the metadata of its outputs."""

from __future__ import annotations

from typing import Any

from millrace.report import numbers
from millrace.runner.result import TaskResult

_MOST = 5
# The most important metadata. For other people's steps, every number is shown.
_FIRST = (
    "blessed",
    "chosen",
    "model_bytes",
    "anomalies",
    "warnings",
    "problem",
    "spans",
    "rows",
    "auc",
    "eval_auc",
    "accuracy",
    "eval_accuracy",
    "root_mean_squared_error",
    "eval_rmse",
    "eval_loss",
    "thresholds",
    "columns",
    "features",
    "rejected",
    "read_as_missing",
    "notes",
)
_SHORT = {"root_mean_squared_error": "rmse"}
_NEVER = frozenset({"digest", "bytes", "seed"})


def of(task: TaskResult) -> str:
    """Returns a task's key numbers on one line, such as `rows 327,346 · columns 12`."""
    found: dict[str, Any] = {}
    for records in task.artifacts.values():
        for record in records[:1]:
            for name, value in record.metadata.items():
                found.setdefault(name, value)
    found |= task.parameters
    names = [name for name in _FIRST if _is_short(found.get(name))] or sorted(
        name for name, value in found.items() if _is_number(value) and name not in _NEVER
    )
    return " · ".join(_entry(name, found[name]) for name in names[:_MOST])


def _entry(name: str, value: Any) -> str:
    if name.endswith("_bytes"):
        return f"{name.removesuffix('_bytes').replace('_', ' ')} {numbers.size(value)}"
    return f"{_SHORT.get(name, name).replace('_', ' ')} {_shown(value)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_short(value: Any) -> bool:
    return isinstance(value, (bool, int, float)) or (isinstance(value, str) and 0 < len(value) < 30)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return numbers.number(value) if isinstance(value, (int, float)) else str(value)
