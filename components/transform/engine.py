"""Runs TensorFlow Transform's analysis on this machine, without Beam.

TFT turns a `preprocessing_fn` into a graph of operations: apply a TensorFlow graph to the data,
fold batches into accumulators, merge them, write vocabularies, bind the results into the
TensorFlow graph, and so on for as many phases as analyzers depend on one another. Beam is one
interpreter of that graph; this is another. It reads the data once per phase, in a stream of
batches, and keeps accumulators only. The accumulators and their arithmetic are TFT's.

Only this module and the interpreter use private parts of TFT.
`Unsupported` is raised before any data is read if the graph has an operation that the interpreter
does not know, or if TFT has a version that it was not tested with.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow.python.eager import wrap_function
from tensorflow_transform import (
    analyzer_nodes,
    annotators,
    graph_context,
    impl_helper,
    nodes,
    schema_inference,
    tf2_utils,
)
from tensorflow_transform.beam import analysis_graph_builder
from tensorflow_transform.saved import saved_transform_io_v2
from tensorflow_transform.tf_metadata import metadata_io

from millrace.components.transform import combiners, vocabularies  # noqa: F401 - they register implementations
from millrace.components.transform.inputs import RawInputs
from millrace.components.transform.interpreter import Interpreter, Phase, Unsupported
from millrace.components.transform.origins import Origins
from millrace.errors import ModuleError
from millrace.ml import saved_model
from millrace.ml.arrays import Array

logger = logging.getLogger(__name__)

PreprocessingFn = Callable[[dict[str, Any]], dict[str, Any]]
Transform = Callable[[pa.RecordBatch], dict[str, Any]]

LOCAL, BEAM = "local", "Beam"
_TRIED = range(16, 22)  # the minor versions of TFT 1 that this module was tested with


@dataclasses.dataclass(frozen=True)
class Analysis:
    """A learned transform.

    Attributes:
        transform: Returns the features of a batch of raw rows, as eager tensors.
        sources: The raw columns that each feature is computed from.
        engine: The name of the engine that did the analysis.
    """

    transform: Transform
    sources: dict[str, list[str]]
    engine: str


def analyze(
    preprocessing_fn: PreprocessingFn,
    inputs: RawInputs,
    batches: Callable[[], Iterable[pa.RecordBatch]],
    folder: Path,
) -> Analysis:
    """Analyzes the data and writes TFT's output folder.

    Args:
        preprocessing_fn: The user's function. It is traced three times, and once more for each
            further phase.
        inputs: The tensors that it takes.
        batches: Starts a pass over the raw rows to learn from; called once per phase.
        folder: Where to write what `tft.TFTransformOutput` loads.

    Raises:
        Unsupported: Only Beam can do this analysis. Nothing has been read or written.
    """
    _check_version()
    with tempfile.TemporaryDirectory() as scratch:
        plan = _Plan(preprocessing_fn, inputs, batches, scratch)
        learned = plan.interpret()
        final = _write(plan, learned, folder)

    def transform(batch: pa.RecordBatch) -> dict[str, Any]:
        flat = tf.nest.flatten(inputs.tensors(batch), expand_composites=True)
        transformed: dict[str, Any] = final.module.transform_fn(*flat)
        return transformed

    origins, outputs = final.origins(), final.function.structured_outputs
    return Analysis(transform, {name: origins.of(outputs[name]) for name in outputs}, LOCAL)


def load(folder: Path, inputs: RawInputs) -> Analysis:
    """Loads what Beam learned from TFT's output folder."""
    loader = saved_transform_io_v2.SavedModelLoader(
        str(folder / tft.TFTransformOutput.TRANSFORM_FN_DIR)
    )
    outputs = loader.structured_outputs
    origins = Origins(loader._func_graph, loader._structured_inputs)
    sources = {name: origins.of(output) for name, output in outputs.items()}
    loader.finalize(inputs.specs.keys(), outputs.keys())
    return Analysis(
        lambda batch: loader.apply_transform_model(inputs.tensors(batch)), sources, BEAM
    )


def set_range(index: tf.Tensor, top: Any) -> None:
    """Marks a feature in the transformed schema as a category, from 0 to `top` inclusive."""
    schema_inference.set_tensor_schema_override(
        index, tf.constant(0, tf.int64), tf.cast(top, tf.int64)
    )


def _check_version() -> None:
    major, minor = (int(part) for part in tft.__version__.split(".")[:2])
    if major != 1 or minor not in _TRIED:
        raise Unsupported(f"TensorFlow Transform {tft.__version__} has not been tried")


@dataclasses.dataclass
class _Traced:
    """A trace of `preprocessing_fn`; the module keeps its tables alive, and is saved."""

    function: Any
    module: tf.Module

    @property
    def graph(self) -> Any:
        return self.function.graph

    @property
    def inputs(self) -> dict[str, Any]:
        structured: dict[str, Any] = tf2_utils.get_structured_inputs_from_func_graph(self.graph)
        return structured

    def origins(self) -> Origins:
        """Returns which tensors depend on which inputs."""
        return Origins(self.graph, self.inputs)


class _Plan:
    """The function, the data, and the graph of operations that TFT makes of them."""

    def __init__(
        self,
        preprocessing_fn: PreprocessingFn,
        inputs: RawInputs,
        batches: Callable[[], Iterable[pa.RecordBatch]],
        scratch: str,
    ) -> None:
        self.preprocessing_fn = preprocessing_fn
        self.inputs = inputs
        self.batches = batches
        self.scratch = scratch
        self.first = self.trace(None)
        self.assets = annotators.get_asset_annotations(self.first.graph)
        annotators.clear_asset_annotations(self.first.graph)
        self.analyzers = _analyzers(self.first, self.first.origins())
        self._root, _, _ = analysis_graph_builder.build(
            self.first.graph, self.first.inputs, self.first.function.structured_outputs
        )

    def trace(
        self, learned: Mapping[str, tf.Tensor] | None, outputs: Mapping[str, str] | None = None
    ) -> _Traced:
        """Traces `preprocessing_fn` with what earlier phases learned.

        It traces to the end, or up to the tensors named in `outputs`.
        """
        module = tf.Module()
        context = graph_context.TFGraphContext(module, self.scratch, learned)
        function = impl_helper.get_traced_transform_fn(
            self.preprocessing_fn, self.inputs.specs, context, outputs
        )
        return _Traced(
            saved_transform_io_v2.trace_and_update_module(module, function, "transform_fn", False),
            module,
        )

    def interpret(self) -> dict[str, tf.Tensor]:
        """Runs every phase, and returns what it learned, by the name of the tensor it replaces."""
        interpreter = Interpreter(self.analyzer_inputs, self.first.graph, Path(self.scratch))
        last: Phase = nodes.Traverser(interpreter).visit_value_node(self._root)()
        return last.learned

    def analyzer_inputs(self, phase: Phase) -> Iterable[dict[str, Array]]:
        """Yields the values that the analyzers of a phase take, batch by batch."""
        names = {key: tensor.name for key, tensor in phase.outputs.items()}
        if phase.learned:
            traced = self.trace(phase.learned, names)
            function = traced.module.transform_fn
        else:
            function = wrap_function.WrappedFunction(
                self.first.graph, wrap_function.VariableHolder(share_variables=True)
            ).prune(self.first.function.inputs, dict(phase.outputs))

        for batch in self.batches():
            flat = tf.nest.flatten(self.inputs.tensors(batch), expand_composites=True)
            yield {key: value.numpy() for key, value in function(*flat).items()}


def _write(plan: _Plan, learned: Mapping[str, tf.Tensor], folder: Path) -> _Traced:
    """Traces the transform with all that was learned, and writes TFT's output folder."""
    final = plan.trace(learned)
    if plan.analyzers != _analyzers(final, final.origins()):
        # Results of the first trace would be assigned to other analyzers in the second.
        raise ModuleError(
            "preprocessing_fn calls the analyzers in another order each time it runs: do not loop"
            " over a set in it, nor use random numbers."
        )
    metadata = impl_helper._trace_and_get_metadata(
        final.function, final.inputs, plan.preprocessing_fn, plan.scratch, learned
    )
    saved = folder / tft.TFTransformOutput.TRANSFORM_FN_DIR
    tf.saved_model.save(final.module, str(saved))
    saved_model.make_deterministic(saved, plan.scratch)
    described = folder / tft.TFTransformOutput.TRANSFORMED_METADATA_DIR
    metadata_io.write_metadata(metadata, str(described))
    (described / tft.TFTransformOutput.ASSET_MAP).write_text(json.dumps(plan.assets))
    return final


def _analyzers(traced: _Traced, origins: Origins) -> dict[str, list[str]]:
    """Returns the input columns of each analyzer, by the name of the tensor for its result."""
    return {
        sink.tensor.name: origins.of(_sources(sink.future))
        for sink in traced.graph.get_collection(analyzer_nodes.ALL_REPLACEMENTS)
    }


def _sources(value: nodes.ValueNode) -> list[tf.Tensor]:
    """Returns the tensors that an analyzer takes."""
    operation = value.parent_operation
    if isinstance(operation.operation_def, analyzer_nodes.TensorSource):
        return list(operation.operation_def.tensors)
    return [tensor for each in operation.inputs for tensor in _sources(each)]
