from __future__ import annotations

import sys
from pathlib import Path
from unittest import mock

import pytest

from millrace import modules
from millrace.errors import ModuleError


def test_a_file_and_a_dotted_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def build_model(args): return 1\n")
    assert modules.function(str(path), "run_fn", "build_model")(None) == 1
    assert modules.function("json", "loads")("2") == 2


def test_where_a_module_looks_for_what_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library first, then what lies beside it, then where the caller is."""
    files = {"beside": ("mine", "colorsys", "near"), "here": ("colorsys", "near", "far")}
    for folder, names in files.items():
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / f"{name}.py").write_text(f"WHERE = {folder!r}\n")
    mine = tmp_path / "beside" / "mine.py"
    mine.write_text(
        "import colorsys, near\ndef wheres():\n"
        "    import far\n    return vars(colorsys).get('WHERE'), near.WHERE, far.WHERE\n"
    )
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    with mock.patch.dict(sys.modules):
        sys.modules.pop("colorsys", None)
        assert modules.function(str(mine), "wheres")() == (None, "beside", "here")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def build_model(:\n  pass", r"mine\.py, line 1: .*: def build_model\(:"),
        ("import nothing_like_this", 'there is no module "nothing_like_this"'),
        ("1 / 0", "failed: ZeroDivisionError: division by zero"),
        ("def build_modl(args): pass", r'must define build_model\(…\).*Did you mean "build_modl"'),
        ("build_model = 3", r"must define build_model\(…\), and does not"),
    ],
)
def test_a_module_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(ModuleError, match=message):
        modules.function(str(path), "build_model")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModuleError, match=r"There is no file .*mine\.py"):
        modules.load(str(tmp_path / "mine.py"))


def test_no_such_module() -> None:
    with pytest.raises(ModuleError, match='Cannot import "nothing_like_this"'):
        modules.load("nothing_like_this")
