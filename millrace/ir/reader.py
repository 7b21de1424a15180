"""Reads compiled pipelines from YAML."""

from __future__ import annotations

import dataclasses
import graphlib
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from millrace.errors import ParameterError, PipelineError, nearest
from millrace.ir import parameters, platform
from millrace.ir import spec as ir
from millrace.ir.condition import Condition
from millrace.ir.declared import declared
from millrace.ir.executors import container, importer, only, retry
from millrace.ir.selector import Selector
from millrace.ir.shape import check_message, check_yaml
from millrace.values import whole

NEWEST_SCHEMA = (2, 1)
TYPES = ("STRING", "NUMBER_INTEGER", "NUMBER_DOUBLE", "BOOLEAN", "LIST", "STRUCT")
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")  # valid as a folder, and neither . nor ..
_NAMES = "names have up to 200 of A-Z, a-z, 0-9, _, - and . (not first)"

_Json = Mapping[str, Any]


def read(path: Path) -> ir.Pipeline:
    """Reads a compiled pipeline.

    Raises:
        PipelineError: It cannot be read, is not a pipeline, or uses what this version cannot run.
    """
    try:
        content = path.read_bytes()
        check_yaml(content, _loader())
        documents = list(yaml.load_all(content, Loader=_loader()))
    except PipelineError as error:
        raise PipelineError(f"{path} is not a compiled pipeline: {error}") from None
    except OSError as error:
        raise PipelineError(f"Cannot read {path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise PipelineError(f"{path} is not valid YAML: {_yaml_reason(error)}") from error
    specs = [part for part in documents if isinstance(part, dict) and "root" in part]
    if any(isinstance(part, dict) and part.get("kind") == "Workflow" for part in documents):
        raise PipelineError(
            f"{path} is an Argo Workflow, no compiled pipeline: compile it with kfp 2.13 to 2.17."
        )
    if len(specs) != 1:
        raise PipelineError(
            f"{path} is not a compiled pipeline: it has no `root`. `millrace compile` makes one."
        )
    platforms = [part for part in documents if isinstance(part, dict) and "platforms" in part]
    try:
        check_message(specs[0])
        return _Reader(specs[0], platforms).pipeline(path, hashlib.sha256(content).hexdigest())
    except PipelineError as error:
        raise PipelineError(f"{path}: {error}") from None
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
        raise PipelineError(f"{path} is not a compiled pipeline: {_one_line(error)}") from error


def _loader() -> Any:
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _yaml_reason(error: Exception) -> str:
    """Returns what is wrong and in which line, without PyYAML's names for its input."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return " ".join(str(error).replace('in "<byte string>", ', "at ").split())
    return f"{error.problem}, in line {error.problem_mark.line + 1}"


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


class _Reader:
    """Reads one PipelineSpec; a component is read when a task first refers to it."""

    def __init__(self, spec: _Json, platforms: list[dict[str, Any]]) -> None:
        self._spec = spec
        self._executors: _Json = spec.get("deploymentSpec", {}).get("executors", {})
        self._documents = platforms
        self._platform = platform.settings(platforms)
        self._components: dict[str, ir.Component] = {}
        self._open: list[str] = []

    def pipeline(self, path: Path, digest: str) -> ir.Pipeline:
        check_version(self._spec.get("schemaVersion"))
        info = self._spec.get("pipelineInfo", {})
        root = self._component_of("root", self._spec["root"])
        if not isinstance(root.body, ir.Dag) or not root.body.tasks:
            raise PipelineError("its root is not a DAG of tasks")
        if not _NAME.fullmatch(name := info.get("name") or path.stem):
            raise PipelineError(f"the pipeline's name {name!r} cannot be a folder's: {_NAMES}")
        uses_workspace = platform.uses_workspace(self._documents)
        return ir.Pipeline(name, info.get("description", ""), root, path, digest, uses_workspace)

    def _component(self, name: str) -> ir.Component:
        if name in self._open:
            raise PipelineError(f'the component "{name}" contains itself')
        if name not in self._components:
            known: _Json = self._spec.get("components", {})
            if name not in known:
                raise PipelineError(f'there is no component "{name}".{nearest(name, known)}')
            self._open.append(name)
            self._components[name] = self._component_of(name, known[name])
            self._open.pop()
        return self._components[name]

    def _component_of(self, name: str, spec: _Json) -> ir.Component:
        if "taskConfigPassthroughs" in spec:
            raise PipelineError(
                f'the component "{name}" asks for the configuration of its own pod '
                "(taskConfigPassthroughs), which only a cluster has"
            )
        only(
            spec,
            ("executorLabel", "dag", "inputDefinitions", "outputDefinitions"),
            f'the component "{name}"',
        )
        inputs, outputs = spec.get("inputDefinitions", {}), spec.get("outputDefinitions", {})
        component = ir.Component(
            name,
            _each(_parameter, inputs.get("parameters", {})),
            _each(_artifact, inputs.get("artifacts", {})),
            _each(_parameter, outputs.get("parameters", {})),
            _each(_artifact, outputs.get("artifacts", {})),
            ir.Container(""),
        )
        for output in (*component.output_artifacts, *component.output_parameters):
            if not _NAME.fullmatch(output):
                raise PipelineError(
                    f'its output "{output}" has a name that cannot be a file\'s: {_NAMES}'
                )
        body = self._dag(spec["dag"]) if "dag" in spec else self._executor(spec["executorLabel"])
        return dataclasses.replace(component, body=body)

    def _executor(self, label: str) -> ir.Container | ir.Importer | ir.VolumeTask:
        if label not in self._executors:
            raise PipelineError(f'there is no executor "{label}".{nearest(label, self._executors)}')
        spec = self._executors[label]
        if "container" in spec:
            return container(label, spec["container"], self._platform.get(label))
        if "importer" in spec:
            return importer(spec["importer"])
        raise PipelineError(f'the executor "{label}" is a {", ".join(spec)}, which cannot be run')

    def _dag(self, spec: _Json) -> ir.Dag:
        specs: _Json = spec.get("tasks", {})
        tasks: dict[str, ir.Task] = {}
        for name, task in specs.items():
            try:
                tasks[name] = self._task(name, task, specs)
            except PipelineError as error:
                where = "" if str(error).startswith("task ") else f'task "{name}": '
                raise PipelineError(f"{where}{error}") from None
        outputs = spec.get("outputs", {})
        return ir.Dag(
            _ordered(tasks),
            {
                key: tuple(
                    ir.FromTask(one["producerSubtask"], one["outputArtifactKey"])
                    for one in selectors.get("artifactSelectors", [])
                )
                for key, selectors in outputs.get("artifacts", {}).items()
            },
            {key: _dag_parameter(one) for key, one in outputs.get("parameters", {}).items()},
        )

    def _task(self, name: str, spec: _Json, siblings: _Json) -> ir.Task:
        if not _NAME.fullmatch(name):
            raise PipelineError(f"its name cannot be a folder's: {_NAMES}")
        only(
            spec,
            (
                "taskInfo",
                "inputs",
                "dependentTasks",
                "cachingOptions",
                "componentRef",
                "triggerPolicy",
                "parameterIterator",
                "artifactIterator",
                "iteratorPolicy",
                "retryPolicy",
            ),
            "it",
        )
        trigger, caching = spec.get("triggerPolicy", {}), spec.get("cachingOptions", {})
        inputs = spec.get("inputs", {})
        parameters = {
            key: _parameter_source(one) for key, one in inputs.get("parameters", {}).items()
        }
        artifacts = {key: _artifact_source(one) for key, one in inputs.get("artifacts", {}).items()}
        producers = [
            source.task
            for source in (*parameters.values(), *artifacts.values())
            if isinstance(source, (ir.FromTask, ir.FinalStatus))
        ]
        component = self._component(spec["componentRef"]["name"])
        body = component.body
        if isinstance(body, ir.Container):
            producers += [one.task for one in body.settings.references if one.task]
        depends = tuple(dict.fromkeys([*spec.get("dependentTasks", []), *producers]))
        for other in depends:
            if other not in siblings:
                raise PipelineError(
                    f'it depends on "{other}", which does not exist.{nearest(other, siblings)}'
                )
        return ir.Task(
            name=name,
            display_name=spec.get("taskInfo", {}).get("name") or name,
            component=component,
            parameters=parameters,
            artifacts=artifacts,
            depends=depends,
            condition=Condition.parse(trigger["condition"]) if trigger.get("condition") else None,
            after_failure=trigger.get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED",
            cache=bool(caching.get("enableCache", False)) or _is_cached_by_content(component),
            cache_key=caching.get("cacheKey", ""),
            retry=retry(spec.get("retryPolicy", {})),
            loop=_loop(spec),
        )


def check_version(version: Any) -> None:
    """Rejects pipelines of a later schema version."""
    match = re.match(r"(\d+)\.(\d+)", str(version))
    if not match:
        raise PipelineError(f"its schemaVersion is {version!r}, and should be like 2.1.0")
    if (int(match[1]), int(match[2])) > NEWEST_SCHEMA or int(match[1]) < NEWEST_SCHEMA[0]:
        newest = ".".join(map(str, NEWEST_SCHEMA))
        raise PipelineError(
            f"its schemaVersion is {version}, and this version of Millrace runs {newest}: "
            "compile it with kfp 2.13 to 2.17, or upgrade Millrace"
        )


def _each(read_one: Any, specs: _Json) -> dict[str, Any]:
    return {name: read_one(name, spec) for name, spec in specs.items()}


def _parameter(name: str, spec: _Json) -> ir.Parameter:
    kind = spec.get("parameterType") or spec.get("type", "")
    if kind not in TYPES and kind != "TASK_FINAL_STATUS":
        raise PipelineError(
            f'the parameter "{name}" is of type {kind or "unknown"}; it must be {", ".join(TYPES)}'
        )
    default = spec.get("defaultValue", ir.MISSING)
    if default is not ir.MISSING and kind != "NUMBER_DOUBLE":
        default = whole(default)
    if default is not ir.MISSING and default is not None:
        try:
            default = parameters.check(ir.Parameter(name, kind), default)
        except ParameterError as error:
            raise PipelineError(f"a default: {error}") from None
    return ir.Parameter(
        name,
        kind,
        default,
        bool(spec.get("isOptional")),
        spec.get("description", ""),
        tuple(spec.get("literals", ())),
    )


def _artifact(name: str, spec: _Json) -> ir.ArtifactPort:
    kind = spec.get("artifactType", {})
    return ir.ArtifactPort(
        name,
        kind.get("schemaTitle", "system.Artifact"),
        kind.get("schemaVersion", "0.0.1"),
        bool(spec.get("isOptional")),
        bool(spec.get("isArtifactList")),
    )


def _parameter_source(spec: _Json) -> ir.ParameterSource:
    expression = spec.get("parameterExpressionSelector")
    selector = Selector.parse(expression) if expression else None
    if "runtimeValue" in spec:
        return ir.Constant(whole(spec["runtimeValue"]["constant"]))
    if "componentInputParameter" in spec:
        return ir.FromInput(spec["componentInputParameter"], selector)
    if "taskOutputParameter" in spec:
        source = spec["taskOutputParameter"]
        return ir.FromTask(source["producerTask"], source["outputParameterKey"], selector)
    return ir.FinalStatus(spec["taskFinalStatus"]["producerTask"])


def _artifact_source(spec: _Json) -> ir.ArtifactSource:
    if "componentInputArtifact" in spec:
        return ir.FromInput(spec["componentInputArtifact"])
    source = spec["taskOutputArtifact"]
    return ir.FromTask(source["producerTask"], source["outputArtifactKey"])


def _is_cached_by_content(component: ir.Component) -> bool:
    body = component.body
    return isinstance(body, ir.Container) and declared((*body.command, *body.args)).cache_by_content


def _loop(spec: _Json) -> ir.Loop | None:
    limit = int(spec.get("iteratorPolicy", {}).get("parallelismLimit", 0))
    if (iterator := spec.get("artifactIterator")) is not None:
        items = ir.FromInput(iterator["items"]["inputArtifact"])
        return ir.Loop(items, iterator["itemInput"], True, limit)
    if (iterator := spec.get("parameterIterator")) is None:
        return None
    where: _Json = iterator["items"]
    if "raw" not in where:
        return ir.Loop(ir.FromInput(where["inputParameter"]), iterator["itemInput"], False, limit)
    try:
        listed = whole(json.loads(where["raw"]))
    except ValueError as error:
        raise PipelineError(f"the items of its loop are not JSON: {error}") from None
    if not isinstance(listed, list):
        raise PipelineError(f"the items of its loop must be a list, and are {where['raw'][:80]!r}")
    return ir.Loop(ir.Constant(listed), iterator["itemInput"], False, limit)


def _dag_parameter(spec: _Json) -> tuple[ir.FromTask, ...]:
    if "valueFromOneof" in spec:
        selectors = spec["valueFromOneof"]["parameterSelectors"]
    else:
        selectors = [spec["valueFromParameter"]]
    return tuple(
        ir.FromTask(one["producerSubtask"], one["outputParameterKey"]) for one in selectors
    )


def _ordered(tasks: Mapping[str, ir.Task]) -> dict[str, ir.Task]:
    """Returns the tasks so that each comes after its dependencies.

    Raises:
        PipelineError: Some of them wait for one another.
    """
    sorter = graphlib.TopologicalSorter({name: task.depends for name, task in tasks.items()})
    try:
        return {name: tasks[name] for name in sorter.static_order()}
    except graphlib.CycleError as error:
        raise PipelineError(f"tasks wait for one another: {' → '.join(error.args[1])}") from None
