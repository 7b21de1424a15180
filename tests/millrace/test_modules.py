from __future__ import annotations

from pathlib import Path

import pytest

from millrace import modules
from millrace.errors import ModuleError


def test_a_file_and_a_dotted_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def build_model(args): return 1\n")
    assert modules.function(str(path), "run_fn", "build_model")(None) == 1
    assert modules.function("json", "loads")("2") == 2


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
