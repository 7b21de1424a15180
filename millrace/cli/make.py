"""`millrace new` and `millrace compile`: create a pipeline's files, and compile them."""

from __future__ import annotations

from pathlib import Path

import click

from millrace.cli import output


def compiled(
    pipeline: Path, target: Path | None, image_prefix: str, image_tag: str, as_json: bool
) -> None:
    """Compiles a pipeline, and prints where its YAML lies.

    Raises:
        PipelineError: It cannot be compiled, or other images are given without a target file.
    """
    from millrace.authoring import compiler

    path = compiler.compile_file(pipeline, target, image_prefix, image_tag)
    refused = compiler.refused_by_kfp(path)
    if as_json:
        output.as_json({"pipeline": str(pipeline), "compiled": str(path), "warnings": refused})
        return
    for warning in refused:
        click.secho(f"warning: {warning}", fg="yellow", err=True)
    output.console().print(str(path), soft_wrap=True)


def new(name: str, folder: Path, is_step: bool, as_json: bool) -> None:
    """Creates a pipeline or step, and prints its files and what to do next.

    Args:
        name: The name of the pipeline or step, and of its folder.
        folder: Where that folder is made.
        is_step: Whether to create a step.
        as_json: Whether to print JSON.

    Raises:
        ParameterError: The name is not valid, or is taken.
    """
    from millrace.authoring import scaffold

    files = (scaffold.step if is_step else scaffold.pipeline)(name, folder)
    target = folder / name
    if as_json:
        kind = "step" if is_step else "pipeline"
        output.as_json({kind: str(target), "files": [str(file) for file in files]})
        return
    console = output.console()
    for file in files:
        console.print(f"  {file}", soft_wrap=True)
    for line in _next_for_step(name, files) if is_step else [f"Run it with: millrace run {target}"]:
        console.print(line, soft_wrap=True)


def _next_for_step(name: str, files: list[Path]) -> list[str]:
    """Returns hints about what to do with a new step."""
    test = files[-1]
    if test.parent == files[0].parent:
        return [
            f"Test it with: python -m pytest {test}",
            f"Use it in a pipeline.py beside it: from {name}.component import {name}",
        ]
    return [
        f"Test it with: python -m pytest {test}",
        f'Add "{name}" to LIFECYCLE in {files[0].parents[1] / "__init__.py"}',
    ]
