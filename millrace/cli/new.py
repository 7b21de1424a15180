"""`millrace new`: a pipeline of one's own, from a template that runs as created."""

from __future__ import annotations

import re
from pathlib import Path

from millrace.errors import ParameterError

_TEMPLATE = Path(__file__).parents[1] / "template"
_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


def create(name: str, folder: Path) -> None:
    """Makes the folder of a new pipeline.

    Args:
        name: The pipeline's name: small letters, digits, `-` and `_`.
        folder: Where the pipeline's own folder is made.

    Raises:
        ParameterError: The name cannot be a pipeline's, or there is something of that name.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from rich.console import Console

    if not _NAME.fullmatch(name):
        raise ParameterError(
            f'"{name}" cannot name a pipeline: use small letters and digits, with - or _ between.'
        )
    target = folder / name
    if target.exists():
        raise ParameterError(f"There is a {target} already.")
    templates = Environment(  # noqa: S701 - it makes Python, not pages
        loader=FileSystemLoader(_TEMPLATE), undefined=StrictUndefined, keep_trailing_newline=True
    )
    files = {
        path.name.removesuffix(".j2"): templates.get_template(path.name).render(
            name=name, function=name.replace("-", "_")
        )
        if path.suffix == ".j2"
        else path.read_text(encoding="utf-8")
        for path in sorted(_TEMPLATE.iterdir())
    }
    target.mkdir(parents=True)
    for file, text in files.items():
        (target / file).write_text(text, encoding="utf-8")
    console = Console(soft_wrap=True, highlight=False)
    for file in files:
        console.print(f"  {target / file}")
    console.print(f"Run it with: [bold]millrace run {target}[/bold]")
