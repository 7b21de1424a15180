"""The interface of every step, read from its `component.py` without importing it or KFP."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from millrace.errors import ParameterError, nearest
from millrace.images import PREFIX, Image

_TYPES = {"str": "text", "int": "integer", "float": "number", "bool": "true or false"}
_TYPES |= {"list": "list", "dict": "object"}
# The declarations of parameters in `@step(…)`, and their descriptions.
_USES = {
    "reads": "reads external data",
    "modules": "loads external code",
    "writes": "writes external data",
}


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
        use: The step's declaration of a parameter: `reads`, `modules`, `writes`, or empty.
    """

    name: str
    kind: str
    type: str
    description: str
    required: bool
    default: Any = None
    use: str = ""

    @property
    def details(self) -> str:
        """The description, with the step's declaration of the parameter."""
        return f"{self.description} ({_USES[self.use]})" if self.use else self.description


@dataclasses.dataclass(frozen=True)
class Interface:
    """A step as `component.py` declares it.

    Attributes:
        name: The step's name and folder, such as `example_gen`.
        image: The image that it runs in: one of Millrace's, such as `core`, or another's name.
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
        """The name in TFX's style, such as `ExampleGen`."""
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


def parse(path: Path, text: str | None = None) -> Interface:
    """Reads the interface that a `component.py` declares.

    Args:
        path: The file.
        text: Its text, if it is not written yet.

    Raises:
        ParameterError: It declares no step, or refers to a parameter that does not exist.
    """
    tree = ast.parse(path.read_text(encoding="utf-8") if text is None else text)
    function, decorator = _step_in(tree, path)
    summary, description, texts = _docstring(ast.get_docstring(function) or "")
    uses = _uses(decorator)
    arguments = function.args.args
    given = function.args.defaults
    defaults: list[ast.expr | None] = [*[None] * (len(arguments) - len(given)), *given]
    ports = tuple(
        _port(argument, default, texts, uses)
        for argument, default in zip(arguments, defaults, strict=True)
    )
    parameters = [port.name for port in ports if port.kind == "parameter"]
    for name, use in uses.items():
        if name not in parameters:
            raise ParameterError(
                f'{path}: {use}="{name}" names no parameter of {function.name}.'
                f"{nearest(name, parameters)}"
            )
    return Interface(function.name, _image(decorator.args[0]), summary, description, ports)


def _step_in(tree: ast.Module, path: Path) -> tuple[ast.FunctionDef, ast.Call]:
    """Returns the function that is a `component.py`'s step, and its decorator."""
    for node in tree.body:
        for decorator in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith("step"):
                assert isinstance(node, ast.FunctionDef)
                return node, decorator
    raise ParameterError(f"{path} declares no step: it needs a function with @step(Image.…).")


def _uses(decorator: ast.Call) -> dict[str, str]:
    """Returns the step's declarations of parameters, by name."""
    uses: dict[str, str] = {}
    for keyword in decorator.keywords:
        if keyword.arg in _USES:
            given = ast.literal_eval(keyword.value)
            uses |= dict.fromkeys([given] if isinstance(given, str) else given, keyword.arg)
    return uses


def _image(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    return ast.unparse(node).rpartition(".")[2].lower()


def differences(declared: Interface, run: Callable[..., Any]) -> list[str]:
    """Returns how the `run` of an executor differs from what `component.py` declares.

    Args:
        declared: What `component.py` declares.
        run: The executor's function.
    """
    hints = typing.get_type_hints(run, include_extras=True)
    parameters = inspect.signature(run).parameters
    names = [port.name for port in declared.ports]
    if list(parameters) != names:
        return [f"run({', '.join(parameters)}), where component.py has ({', '.join(names)})"]
    found = []
    for port in declared.ports:
        kind, type_ = _hinted(hints[port.name])
        default = parameters[port.name].default
        expected = inspect.Parameter.empty if port.required else port.default
        for what, run_has, has in (
            ("kind", kind, port.kind),
            ("type", type_, port.type),
            ("default", default, expected),
        ):
            if run_has != has:
                found.append(f'{what} of "{port.name}": {run_has!r}, and {has!r} in component.py')
    return found


def _hinted(hint: Any) -> tuple[str, str]:
    """Returns the kind and type of a port from its annotation in `run`."""
    if type(None) in typing.get_args(hint):
        hint = typing.get_args(hint)[0]  # Input[X] | None
    kind = "parameter"
    if typing.get_origin(hint) is typing.Annotated:
        hint, kind = typing.get_args(hint)
    return kind, getattr(typing.get_origin(hint) or hint, "__name__", str(hint))


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
        f"It runs in the image `{_image_name(interface.image)}`.",
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
        f"| `{port.name}` | {_TYPES[port.type]} | {_default(port)} | {_cell(port.details)} |"
        for port in interface.of_kind("parameter")
    ]
    return "\n".join(lines) + "\n"


def _image_name(image: str) -> str:
    return f"{PREFIX}-{image}" if image in [ours.value for ours in Image] else image


def _port(
    argument: ast.arg,
    default: ast.expr | None,
    texts: dict[str, str],
    uses: dict[str, str],
) -> Port:
    annotation = ast.unparse(argument.annotation) if argument.annotation else "str"
    text, required = texts.get(argument.arg, ""), default is None
    if match := re.fullmatch(r"(Input|Output)\[(\w+)\]", annotation):
        return Port(argument.arg, match[1].lower(), match[2], text, required)
    value = None if default is None else ast.literal_eval(default)
    use = uses.get(argument.arg, "")
    return Port(argument.arg, "parameter", annotation, text, required, value, use)


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
