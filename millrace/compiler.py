"""Compiles pipelines written in Python to KFP's PipelineSpec YAML, which every runner reads."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import yaml

from millrace import images, modules, paths
from millrace.errors import ModuleError, PipelineError
from millrace.images import Image
from millrace.version import __version__

SOURCE, COMPILED = "pipeline.py", "pipeline.yaml"
HEADER = "# Compiled from pipeline.py by `millrace compile`. Edit that instead.\n"


def source_of(path: Path) -> Path:
    """Returns the Python file of a pipeline, given it or its folder.

    Raises:
        PipelineError: There is none.
    """
    source = path / SOURCE if paths.is_folder(path) else path
    if not paths.is_file(source):
        raise PipelineError(f"There is no {source}: `millrace new {path.stem}` would make one.")
    if source.suffix != ".py":
        raise PipelineError(f"{source} is no Python file: name a pipeline.py, or its folder.")
    return source


def is_stale(source: Path) -> bool:
    """Tells whether a pipeline's compiled file is missing or older than its source."""
    compiled = source.with_name(COMPILED)
    return not compiled.exists() or compiled.stat().st_mtime_ns < source.stat().st_mtime_ns


def compile_file(
    path: Path,
    output: Path | None = None,
    prefix: str = images.PREFIX,
    tag: str = __version__,
) -> Path:
    """Compiles a pipeline and returns the file it was compiled to.

    Args:
        path: `pipeline.py`, or the folder that holds it.
        output: Where to write; `pipeline.yaml` beside the source if None.
        prefix: The registry and repository that the image names begin with.
        tag: The tag of the images.

    Raises:
        ModuleError: The source cannot be imported.
        PipelineError: It defines no pipeline, or more than one, or KFP refuses it; or the output
            cannot be written.
    """
    source = source_of(path)
    output = output or source.with_name(COMPILED)
    text = compile_text(source, prefix, tag)
    partial = output.with_name(f"{output.name}.{os.getpid()}.tmp")  # others may compile it too
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(output)
    except OSError as error:
        raise PipelineError(f"Cannot write {output}: {error.strerror}.") from error
    return output


def compile_text(source: Path, prefix: str = images.PREFIX, tag: str = __version__) -> str:
    """Compiles a pipeline and returns the YAML."""
    try:
        from google.protobuf import json_format
        from kfp.dsl.graph_component import GraphComponent
    except ModuleNotFoundError:
        raise PipelineError(
            f"Compiling {source} needs kfp: pip install 'millrace[compile]'."
        ) from None
    pipeline = _pipeline_in(source, GraphComponent)
    # KFP's own writer breaks on a default of several lines, in the summary that it puts on top.
    documents = [json_format.MessageToDict(pipeline.pipeline_spec)]
    if platform := json_format.MessageToDict(pipeline.platform_spec):
        documents.append(platform)
    _name_images(documents[0], prefix, tag)
    _unwrap_descriptions(documents[0])
    return HEADER + yaml.dump_all(documents, Dumper=_Dumper, allow_unicode=True, width=100)


def _pipeline_in(source: Path, kind: type) -> Any:
    """Returns the one pipeline that a source file defines."""
    sys.path.insert(0, str(source.parent))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = modules.load(str(source))
    except ModuleError as error:
        raise PipelineError(str(error)) from error
    finally:
        sys.path.remove(str(source.parent))
    found = {name: value for name, value in vars(module).items() if isinstance(value, kind)}
    if len(found) != 1:
        names = f"{len(found)}: {', '.join(found)}" if found else "none"
        raise PipelineError(f"{source} must define one @dsl.pipeline, and defines {names}.")
    return found.popitem()[1]


def _name_images(spec: dict[str, Any], prefix: str, tag: str) -> None:
    """Gives the steps' images their prefix and tag."""
    renamed = {images.name(image): images.name(image, prefix, tag) for image in Image}
    for executor in spec["deploymentSpec"]["executors"].values():
        container = executor.get("container", {})
        container["image"] = renamed.get(container.get("image"), container.get("image"))


def _unwrap_descriptions(node: Any) -> None:
    """Puts every description on one line, as forms show it: KFP keeps a docstring's line breaks."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "description" and isinstance(value, str):
                node[key] = " ".join(value.split())
            else:
                _unwrap_descriptions(value)


class _Dumper(yaml.SafeDumper):
    """Writes strings of several lines as blocks, so that a query reads as it was written."""


def _block(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    )


_Dumper.add_representer(str, _block)
