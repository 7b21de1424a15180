from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from millrace.authoring import interface
from millrace.errors import ParameterError
from millrace.ir.declared import Declared, declared

COMPONENT = '''
from millrace.dsl import Examples, Image, Output, step


@step("registry.example/mine:1", reads=["data_uri"])
def count_rows(data_uri: str, examples: Output[Examples], limit: int = 3):
    """Counts rows."""
'''


def load(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str = COMPONENT) -> object:
    package = folder / "count_rows_of_mine"
    package.mkdir()
    (package / "component.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    try:
        return importlib.import_module("count_rows_of_mine.component").count_rows
    finally:
        for name in [one for one in sys.modules if one.startswith("count_rows_of_mine")]:
            del sys.modules[name]


def test_a_step_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    component = load(tmp_path, monkeypatch)
    container = component.component_spec.implementation.container  # type: ignore[attr-defined]
    assert container.image == "registry.example/mine:1"
    assert list(container.command[3:]) == ["count_rows_of_mine.executor"]
    assert declared([*container.command, *container.args]) == Declared(reads=("data_uri",))


def test_one_name_needs_no_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    component = load(tmp_path, monkeypatch, COMPONENT.replace('["data_uri"]', '"data_uri"'))
    container = component.component_spec.implementation.container  # type: ignore[attr-defined]
    assert declared([*container.command, *container.args]) == Declared(reads=("data_uri",))
    parsed = interface.parse(tmp_path / "count_rows_of_mine/component.py")
    assert [port.use for port in parsed.ports] == ["reads", "", ""]


@pytest.mark.parametrize("name", ["data_url", "examples", "limit"])
def test_what_is_declared_must_be_a_text_parameter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    text = COMPONENT.replace('["data_uri"]', f'["{name}"]')
    with pytest.raises(ParameterError, match=f'"count_rows" declares reads="{name}", and has no'):
        load(tmp_path, monkeypatch, text)
