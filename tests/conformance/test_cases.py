"""The cases themselves: the features they name are in the compiled pipeline."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import kfp
import pytest
import yaml

from cases import HERE, Case, load


def _tasks(spec: dict[str, Any], dag: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, task in dag["tasks"].items():
        yield prefix + name
        component = spec["components"][task["componentRef"]["name"]]
        if "dag" in component:
            yield from _tasks(spec, component["dag"], f"{prefix}{name}/")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compiled")
    command = [sys.executable, str(HERE / "compile_all.py"), str(folder)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return folder


@pytest.mark.parametrize(
    "one",
    [pytest.param(one, id=name) for name, one in load().items()],
)
def test_a_case_names_what_there_is(one: Case, compiled):
    if not one.compiles_with(kfp.__version__):
        pytest.skip(f"needs kfp {one.needs}")
    spec = next(yaml.safe_load_all((compiled / f"{one.pipeline_name}.yaml").read_text()))
    named = [*(one.ran or ()), *one.failed, *one.skipped, *(one.cached or ()), *one.parameters]
    assert {re.sub(r"\[\d+\]", "", path) for path in named} <= set(
        _tasks(spec, spec["root"]["dag"])
    )
    defined = spec["root"].get("outputDefinitions", {})
    outputs = {*defined.get("parameters", {}), *defined.get("artifacts", {})}
    if one.state == "COMPLETE" and not one.raises:
        assert outputs == set(one.outputs)


def test_enough_is_covered():
    """Every feature is tested alone and in combination with others."""
    cases = load().values()
    assert len(cases) >= 70
    pairs = {(a, b) for one in cases for a in one.features for b in one.features if a < b}
    assert len(pairs) >= 100
