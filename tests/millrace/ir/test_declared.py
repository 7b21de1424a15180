from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.images import COMMAND
from millrace.ir.declared import Declared, declared

STEP = (*COMMAND, "example_gen", "--executor_input", "{{$}}")
NAMES = st.lists(st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True), max_size=3).map(tuple)


@given(NAMES, NAMES, NAMES, st.booleans())
def test_what_is_declared_is_read_back(
    reads: tuple[str, ...], modules: tuple[str, ...], writes: tuple[str, ...], by_content: bool
) -> None:
    declarations = Declared(reads, modules, writes, by_content)
    assert declared([*STEP, *declarations.arguments()]) == declarations


def test_nothing_is_declared() -> None:
    assert Declared().arguments() == []
    assert declared(STEP) == Declared()


@pytest.mark.parametrize("python", ["python", "python3", "/opt/millrace/bin/python3.13"])
def test_any_python_runs_our_entrypoint(python: str) -> None:
    assert declared([python, *STEP[1:], "--reads", "data_uri"]).reads == ("data_uri",)


@pytest.mark.parametrize(
    "line",
    [
        [],
        ["python"],
        ["sh", "-c", "python -m millrace.entrypoint x --reads data_uri"],
        ["sh", "-m", "millrace.entrypoint", "x", "--reads", "data_uri"],
        ["python", "-m", "their.entrypoint", "x", "--reads", "data_uri"],
        ["python", "-m", "their.tool", "millrace.entrypoint", "--reads", "data_uri"],
    ],
)
def test_what_runs_others_declares_nothing(line: list[str]) -> None:
    assert declared(line) == Declared()


def test_the_input_is_no_declaration() -> None:
    line = [*COMMAND, "x", "--executor_input", "--reads data_uri", "--reads", "schema_uri"]
    assert declared(line) == Declared(reads=("schema_uri",))
