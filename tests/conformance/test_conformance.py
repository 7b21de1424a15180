"""Every case, compiled by the installed kfp and run by Millrace.

With CONFORMANCE_COMPILED=FOLDER, the pipelines are those that `compile_all.py` wrote there, maybe
with another kfp.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import kfp
import pytest

from cases import Case, filled, load

COMPILED = os.environ.get("CONFORMANCE_COMPILED")


def _params() -> list[Any]:
    found = []
    for name, one in load().items():
        marks = [pytest.mark.docker] * one.docker + [pytest.mark.slow] * one.slow
        if not COMPILED and not one.compiles_with(kfp.__version__):
            marks.append(pytest.mark.skip(reason=f"needs kfp {one.needs}"))
        found.append(pytest.param(one, id=name, marks=marks))
    return found


@pytest.mark.parametrize("one", _params())
def test_case(one: Case, session_root, outputs_of, tmp_path_factory, tmp_path):
    from millrace.errors import MillraceError
    from millrace.runner.run import run

    path = (
        Path(COMPILED, f"{one.pipeline_name}.yaml")
        if COMPILED
        else one.compile(tmp_path_factory.mktemp("compiled"))
    )
    values = one.given(tmp_path)
    if one.raises:
        with pytest.raises(MillraceError) as raised:
            run(str(path), values, root=session_root, caching=False)
        for fragment in one.raises:
            assert fragment in str(raised.value)
        return
    result = run(str(path), values, root=session_root, caching=one.cached is not None)
    _compare(one, result, tmp_path)
    expected = filled(one.outputs, tmp_path)
    if one.state == "COMPLETE":
        assert outputs_of(result, expected) == expected
    if one.cached is not None:
        again = run(str(path), values, root=session_root)
        assert _leaves(again, "CACHED") == sorted(one.cached)
        assert outputs_of(again, expected) == expected


def _compare(one: Case, result: Any, tmp: Any) -> None:
    messages = "\n".join([result.error, *(task.error for task in result.tasks.values())])
    assert result.state.value == one.state, messages
    assert _leaves(result, "FAILED") == sorted(one.failed), messages
    if one.ran is not None:
        assert _leaves(result, "COMPLETE") == sorted(one.ran)
    for path in one.skipped:
        assert result.tasks[path].state.value == "SKIPPED", path
    for path, parameters in one.parameters.items():
        found = result.tasks[path].parameters
        assert {name: found.get(name) for name in parameters} == parameters, path
    for name, text in one.files.items():
        assert (tmp / name).read_text() == text, name
    for fragment in one.errors:
        assert fragment in messages


def _leaves(result: Any, state: str) -> list[str]:
    """Returns the paths of the tasks that ended in a state, without DAGs."""
    return sorted(
        path for path, task in result.tasks.items() if not task.is_dag and task.state.value == state
    )
