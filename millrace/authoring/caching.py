"""Decides which tasks of a compiled pipeline KFP may cache.

KFP's cache compares the text of parameters. If a parameter names external data, such as a file, the
text stays the same when the file changes, and KFP would reuse the old result. So its cache is off
for such tasks, and the container tells runners that compare content to still reuse results: see
`millrace.ir.declared`.

The mark is on the container, not a `cacheKey`: if a client enabled caching for a whole run
(`enable_caching=True`), KFP would reuse any result with that key, whatever the parameters are.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

from millrace.ir.declared import CACHE, CONTENT, Declared, declared

PINNED = "MILLRACE_PINNED"  # in the environment of a task whose inputs never change

_Json = dict[str, Any]
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def restrict(spec: _Json, platforms: _Json) -> None:
    """Switches KFP's cache off for the tasks that read external data.

    Tasks with caching switched off, with a cache key, or pinned, are left alone.

    Args:
        spec: The PipelineSpec; it is changed.
        platforms: The PlatformSpec that goes with it, or nothing; it is changed.
    """
    reading, off = [], []
    for _, task in tasks_of(spec):
        if not _is_cached(task):
            off.append(task)
        elif _reads_external(spec, task):
            reading.append(task)
    for task in reading:
        task["cachingOptions"] = {}
    labels = {_component(spec, task)["executorLabel"] for task in reading}
    for task in off:
        if _component(spec, task).get("executorLabel") in labels:
            _take_apart(spec, platforms, task)
    for label in labels:
        args = spec["deploymentSpec"]["executors"][label]["container"]["args"]
        args += [CACHE, CONTENT]


def tasks_of(spec: Mapping[str, Any]) -> Iterator[tuple[str, _Json]]:
    """Yields the tasks of the pipeline and of every pipeline, loop and condition within it."""
    for component in (spec["root"], *spec.get("components", {}).values()):
        yield from component.get("dag", {}).get("tasks", {}).items()


def _component(spec: _Json, task: _Json) -> _Json:
    component: _Json = spec["components"][task["componentRef"]["name"]]
    return component


def _is_cached(task: _Json) -> bool:
    return bool(task.get("cachingOptions", {}).get("enableCache"))


def _reads_external(spec: _Json, task: _Json) -> bool:
    """Returns whether a task's external data may change while its parameters stay the same."""
    component = _component(spec, task)
    executor = spec["deploymentSpec"]["executors"].get(component.get("executorLabel"), {})
    container = executor.get("container", {})
    declarations = declared([*container.get("command", []), *container.get("args", [])])
    if task["cachingOptions"].get("cacheKey") or _is_pinned(container):
        return False
    return _names_external(declarations, task, component)


def _is_pinned(container: _Json) -> bool:
    return any(one["name"] == PINNED for one in container.get("env", []))


def _names_external(declarations: Declared, task: _Json, component: _Json) -> bool:
    """Returns whether a parameter names external data, or may: its value comes with the run.

    A module's dotted name refers to the image, which KFP's cache compares.
    """
    values = {
        name: _constant(name, task, component)
        for name in (*declarations.reads, *declarations.modules)
    }
    return any(values[name] != "" for name in declarations.reads) or any(
        value is None or (value != "" and (value.endswith(".py") or not _DOTTED.fullmatch(value)))
        for value in (values[name] for name in declarations.modules)
    )


def _constant(name: str, task: _Json, component: _Json) -> str | None:
    """Returns the value of a text parameter; None if it is known only when the pipeline runs."""
    given = task.get("inputs", {}).get("parameters", {}).get(name)
    if given is None:
        defined = component["inputDefinitions"]["parameters"][name]
        return str(defined.get("defaultValue") or "")
    constant = given.get("runtimeValue", {}).get("constant")
    return constant if isinstance(constant, str) else None


def _take_apart(spec: _Json, platforms: _Json, task: _Json) -> None:
    """Gives a task its own copy of its component, without the mark."""
    name = task["componentRef"]["name"]
    component = copy.deepcopy(_component(spec, task))
    label = component["executorLabel"]
    own = _free(f"{label}-uncached", spec["deploymentSpec"]["executors"])
    for deployment in (
        spec["deploymentSpec"],
        *(one.get("deploymentSpec", {}) for one in platforms.get("platforms", {}).values()),
    ):
        executors = deployment.get("executors", {})
        if label in executors:
            executors[own] = copy.deepcopy(executors[label])
    component["executorLabel"] = own
    task["componentRef"]["name"] = _free(f"{name}-uncached", spec["components"])
    spec["components"][task["componentRef"]["name"]] = component


def _free(name: str, taken: _Json) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free
