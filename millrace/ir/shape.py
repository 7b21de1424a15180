"""Checks that a YAML file has the shape of a compiled pipeline before anything is read from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from millrace.errors import PipelineError

_DEEPEST = 100  # of what is nested; Python's own limit is near 1,000
_MOST = 1_000_000  # nodes, after every alias stands for a copy of what it names

# The fields of PipelineSpec by what they hold; the rest are objects, or nothing that is read.
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


def check_yaml(content: bytes, loader: Any) -> None:
    """Refuses YAML that would take more memory or depth than any pipeline does.

    Raises:
        PipelineError: It is nested too deeply, contains itself, or grows without measure.
        yaml.YAMLError: It is no YAML.
    """
    sizes: dict[str, int] = {}
    path: list[tuple[str | None, int]] = []
    size = 0  # of what is open
    for event in yaml.parse(content, Loader=loader):
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent):
            if anchor not in sizes:
                raise PipelineError(f"the YAML's *{anchor} stands within what it names")
            size += sizes[anchor]
        elif isinstance(event, yaml.ScalarEvent):
            size += 1
            sizes |= {anchor: 1} if anchor else {}
        elif isinstance(event, yaml.CollectionStartEvent):
            path.append((anchor, size))
            size = 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, around = path.pop()
            sizes |= {anchor: size} if anchor else {}
            size += around
        if len(path) > _DEEPEST:
            raise PipelineError(f"it is nested more than {_DEEPEST} levels deep")
        if size > _MOST:
            raise PipelineError(f"it has more than {_MOST:,} values")


def check_message(spec: Any, where: str = "the pipeline") -> None:
    """Refuses a message of PipelineSpec with a field of another type than it has there.

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
