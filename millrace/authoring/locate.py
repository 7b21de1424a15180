"""Finds the compiled file of a pipeline, by the name of a packaged one or by path."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from millrace.authoring import compiler
from millrace.authoring.compiler import COMPILED, SOURCE
from millrace.errors import PipelineError, nearest
from millrace.storage import paths

_PACKAGE = "millrace.pipelines"


def locate(pipeline: str) -> Path:
    """Returns the compiled file of a pipeline; compiles a user's first if it is out of date.

    Args:
        pipeline: The name of a packaged one, a compiled YAML file, `pipeline.py` or its folder.

    Raises:
        PipelineError: There is none, or it cannot be compiled.
    """
    path = paths.expanded(pipeline)
    if path.suffix in (".yaml", ".yml", ".json"):
        if not paths.is_file(path):
            raise PipelineError(f"There is no file {path}.")
        return path.resolve()
    if path.suffix == ".py":
        return _compiled(path)
    ours = packaged()
    if pipeline in ours:
        return ours[pipeline] / COMPILED
    if paths.is_file(path / SOURCE) or paths.is_file(path / COMPILED):
        return _compiled(path / SOURCE)
    if paths.is_folder(path):
        raise PipelineError(f"There is no {SOURCE} and no {COMPILED} in {path}.")
    raise PipelineError(
        f'There is no pipeline "{pipeline}".{nearest(pipeline, ours)} '
        f"Millrace brings {', '.join(sorted(ours))}; `millrace new` makes one of your own."
    )


def packaged() -> dict[str, Path]:
    """Returns the folders of the packaged pipelines, by name."""
    spec = importlib.util.find_spec(_PACKAGE)
    places = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
    return {
        folder.name: folder
        for place in places
        for folder in sorted(Path(place).iterdir())
        if (folder / COMPILED).is_file()
    }


def _compiled(source: Path) -> Path:
    """Returns the compiled file beside a source; compiles it first if it is out of date."""
    compiled = source.with_name(COMPILED)
    if paths.is_file(compiled) and not paths.is_file(source):
        return compiled.resolve()
    if not paths.is_file(source):
        raise PipelineError(f"There is no file {source}.")
    if not compiler.is_fresh(source):
        compiler.compile_file(source)
    return compiled.resolve()
