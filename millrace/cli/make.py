"""`millrace new` and `millrace compile`: a pipeline's own files, and the YAML made of them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import typer

from millrace.authoring import locate
from millrace.cli import output
from millrace.errors import ParameterError

_TEMPLATE = Path(locate.__file__).with_name("template")
_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


def compiled(
    pipeline: Path, target: Path | None, image_prefix: str, image_tag: str, as_json: bool
) -> None:
    """Compiles a pipeline, and prints where its YAML lies.

    Raises:
        PipelineError: It cannot be compiled, or images of the user's own have no file named.
    """
    from millrace.authoring import compiler

    path = compiler.compile_file(pipeline, target, image_prefix, image_tag)
    refused = compiler.refused_by_kfp(path)
    if as_json:
        output.as_json({"pipeline": str(pipeline), "compiled": str(path), "warnings": refused})
        return
    for warning in refused:
        typer.secho(f"warning: {warning}", fg="yellow", err=True)
    output.console().print(str(path), soft_wrap=True)


def new(name: str, folder: Path, as_json: bool) -> None:
    """Makes the folder of a new pipeline, and prints what is in it.

    Args:
        name: The pipeline's name: small letters, digits, `-` and `_`.
        folder: Where the pipeline's own folder is made.
        as_json: Whether to print JSON.

    Raises:
        ParameterError: The name cannot be a pipeline's, or there is something of that name.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    if not _NAME.fullmatch(name):
        raise ParameterError(
            f'"{name}" cannot name a pipeline: use small letters and digits, with - or _ between.'
        )
    if name in locate.packaged():
        raise ParameterError(
            f"`millrace run {name}` runs the {name} that Millrace brings: take another name."
        )
    target = folder / name
    if os.path.lexists(target):  # pathlib raises where a name is too long
        raise ParameterError(f"There is a {target} already.")
    templates = Environment(  # noqa: S701 - it makes Python, not pages
        loader=FileSystemLoader(_TEMPLATE), undefined=StrictUndefined, keep_trailing_newline=True
    )
    files = {
        path.name.removesuffix(".j2"): templates.get_template(path.name).render(name=name)
        if path.suffix == ".j2"
        else path.read_text(encoding="utf-8")
        for path in sorted(_TEMPLATE.iterdir())
    }
    try:
        target.mkdir(parents=True)
        for file, text in files.items():
            (target / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ParameterError(f"Cannot make {target}: {error.strerror}.") from error
    if as_json:
        output.as_json({"pipeline": str(target), "files": [str(target / file) for file in files]})
        return
    console = output.console()
    for file in files:
        console.print(f"  {target / file}", soft_wrap=True)
    console.print(f"Run it with: millrace run {target}", soft_wrap=True)
