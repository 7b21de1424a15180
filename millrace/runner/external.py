"""Parameters that name what is outside: `*_uri` and `*_file` are read, `*_destination` is written.

The cache knows what is read by its content, not by its name; containers get it mounted.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from millrace.artifacts import Dataset
from millrace.backends.sources import Sources
from millrace.lineage.nodes import ArtifactRecord
from millrace.storage import external_files
from millrace.storage.digest import Digest
from millrace.storage.digest_cache import DigestCache
from millrace.storage.paths import expanded, is_file, is_folder, local

_READ, _WRITTEN = ("_uri", "_file"), ("_destination",)
_MODULE = "module"


def is_read(name: str) -> bool:
    """Tells whether a parameter of that name says what to read."""
    return name.endswith(_READ)


def is_written(name: str) -> bool:
    """Tells whether a parameter of that name says where to write."""
    return name.endswith(_WRITTEN)


def absolute(name: str, value: Any, folders: tuple[Path, ...]) -> Any:
    """Returns a value with a relative local path made absolute.

    It is looked for in the folders in turn, and taken to be in the last if none has it. A `*_file`
    may also be the dotted name of a module, which stays as it is.
    """
    if not isinstance(value, str) or not value or not (is_read(name) or is_written(name)):
        return value
    value = local(value)
    if "://" in value or "{{$" in value:
        return value
    path = expanded(value)
    for folder in folders:
        if external_files.matches(folder / path):
            return os.path.normpath(folder / path)
    if name.endswith("_file") and not value.endswith(".py") and "/" not in value:
        return value
    return os.path.normpath(folders[-1] / path)


@dataclasses.dataclass(frozen=True)
class Content:
    """What a parameter names.

    Attributes:
        identity: What stands for it in the cache's fingerprint.
        path: The file, folder or pattern that it is on this machine; None for a dotted name.
        digest: The digest of what lies there.
    """

    identity: Mapping[str, str]
    path: Path | None = None
    digest: Digest | None = None

    @property
    def code(self) -> str:
        """The digest of a module with what it imports; empty if it is none."""
        return self.identity.get(_MODULE, "")


Contents: TypeAlias = Mapping[str, Content]


def contents(
    parameters: Mapping[str, Any], memo: DigestCache, sources: Sources, imports_here: bool
) -> Contents:
    """Returns what parameters name, if it lies on this machine.

    Args:
        parameters: A task's parameters.
        memo: Remembers the digests of files.
        sources: Finds the code of modules that parameters name.
        imports_here: Whether the step imports such modules from this machine.
    """
    found = {
        name: _content(name, local(value), memo, sources, imports_here)
        for name, value in parameters.items()
        if is_read(name) and isinstance(value, str) and value and "://" not in local(value)
    }
    return {name: content for name, content in found.items() if content is not None}


def changed(
    before: Contents, now: Contents, parameters: Mapping[str, Any], code: bool
) -> list[str]:
    """Returns the parameters that name something else than before.

    A folder that the step itself has written to, as another parameter says, is not among them.

    Args:
        before: The contents then.
        now: The contents now.
        parameters: The task's parameters.
        code: Whether modules count.
    """
    written = [path for path, is_to_write in mounts(parameters) if is_to_write]
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
    """Returns the local files, folders and patterns that parameters name, as artifacts.

    What was read at an address that is not local stands in the parameters only.
    """
    return {
        name: ArtifactRecord(
            content.path.name,
            str(content.path),
            Dataset.schema_title,
            Dataset.schema_version,
            content.digest.metadata(),
        )
        for name, content in contents.items()
        if content.path is not None and content.path.is_absolute() and content.digest is not None
    }


def _content(
    name: str, value: str, memo: DigestCache, sources: Sources, imports_here: bool
) -> Content | None:
    path = Path(value)
    if name.endswith("_file") and path.suffix != ".py" and not path.is_absolute():
        code = sources.of_module(value) if imports_here else None  # else it is in the image
        return Content({_MODULE: code}) if code else None
    if not external_files.matches(path):
        return None
    digest = memo.outside(path)
    if name.endswith("_file") and path.suffix == ".py":
        return Content({_MODULE: sources.of_module(value) or digest.hexdigest}, path, digest)
    if is_file(path):
        return Content({"file": digest.hexdigest, "name": path.name}, path, digest)
    return Content({"folder" if is_folder(path) else "glob": digest.hexdigest}, path, digest)


def mounts(parameters: Mapping[str, Any]) -> Iterator[tuple[Path, bool]]:
    """Yields the local paths that parameters name, and whether each is written."""
    for name, value in parameters.items():
        if not isinstance(value, str) or not value or "://" in local(value):
            continue
        path = Path(local(value))
        if not path.is_absolute():
            continue
        if is_written(name):
            yield path, True
        elif is_read(name):
            path = external_files.beginning(path)
            # A module imports its neighbours.
            yield (path.parent if path.suffix == ".py" else path), False
