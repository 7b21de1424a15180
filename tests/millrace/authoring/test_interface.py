from __future__ import annotations

from pathlib import Path

import pytest

from millrace.authoring import interface
from millrace.errors import ParameterError

COMPONENT = '''
from millrace.dsl import Examples, Image, Input, Output, Schema, step


@step(Image.DATA)
def count_rows(
    examples: Input[Examples],
    schema: Output[Schema],
    baseline: Input[Schema] = None,
    limit: int = 3,
    names: list = ["a|b"],
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
    )


def test_readme_shows_every_port_and_escapes_tables(parsed: interface.Interface) -> None:
    text = interface.readme(parsed)
    assert "| `baseline` | Schema (optional) | An earlier one. |" in text
    assert '| `names` | list | `["a|b"]` | Which: a\\|b. |' in text


def test_kfp_reads_the_same_interface() -> None:
    from millrace.components.pusher.component import pusher

    ours = interface.of("pusher")
    inputs, outputs = pusher.component_spec.inputs, pusher.component_spec.outputs
    assert set(outputs) == {port.name for port in ours.of_kind("output")}
    assert set(inputs) == {p.name for p in ours.ports if p.kind != "output"}
    for port in ours.of_kind("parameter"):
        assert inputs[port.name].default == port.default


def test_an_unknown_step() -> None:
    with pytest.raises(ParameterError, match=r'no step "pushr"\. Did you mean "pusher"'):
        interface.of("pushr")
