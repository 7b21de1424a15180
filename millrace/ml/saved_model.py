"""Makes the bytes of a SavedModel deterministic, so that equal models have equal digests."""

from __future__ import annotations

import graphlib
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FILE = "saved_model.pb"
_FINGERPRINT = "fingerprint.pb"  # TensorFlow's own fingerprint of the bytes; nothing needs it


def make_deterministic(folder: Path, scratch: str = "") -> None:
    """Rewrites a SavedModel in a deterministic order.

    TensorFlow writes the functions of a graph, and the nodes of a function, in an order that
    differs from process to process.

    Args:
        folder: The SavedModel.
        scratch: A folder whose path is removed from the names of lookup tables.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString((folder / FILE).read_bytes())
    for graph in model.meta_graphs:
        library = graph.graph_def.library
        functions = sorted(library.function, key=lambda function: function.signature.name)
        del library.function[:]
        library.function.extend(functions)
        for function in library.function:
            nodes = _ordered(function.node_def)
            del function.node_def[:]
            function.node_def.extend(nodes)
        gradients = sorted(library.gradient, key=lambda gradient: gradient.function_name)
        del library.gradient[:]
        library.gradient.extend(gradients)
        if scratch:
            bodies = (function.node_def for function in library.function)
            for node in itertools.chain(graph.graph_def.node, *bodies):
                if "shared_name" in node.attr:
                    name = node.attr["shared_name"].s
                    node.attr["shared_name"].s = name.replace(scratch.encode(), b"")
    (folder / FILE).write_bytes(model.SerializeToString(deterministic=True))
    (folder / _FINGERPRINT).unlink(missing_ok=True)


def _ordered(nodes: Iterable[Any]) -> list[Any]:
    """Returns a function's nodes in topological order, and otherwise by name."""
    by_name = {node.name: node for node in nodes}
    waiting: graphlib.TopologicalSorter[str] = graphlib.TopologicalSorter()
    for name in by_name:
        read = (text.removeprefix("^").partition(":")[0] for text in by_name[name].input)
        waiting.add(name, *(other for other in read if other in by_name))
    try:
        waiting.prepare()
    except graphlib.CycleError:  # a TensorFlow 1 loop
        return list(by_name.values())
    ordered: list[str] = []
    while waiting.is_active():
        ready = sorted(waiting.get_ready())
        ordered += ready
        waiting.done(*ready)
    return [by_name[name] for name in ordered]
