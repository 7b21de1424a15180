"""`millrace steps`: the interfaces of the steps."""

from __future__ import annotations

import dataclasses
import json

from millrace.authoring import interface
from millrace.authoring.interface import Interface


def show(step: str | None, as_json: bool) -> None:
    """Prints a line for each step, or the whole interface of one."""
    found = [interface.of(name) for name in ([step] if step else interface.names())]
    if as_json:
        text = json.dumps(
            [dataclasses.asdict(each) for each in found], ensure_ascii=False, indent=1
        )
        print(text)  # noqa: T201
    elif step:
        _print_one(found[0])
    else:
        _print_all(found)


def _print_all(steps: list[Interface]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("step", "image", "what it does", box=None, pad_edge=False)
    for each in steps:
        table.add_row(each.name, each.image, each.summary)
    Console().print(table)


def _print_one(step: Interface) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    console.print(Text(f"{step.title} ({step.name}), image {step.image}", style="bold"))
    console.print(Text(f"{step.summary} {step.description}".strip()))
    for kind, heading in (("input", "inputs"), ("output", "outputs"), ("parameter", "parameters")):
        ports = step.of_kind(kind)
        if not ports:
            continue
        table = Table(heading, "type", "default", "", box=None, pad_edge=False)
        for port in ports:
            default = "" if kind == "output" or port.required else json.dumps(port.default)
            table.add_row(port.name, port.type, Text(default), Text(port.details))
        console.print()
        console.print(table)
