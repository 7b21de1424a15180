"""Compiles pipelines written in Python to KFP's PipelineSpec YAML, which every runner reads.

The file's header names what it was made from: the images, the digests of the source and of the
neighbours that it imports, and the names of the others, which it may come to import. So a glance
at them shows whether the file is up to date.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from millrace import images, modules
from millrace.authoring import caching
from millrace.errors import DataError, ModuleError, PipelineError
from millrace.images import Image
from millrace.storage import digest, paths
from millrace.version import __version__

SOURCE, COMPILED = "pipeline.py", "pipeline.yaml"
_HEADER = "# Compiled from pipeline.py by `millrace compile`. Edit that instead."
_IMAGES, _FILES, _BESIDE, _FORMAT = "images", "files", "beside", "format"
_FORMAT_VERSION = 2  # the version of the compiler's output
_DIGITS = 16  # digits of a source's digest


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


def is_fresh(source: Path) -> bool:
    """Returns whether the compiled file beside a source is what the source compiles to here.

    A file from another compiler is taken as it is.
    """
    try:
        with source.with_name(COMPILED).open(encoding="utf-8") as file:
            header, said = file.readline().rstrip(), file.readline()
    except FileNotFoundError:
        return False
    except (OSError, ValueError):  # its reader will report why
        return True
    if header != _HEADER:
        return True
    try:
        made_from = json.loads(said.removeprefix("#"))
    except ValueError:
        return False
    files = made_from.get(_FILES) if isinstance(made_from, dict) else None
    if not isinstance(files, dict):
        return False
    imported = {name: source.parent / name for name in files}
    return bool(made_from == _ingredients(source, imported, images.PREFIX, __version__))


def compile_file(
    path: Path,
    output: Path | None = None,
    prefix: str = images.PREFIX,
    tag: str = __version__,
) -> Path:
    """Compiles a pipeline and returns the file it was compiled to.

    Args:
        path: `pipeline.py`, or the folder that holds it.
        output: Where to write; `pipeline.yaml` beside the source if None. That is remade by
            `millrace run` for the images of this version: those of others need another file.
        prefix: The registry and repository that the image names begin with.
        tag: The tag of the images.

    Raises:
        ModuleError: The source cannot be imported.
        PipelineError: It defines no pipeline, or more than one, or KFP rejects it; or the output
            cannot be written.
    """
    source = source_of(path)
    if output is None and (prefix, tag) != (images.PREFIX, __version__):
        raise PipelineError(
            f"Name a file for {prefix}-*:{tag} with --output: {source.with_name(COMPILED)} is what "
            "`millrace run` makes for the images of this version."
        )
    way_out = (
        f" `millrace compile {source} --output FILE` writes elsewhere; run FILE in the pipeline's "
        "folder, where its paths lead."
        if output is None
        else ""
    )
    output = output or source.with_name(COMPILED)
    if paths.is_folder(output):
        raise PipelineError(f"{output} is a folder: name a file, such as {output / COMPILED}.")
    text = compile_text(source, prefix, tag)
    partial = output.with_name(f"{output.name}.{os.getpid()}.tmp")  # others may compile it too
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(output)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise PipelineError(f"Cannot write {output}: {error.strerror}.{way_out}") from error
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
    source = paths.absolute(source)
    pipeline, imported = _pipeline_in(source, GraphComponent)
    # KFP's own writer breaks on a default of several lines, in the summary that it puts on top.
    documents = [json_format.MessageToDict(pipeline.pipeline_spec)]
    platforms = json_format.MessageToDict(pipeline.platform_spec)
    if platforms:
        documents.append(platforms)
    caching.restrict(documents[0], platforms)
    _name_images(documents[0], prefix, tag)
    _unwrap_descriptions(documents[0])
    made_from = json.dumps(_ingredients(source, imported, prefix, tag), ensure_ascii=False)
    text = yaml.dump_all(documents, Dumper=_Dumper, allow_unicode=True, width=100)
    return f"{_HEADER}\n# {made_from}\n{text}"


def refused_by_kfp(compiled: Path) -> list[str]:
    """Returns warnings about features that KFP's open-source backend does not have."""
    with compiled.open(encoding="utf-8") as file:
        spec = next(iter(yaml.load_all(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))))
    return [
        f'"{name}" loops over a list of artifacts, which KFP\'s open-source backend refuses: loop '
        "over a parameter there, such as a list of addresses."
        for name, task in caching.tasks_of(spec)
        if "artifactIterator" in task
    ]


def _ingredients(
    source: Path, imported: Mapping[str, Path], prefix: str, tag: str
) -> dict[str, Any]:
    """Returns the sources of a compiled file."""
    files = {source.name: source, **imported}
    beside = {path.name for path in source.parent.glob("*.py") if path.stem.isidentifier()}
    return {
        _FORMAT: _FORMAT_VERSION,
        _IMAGES: images.name(Image.CORE, prefix, tag),
        _FILES: {name: _digest(path) for name, path in sorted(files.items())},
        _BESIDE: sorted(beside - files.keys()),
    }


def _digest(path: Path) -> str:
    """Returns the beginning of a file's digest, or an empty string if it cannot be read."""
    try:
        return digest.of_file(path).hexdigest[:_DIGITS]
    except (DataError, ValueError):  # paths cannot contain NUL
        return ""


def _pipeline_in(source: Path, kind: type) -> tuple[Any, dict[str, Path]]:
    """Returns the one pipeline that a source file defines, and the files there that it imports."""
    known, places = set(sys.modules), list(sys.path)
    sys.path.insert(0, str(source.parent))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = modules.load(str(source))
    except ModuleError as error:
        where = modules.where(error.__cause__, str(source)) if error.__cause__ else ""
        message = " ".join(str(error).split())  # some of kfp's messages have several lines
        raise PipelineError(f"{message.removesuffix('.')}{where}.") from error
    except SystemExit as error:
        where = modules.where(error, str(source))
        raise PipelineError(f"{source} ends Python{where} and defines no pipeline.") from error
    finally:
        sys.path[:] = places  # whatever the source did to them
        imported = _imported(source.parent, known)
    found = {name: value for name, value in vars(module).items() if isinstance(value, kind)}
    found = {name: value for name, value in found.items() if not _is_within(value, found)}
    if len(found) != 1:
        names = f"{len(found)}: {', '.join(found)}" if found else "none"
        raise PipelineError(f"{source} must define one @dsl.pipeline, and defines {names}.")
    return found.popitem()[1], imported


def _is_within(pipeline: Any, pipelines: Mapping[str, Any]) -> bool:
    """Returns whether a pipeline is a task of another of them."""
    name = f"comp-{pipeline.name}"
    return any(
        other is not pipeline and other.pipeline_spec.components[name].HasField("dag")
        for other in pipelines.values()
        if name in other.pipeline_spec.components
    )


def _imported(folder: Path, known: set[str]) -> dict[str, Path]:
    """Returns the files of the modules that lie in a folder, by their path there.

    Newly imported ones are unloaded, since the next pipeline may have others of the same names.
    """
    files = {}
    for name, module in list(sys.modules.items()):
        file = Path(getattr(module, "__file__", None) or "")
        if not file.is_relative_to(folder) or (name in known and "." in name):
            continue
        within = file.relative_to(folder)
        if "site-packages" not in within.parts:
            files[within.as_posix()] = file
            if name not in known:
                del sys.modules[name]
    return files


def _name_images(spec: dict[str, Any], prefix: str, tag: str) -> None:
    """Gives the steps' images their prefix and tag."""
    renamed = {images.name(image): images.name(image, prefix, tag) for image in Image}
    for executor in spec["deploymentSpec"]["executors"].values():
        container = executor.get("container", {})
        container["image"] = renamed.get(container.get("image"), container.get("image"))


def _unwrap_descriptions(node: Any) -> None:
    """Joins the lines of descriptions for KFP's forms, as KFP keeps a docstring's line breaks."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "description" and isinstance(value, str):
                node[key] = " ".join(value.split())
            else:
                _unwrap_descriptions(value)


class _Dumper(yaml.SafeDumper):
    """Writes multi-line strings as blocks, which keeps queries readable."""


def _block(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    )


_Dumper.add_representer(str, _block)
