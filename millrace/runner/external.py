"""Data outside the pipeline that steps declare to read, import or write.

The cache compares such data by content, not by name, and containers get it mounted. Only the
parameters that a step declares count; nothing is guessed about other people's components.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from millrace.artifacts import Dataset
from millrace.backends.sources import Sources
from millrace.ir import spec as ir
from millrace.ir.declared import Declared, declared
from millrace.lineage.nodes import ArtifactRecord
from millrace.storage import external_files
from millrace.storage.digest import Digest
from millrace.storage.digest_cache import DigestCache
from millrace.storage.paths import expanded, is_file, is_folder, local

_MODULE = "module"


def of(component: ir.Component) -> Declared:
    """Returns what a component declares: nothing if it is not a step of ours."""
    body = component.body
    return declared((*body.command, *body.args)) if isinstance(body, ir.Container) else Declared()


def root_parameters(pipeline: ir.Pipeline) -> Declared:
    """Returns the pipeline's parameters that are passed to declared parameters of its steps."""
    found: dict[str, set[str]] = {"reads": set(), "modules": set(), "writes": set()}

    def follow(dag: ir.Dag, names: Mapping[str, str]) -> None:
        """Follows the root's parameters, which have other names within the DAG."""
        for task in dag.tasks.values():
            handed = {
                name: names[source.name]
                for name, source in task.parameters.items()
                if isinstance(source, ir.FromInput) and source.name in names
            }
            if isinstance(task.component.body, ir.Dag):
                follow(task.component.body, handed)
            for field, known in found.items():
                known |= {
                    handed[name] for name in getattr(of(task.component), field) if name in handed
                }

    follow(pipeline.dag, {name: name for name in pipeline.root.parameters})
    reads, modules, writes = (tuple(sorted(names)) for names in found.values())
    return Declared(reads, modules, writes)


def absolute(
    names: Declared, parameters: Mapping[str, Any], folders: Mapping[str, tuple[Path, ...]]
) -> dict[str, Any]:
    """Returns parameters with the relative local paths in declared ones made absolute.

    Folders are searched for a path in turn; if none has it, it is taken to be in the last. A module
    may also be a dotted name, which stays as it is.

    Args:
        names: What is declared.
        parameters: The parameters.
        folders: The folders that each parameter's path may be relative to.
    """
    result = dict(parameters)
    for name in (*names.reads, *names.modules, *names.writes):
        value = result.get(name)
        if isinstance(value, str) and value:
            result[name] = _absolute(value, name in names.modules, folders[name])
    return result


def _absolute(value: str, is_module: bool, folders: tuple[Path, ...]) -> str:
    value = local(value)
    if "://" in value or "{{$" in value:
        return value
    path = expanded(value)
    for folder in folders:
        if external_files.matches(folder / path):
            return os.path.normpath(folder / path)
    if is_module and not value.endswith(".py") and "/" not in value:
        return value
    return os.path.normpath(folders[-1] / path)


@dataclasses.dataclass(frozen=True)
class Content:
    """The data or code that a parameter names.

    Attributes:
        identity: Its part in the cache's fingerprint.
        path: The file, folder or pattern on this machine; None for a dotted name.
        digest: The digest of its content.
        uri: Its URI in an object store; empty if it is local.
    """

    identity: Mapping[str, str]
    path: Path | None = None
    digest: Digest | None = None
    uri: str = ""

    @property
    def code(self) -> str:
        """The digest of a module and its imports; empty for data."""
        return self.identity.get(_MODULE, "")


Contents: TypeAlias = Mapping[str, Content]


def contents(
    names: Declared,
    parameters: Mapping[str, Any],
    digests: DigestCache,
    sources: Sources,
    imports_here: bool,
) -> Contents:
    """Returns the contents that declared parameters name, local or in an object store.

    Args:
        names: What the step declares.
        parameters: Its parameters.
        digests: Remembers the digests of files.
        sources: Finds the code of modules that parameters name.
        imports_here: Whether the step imports such modules from this machine.

    Raises:
        StorageError: Data in an object store cannot be read.
    """
    found: dict[str, Content | None] = {}
    for name in (*names.reads, *names.modules):
        value = parameters.get(name)
        if not isinstance(value, str) or not value:
            continue
        value = local(value)
        if "://" in value:
            found[name] = None if name in names.modules else _remote(value, digests)
        else:
            found[name] = _content(name in names.modules, value, digests, sources, imports_here)
    return {name: content for name, content in found.items() if content is not None}


def _remote(uri: str, digests: DigestCache) -> Content:
    from millrace.storage import location, store

    digest = store.digest(uri, digests)
    kind = "folder" if digest.files else "file"
    return Content(_identity(kind, digest, Path(location.name(uri))), None, digest, uri)


def _identity(kind: str, digest: Digest, path: Path) -> dict[str, str]:
    """Returns the identity of data in a fingerprint: its content, and its format by its name."""
    endings = "".join(path.suffixes[-2:]).lower() if kind == "file" else ""
    return {kind: digest.hexdigest, "format": endings}


def changed(
    names: Declared, before: Contents, now: Contents, parameters: Mapping[str, Any], code: bool
) -> list[str]:
    """Returns the parameters whose content has changed.

    A folder that the step itself writes to, according to another parameter, is not among them.

    Args:
        names: What the step declares.
        before: The contents then.
        now: The contents now.
        parameters: The task's parameters.
        code: Whether modules count.
    """
    written = [path for path, is_to_write in mounts(names, parameters) if is_to_write]
    return [
        name
        for name, content in before.items()
        if now.get(name) != content
        and (code or not content.code)
        and not any(
            path.is_relative_to(external_files.beginning(Path(local(parameters[name]))))
            for path in written
        )
    ]


def datasets(contents: Contents) -> dict[str, ArtifactRecord]:
    """Returns the files, folders and patterns that parameters name, as artifacts."""
    return {
        name: ArtifactRecord(
            place.rstrip("/").rpartition("/")[2],
            place,
            Dataset.schema_title,
            Dataset.schema_version,
            content.digest.metadata(),
        )
        for name, content in contents.items()
        if content.digest is not None and (place := _place(content))
    }


def _place(content: Content) -> str:
    """Returns the absolute path or the URI of data, if it has one that can be recorded."""
    if content.path is not None and content.path.is_absolute():
        return str(content.path)
    return content.uri


def _content(
    is_module: bool, value: str, digests: DigestCache, sources: Sources, imports_here: bool
) -> Content | None:
    path = Path(value)
    if is_module and path.suffix != ".py" and not path.is_absolute():
        code = sources.of_module(value) if imports_here else None  # otherwise it is in the image
        return Content({_MODULE: code}) if code else None
    path = external_files.as_glob(path)
    if not external_files.matches(path):
        return None
    digest = digests.outside(path)
    if is_module and path.suffix == ".py":
        return Content({_MODULE: sources.of_module(value) or digest.hexdigest}, path, digest)
    if is_file(path):
        return Content(_identity("file", digest, path), path, digest)
    return Content(_identity("folder" if is_folder(path) else "glob", digest, path), path, digest)


def mounts(names: Declared, parameters: Mapping[str, Any]) -> Iterator[tuple[Path, bool]]:
    """Yields the local paths that declared parameters name, and whether each is written."""
    for name in (*names.reads, *names.modules, *names.writes):
        value = parameters.get(name)
        if not isinstance(value, str) or not value or "://" in local(value):
            continue
        path = Path(local(value))
        if not path.is_absolute():
            continue
        if name in names.writes:
            yield path, True
        else:
            path = external_files.beginning(path)
            # A module imports its neighbours.
            yield (path.parent if path.suffix == ".py" else path), False
