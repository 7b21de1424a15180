from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from millrace.artifacts import Examples, Input, Output, Schema
from millrace.authoring import interface
from millrace.errors import ParameterError
from millrace.ir.declared import declared

COMPONENT = '''
from millrace.dsl import Examples, Image, Input, Output, Schema, step


@step(Image.DATA, reads=("source_uri",))
def count_rows(
    examples: Input[Examples],
    schema: Output[Schema],
    baseline: Input[Schema] = None,
    limit: int = 3,
    names: list = ["a|b"],
    source_uri: str = "",
):
    """Counts rows.

    In one pass.

    Args:
        examples: What to count, in
            two lines.
        schema: What came out.
        baseline: An earlier one.
        limit: How many.
        names: Which: a|b.
        source_uri: More of them.
    """
'''


@pytest.fixture
def parsed(tmp_path: Path) -> interface.Interface:
    path = tmp_path / "component.py"
    path.write_text(COMPONENT)
    return interface.parse(path)


def test_reads_the_signature_and_the_docstring(parsed: interface.Interface) -> None:
    assert (parsed.name, parsed.title, parsed.image) == ("count_rows", "CountRows", "data")
    assert (parsed.summary, parsed.description) == ("Counts rows.", "In one pass.")
    assert parsed.ports == (
        interface.Port("examples", "input", "Examples", "What to count, in two lines.", True),
        interface.Port("schema", "output", "Schema", "What came out.", True),
        interface.Port("baseline", "input", "Schema", "An earlier one.", False),
        interface.Port("limit", "parameter", "int", "How many.", False, 3),
        interface.Port("names", "parameter", "list", "Which: a|b.", False, ["a|b"]),
        interface.Port("source_uri", "parameter", "str", "More of them.", False, "", "reads"),
    )


def test_readme_shows_every_port_and_escapes_tables(parsed: interface.Interface) -> None:
    text = interface.readme(parsed)
    assert "| `baseline` | Schema (optional) | An earlier one. |" in text
    assert "| More of them. (reads external data) |" in text
    assert "It runs in the image `millrace-data`." in text
    assert '| `names` | list | `["a|b"]` | Which: a\\|b. |' in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"source_uri",', '"sources_uri",'), 'names no parameter.*Did you mean "source_uri"'),
        (('reads=("source_uri",', 'writes=("examples",'), 'writes="examples" names no parameter'),
        (("@step(", "@other("), "declares no step"),
    ],
)
def test_what_cannot_be_declared(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = tmp_path / "component.py"
    path.write_text(COMPONENT.replace(*change))
    with pytest.raises(ParameterError, match=message):
        interface.parse(path)


def test_an_image_of_the_users_own(tmp_path: Path) -> None:
    path = tmp_path / "component.py"
    path.write_text(COMPONENT.replace("Image.DATA", '"registry.example/mine:1"'))
    parsed = interface.parse(path)
    assert parsed.image == "registry.example/mine:1"
    assert "in the image `registry.example/mine:1`" in interface.readme(parsed)


@pytest.mark.parametrize("step", interface.names())
def test_kfp_reads_the_same_interface(step: str) -> None:
    component = getattr(importlib.import_module(f"millrace.components.{step}.component"), step)
    ours = interface.of(step)
    spec = component.component_spec
    inputs, outputs = spec.inputs, spec.outputs
    container = spec.implementation.container
    declarations = declared([*container.command, *container.args])
    for use in ("reads", "modules", "writes"):
        names = tuple(port.name for port in ours.ports if port.use == use)
        assert getattr(declarations, use) == names
    assert set(outputs) == {port.name for port in ours.of_kind("output")}
    assert set(inputs) == {p.name for p in ours.ports if p.kind != "output"}
    for port in ours.of_kind("parameter"):
        assert inputs[port.name].default == port.default


def test_an_unknown_step() -> None:
    with pytest.raises(ParameterError, match=r'no step "pushr"\. Did you mean "pusher"'):
        interface.of("pushr")


class TestDifferences:
    """How `run` may differ from what component.py declares."""

    def test_none(self, parsed: interface.Interface) -> None:
        def run(
            examples: Input[Examples],
            schema: Output[Schema],
            baseline: Input[Schema] | None = None,
            limit: int = 3,
            names: list[str] = ["a|b"],  # noqa: B006
            source_uri: str = "",
        ) -> None: ...

        assert interface.differences(parsed, run) == []

    def test_each(self, parsed: interface.Interface) -> None:
        def run(
            examples: Output[Examples],
            schema: Output[Examples],
            baseline: Input[Schema],
            limit: float = 4,
            names: list[str] = ["a|b"],  # noqa: B006
            source_uri: str = "",
        ) -> None: ...

        assert interface.differences(parsed, run) == [
            "kind of \"examples\": 'output', and 'input' in component.py",
            "type of \"schema\": 'Examples', and 'Schema' in component.py",
            "default of \"baseline\": <class 'inspect._empty'>, and None in component.py",
            "type of \"limit\": 'float', and 'int' in component.py",
            'default of "limit": 4, and 3 in component.py',
        ]

    def test_of_names(self, parsed: interface.Interface) -> None:
        def run(examples: Input[Examples], other: int) -> None: ...

        (found,) = interface.differences(parsed, run)
        assert found.startswith("run(examples, other), where component.py has (examples, schema,")
