"""The interface of every step, read from its `component.py` without importing it or KFP."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path
from typing import Any

from millrace.errors import ParameterError, nearest

_TYPES = {"str": "text", "int": "integer", "float": "number", "bool": "true or false"}
_TYPES |= {"list": "list", "dict": "object"}


@dataclasses.dataclass(frozen=True)
class Port:
    """One input, output or parameter of a step.

    Attributes:
        name: Its name in `component.py` and in `run`.
        kind: `input`, `output` or `parameter`.
        type: The artifact type, such as `Examples`, or the parameter's Python type.
        description: From the docstring, on one line.
        required: Whether a pipeline must give it.
        default: The default of a parameter that is not required.
    """

    name: str
    kind: str
    type: str
    description: str
    required: bool
    default: Any = None


@dataclasses.dataclass(frozen=True)
class Interface:
    """A step as `component.py` declares it.

    Attributes:
        name: The step's name and folder, such as `example_gen`.
        image: The image that it runs in, such as `core`.
        summary: The first sentence of its docstring.
        description: The rest of its docstring before the arguments.
        ports: Its inputs, outputs and parameters in the order of the signature.
    """

    name: str
    image: str
    summary: str
    description: str
    ports: tuple[Port, ...]

    @property
    def title(self) -> str:
        """The name as TFX writes it, such as `ExampleGen`."""
        return "".join(part.capitalize() for part in self.name.split("_"))

    def of_kind(self, kind: str) -> list[Port]:
        """Returns the ports of one kind."""
        return [port for port in self.ports if port.kind == kind]


def folder() -> Path:
    """Returns the folder that holds the steps."""
    import millrace.components

    return Path(millrace.components.__path__[0])


def names() -> list[str]:
    """Returns the names of all steps, in the order of the lifecycle."""
    from millrace.components import LIFECYCLE

    return list(LIFECYCLE)


def of(step: str) -> Interface:
    """Reads the interface of a step.

    Raises:
        ParameterError: There is no such step.
    """
    path = folder() / step / "component.py"
    if not path.is_file():
        raise ParameterError(f'There is no step "{step}".{nearest(step, names())}')
    return parse(path)


def parse(path: Path) -> Interface:
    """Reads the interface that a `component.py` declares."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef))
    decorator = function.decorator_list[0]
    assert isinstance(decorator, ast.Call)
    summary, description, texts = _docstring(ast.get_docstring(function) or "")
    arguments = function.args.args
    given = function.args.defaults
    defaults: list[ast.expr | None] = [*[None] * (len(arguments) - len(given)), *given]
    ports = [
        _port(argument, default, texts)
        for argument, default in zip(arguments, defaults, strict=True)
    ]
    image = ast.unparse(decorator.args[0]).rsplit(".", 1)[1].lower()
    return Interface(function.name, image, summary, description, tuple(ports))


def readme(interface: Interface) -> str:
    """Returns the README of a step."""
    lines = [
        f"# {interface.title}",
        "",
        "<!-- Made from component.py by `make docs`. Edit that instead. -->",
        "",
        interface.summary,
        *(["", interface.description] if interface.description else []),
        "",
        f"It runs in the image `millrace-{interface.image}`.",
    ]
    for kind, heading in (("input", "Inputs"), ("output", "Outputs")):
        rows = interface.of_kind(kind)
        if rows:
            lines += ["", f"## {heading}", "", "| name | artifact | what it is |", "|---|---|---|"]
            lines += [
                f"| `{port.name}` | {port.type}{'' if port.required else ' (optional)'} "
                f"| {_cell(port.description)} |"
                for port in rows
            ]
    lines += [
        "",
        "## Parameters",
        "",
        "| name | type | default | what it does |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{port.name}` | {_TYPES[port.type]} | {_default(port)} | {_cell(port.description)} |"
        for port in interface.of_kind("parameter")
    ]
    return "\n".join(lines) + "\n"


def _port(argument: ast.arg, default: ast.expr | None, texts: dict[str, str]) -> Port:
    annotation = ast.unparse(argument.annotation) if argument.annotation else "str"
    text, required = texts.get(argument.arg, ""), default is None
    if match := re.fullmatch(r"(Input|Output)\[(\w+)\]", annotation):
        return Port(argument.arg, match[1].lower(), match[2], text, required)
    value = None if default is None else ast.literal_eval(default)
    return Port(argument.arg, "parameter", annotation, text, required, value)


def _docstring(text: str) -> tuple[str, str, dict[str, str]]:
    """Splits a Google docstring into its summary, its description and its arguments."""
    head, _, arguments = text.partition("\nArgs:\n")
    summary, _, description = head.strip().partition("\n\n")
    texts: dict[str, str] = {}
    for match in re.finditer(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", arguments, re.MULTILINE):
        texts[match[1]] = " ".join(match[2].split())
    return summary, " ".join(description.split()), texts


def _default(port: Port) -> str:
    return "required" if port.required else f"`{port.default!r}`".replace("'", '"')


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
