"""Makes a SavedModel's bytes depend on the model alone, so that its digest tells equal ones."""

from __future__ import annotations

import itertools
from pathlib import Path

FILE = "saved_model.pb"
_FINGERPRINT = "fingerprint.pb"  # of the bytes that TensorFlow wrote; nothing needs it


def settle(folder: Path, scratch: str = "") -> None:
    """Rewrites a SavedModel in an order of its own.

    TensorFlow writes the functions of a graph in an order that differs from process to process.

    Args:
        folder: The SavedModel.
        scratch: A folder whose path is taken out of the names of lookup tables.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString((folder / FILE).read_bytes())
    for graph in model.meta_graphs:
        library = graph.graph_def.library
        functions = sorted(library.function, key=lambda function: function.signature.name)
        del library.function[:]
        library.function.extend(functions)
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
