"""Checks the structure and field types of a compiled pipeline before it is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import yaml

from millrace.errors import PipelineError

_DEEPEST = 100  # levels of nesting; Python's own limit is near 1,000
_MOST = 1_000_000  # nodes, with every alias expanded

# The fields of PipelineSpec by type; the others are objects, or are not read.
_MAPS = ("components", "executors", "tasks", "parameters", "artifacts")  # of objects, by name
_FREE = ("defaultValue", "constant", "metadata")
_TEXT = {
    *("name", "image", "value", "description", "executorLabel", "parameterType", "cacheKey"),
    *("schemaTitle", "schemaVersion", "condition", "strategy", "runtimeParameter"),
    *("producerTask", "producerSubtask", "outputParameterKey", "outputArtifactKey"),
    *("componentInputParameter", "componentInputArtifact", "parameterExpressionSelector"),
    *("raw", "inputParameter", "inputArtifact", "itemInput"),
}
_TEXTS = ("command", "args", "dependentTasks")
_OBJECTS = ("env", "artifactSelectors", "parameterSelectors")
_BOOLEANS = ("isOptional", "isArtifactList", "enableCache", "reimport")


@dataclasses.dataclass
class _Open:
    """A list or mapping whose end is not read yet; `keys` is None for a list."""

    anchor: str | None
    outer: int  # the size of what is around it, so far
    keys: set[str] | None
    at_key: bool = True

    def enter(self, event: Any) -> None:
        """Takes the next node of it, and rejects a key that it already has."""
        if self.keys is None:
            return
        if self.at_key and isinstance(event, yaml.ScalarEvent):
            if event.value in self.keys:
                mark: Any = event.start_mark
                raise PipelineError(
                    f'the key "{event.value}" in line {mark.line + 1} is there twice'
                )
            self.keys.add(event.value)
        self.at_key = not self.at_key


def check_yaml(content: bytes, loader: Any) -> None:
    """Rejects YAML that is far larger or deeper than any pipeline, or is ambiguous.

    Raises:
        PipelineError: It is nested too deeply, contains itself, is too large, or has a key twice.
        yaml.YAMLError: It is not YAML.
    """
    sizes: dict[str, int] = {}
    path: list[_Open] = []
    size = 0  # of the nodes that are open
    for event in yaml.parse(content, Loader=loader):
        anchor = getattr(event, "anchor", None)
        if path and isinstance(event, yaml.NodeEvent):
            path[-1].enter(event)
        if isinstance(event, yaml.AliasEvent):
            if anchor not in sizes:
                raise PipelineError(f"the YAML alias *{anchor} is inside its own node")
            size += sizes[anchor]
        elif isinstance(event, yaml.ScalarEvent):
            size += 1
            sizes |= {anchor: 1} if anchor else {}
        elif isinstance(event, yaml.CollectionStartEvent):
            is_map = isinstance(event, yaml.MappingStartEvent)
            path.append(_Open(anchor, size, set() if is_map else None))
            size = 1
        elif isinstance(event, yaml.CollectionEndEvent):
            ended = path.pop()
            sizes |= {ended.anchor: size} if ended.anchor else {}
            size += ended.outer
        if len(path) > _DEEPEST:
            raise PipelineError(f"it is nested more than {_DEEPEST} levels deep")
        if size > _MOST:
            raise PipelineError(f"it has more than {_MOST:,} values")


def check_message(spec: Any, where: str = "the pipeline") -> None:
    """Rejects a PipelineSpec message with a field of the wrong type.

    Raises:
        PipelineError: The message names the field and its value.
    """
    _need(spec, Mapping, "an object", where)
    for key, value in spec.items():
        at = f"{where}, {key}"
        if key in _MAPS:
            _need(value, Mapping, "an object", at)
            for name, entry in value.items():
                _need(name, str, "text", f"a name in {at}")
                check_message(entry, f"{at}, {name}")
        elif key in _TEXT:
            _need(value, str, "text", at)
        elif key in _BOOLEANS:
            _need(value, bool, "true or false", at)
        elif key in _TEXTS or key in _OBJECTS:
            _need(value, list, "a list", at)
            for entry in value:
                if key in _TEXTS:
                    _need(entry, str, "text", f"an item of {at}")
                else:
                    check_message(entry, f"an item of {at}")
        elif isinstance(value, Mapping) and key not in _FREE:
            check_message(value, at)


def _need(value: Any, kind: type, what: str, where: str) -> None:
    if not isinstance(value, kind):
        shown = repr(value)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        raise PipelineError(f"{where}: it must be {what}, and is {shown}")
