"""Fills in KFP's placeholders: `{{$}}`, `{{$.…}}`, Concat and IfPresent.

The names are those of kfp.dsl and of
https://github.com/kubeflow/pipelines/blob/master/backend/src/v2/component/launcher_v2.go.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from millrace.artifacts import Artifact
from millrace.ir.text import text_of

_PLACEHOLDER = re.compile(r"\{\{\$((?:\.(?:(?!\}\}).)*)?)\}\}")
_PART = re.compile(r"\.(\w+)|\[(?:'([^']*)'|\"([^\"]*)\")\]")


def command(
    parts: Iterable[str],
    executor_input: Mapping[str, Any],
    context: Mapping[str, str],
    given: Collection[str],
) -> list[str]:
    """Returns a command with its placeholders filled in; a part may become any number of parts.

    Args:
        parts: The command and its arguments.
        executor_input: The task's ExecutorInput message.
        context: The values of placeholders such as `pipeline_job_name`.
        given: The inputs that the task was given. Only these count for IfPresent: a default of the
            component does not count, as in KFP.
    """
    result: list[str] = []
    for part in parts:
        if part.startswith(('{"Concat":', '{"IfPresent":')):
            result.extend(_structure(json.loads(part), executor_input, context, given))
        else:
            result.append(fill(part, executor_input, context))
    return result


def fill(text: str, executor_input: Mapping[str, Any], context: Mapping[str, str]) -> str:
    """Returns a text with every known placeholder in it filled in; others stay."""
    if "{{$" not in text:
        return text
    return _PLACEHOLDER.sub(lambda match: _value(match, executor_input, context), text)


def fill_value(value: Any, executor_input: Mapping[str, Any], context: Mapping[str, str]) -> Any:
    """Returns a JSON value with every known placeholder in its texts filled in."""
    if isinstance(value, str):
        return fill(value, executor_input, context)
    if isinstance(value, list):
        return [fill_value(item, executor_input, context) for item in value]
    if isinstance(value, Mapping):
        return {
            fill(key, executor_input, context): fill_value(item, executor_input, context)
            for key, item in value.items()
        }
    return value


def gives_path(parts: Iterable[str], name: str) -> bool:
    """Returns whether a command is given the path of an input artifact, not only its address."""
    path = f"{{{{$.inputs.artifacts['{name}'].path}}}}"
    return any("{{$}}" in part or path in part for part in parts)


def _structure(
    node: Any,
    executor_input: Mapping[str, Any],
    context: Mapping[str, str],
    given: Collection[str],
) -> list[str]:
    def inner(part: Any) -> list[str]:
        return _structure(part, executor_input, context, given)

    if isinstance(node, str):
        return [fill(node, executor_input, context)]
    if isinstance(node, list):
        return [text for item in node for text in inner(item)]
    if "Concat" in node:
        return ["".join(inner(node["Concat"]))]
    choice = node["IfPresent"]
    return inner(choice["Then"] if choice["InputName"] in given else choice.get("Else", []))


def _value(
    match: re.Match[str], executor_input: Mapping[str, Any], context: Mapping[str, str]
) -> str:
    path = match[1]
    if not path:
        return json.dumps(executor_input, ensure_ascii=False)
    parts = ["".join(part) for part in _PART.findall(path)]
    if len(parts) == 1 and parts[0] in context:
        return context[parts[0]]
    try:
        return text_of(_look_up(parts, executor_input))
    except (LookupError, TypeError):
        return match[0]  # left as KFP's launcher leaves it


def _look_up(parts: list[str], executor_input: Mapping[str, Any]) -> Any:
    side, kind, *rest = parts if len(parts) > 1 else [*parts, ""]
    if (side, kind) == ("inputs", "parameters"):
        return _within(executor_input["inputs"]["parameterValues"], rest)
    if (side, kind) == ("outputs", "parameters") and rest[1:] == ["output_file"]:
        return executor_input["outputs"]["parameters"][rest[0]]["outputFile"]
    if kind == "artifacts" and side in ("inputs", "outputs"):
        artifact = executor_input[side]["artifacts"][rest[0]]["artifacts"][0]
        return _of_artifact(artifact, rest[1:])
    if side in ("outputMetadataUri", "outputs") and kind in (
        "",
        "output_file",
        "output_metadata_uri",
    ):
        return executor_input["outputs"]["outputFile"]
    raise KeyError(side)


def _of_artifact(artifact: Mapping[str, Any], rest: list[str]) -> Any:
    if rest == ["path"]:
        return str(Artifact(artifact["uri"]).path)
    if rest and rest[0] in ("uri", "name"):
        return artifact[rest[0]]
    if rest and rest[0] == "metadata":
        return _within(artifact.get("metadata", {}), rest[1:])
    raise KeyError(rest)


def _within(value: Any, keys: list[str]) -> Any:
    for key in keys:
        value = value[key]
    return value
