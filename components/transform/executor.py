"""Transform: learns a transform from some splits, and applies it to all."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io

from millrace import modules, progress
from millrace.artifacts import HTML, Examples, Input, Output, Schema, TransformGraph
from millrace.components.transform import (
    copies,
    defaults,
    engine,
    label_warnings,
    leaks,
    on_beam,
    preprocessing,
    profile,
    time_order,
)
from millrace.components.transform.feature_summary import FeatureSummary
from millrace.components.transform.features import Features
from millrace.components.transform.inputs import RawInputs
from millrace.components.transform.interpreter import Unsupported
from millrace.data import examples as data
from millrace.data import schemas
from millrace.errors import DataError, ModuleError, ParameterError, nearest
from millrace.ml import problem as problems
from millrace.ml.features import SOURCES_FILE, active_features
from millrace.ml.problem import Kind, Problem
from millrace.report import page

logger = logging.getLogger(__name__)
_SHOWN = 10  # columns or classes named in an error
_ROUNDING = 1e-5  # of a label, relative


def run(
    examples: Input[Examples],
    schema: Input[Schema],
    label: str,
    transform_graph: Output[TransformGraph],
    transformed_examples: Output[Examples],
    report: Output[HTML],
    module_file: str = "",
    problem: str = "auto",
    analyze_splits: list[str] = ["train"],
    custom_config: dict[str, Any] = {},
) -> None:
    """Runs the step; see `component.py` for the arguments."""
    raw_schema = schemas.load(schema.path)
    _check(examples.path, raw_schema, label, analyze_splits)
    posed = problems.infer(examples.path, label, problem, analyze_splits)
    logger.info('"%s" poses a %s problem', posed.label, posed.kind.value)
    warnings = label_warnings.find(examples.path, posed)
    inputs = RawInputs(raw_schema, label)
    splits = {
        name: Split(examples.path, name, inputs.present(data.schema(examples.path, name)))
        for name in data.splits(examples.path)
    }
    choices = [] if module_file else _choose(examples.path, analyze_splits, raw_schema, label)
    warnings += _split_warnings(examples.path, analyze_splits, choices, posed)
    for warning in warnings:
        logger.warning("%s", warning)
    function = (
        preprocessing.load(module_file, label, custom_config)
        if module_file
        else defaults.preprocessing_fn(choices, posed)
    )

    started = time.perf_counter()
    learn_from = [splits[name] for name in analyze_splits]
    with _on_data(module_file):
        analysis = _analyze(function, inputs, learn_from, transform_graph.path)
    sources = analysis.sources if module_file else defaults.sources(choices, label)
    _refuse_leaks(sources, label, module_file)
    used = {column for columns in sources.values() for column in columns} - {label}
    suspects = leaks.find(examples.path, analyze_splits, sorted(used), posed)
    for leak in suspects:
        logger.warning("%s", leak.warning(label))
    _save(transform_graph.path, raw_schema, posed, sources)
    logger.info("analyzed %s in %.1f s", ", ".join(analyze_splits), time.perf_counter() - started)

    summary = FeatureSummary(tft.TFTransformOutput(str(transform_graph.path)), posed)
    with _on_data(module_file):
        total = sum(data.num_rows(split.root, split.name) for split in splits.values())
        counter = progress.Counter(total, "rows transformed")
        rows = {
            name: _transform(
                analysis.transform, split, summary, module_file, transformed_examples.path, counter
            )
            for name, split in splits.items()
        }
    precision_warnings = [*defaults.precision_warnings(choices), *summary.precision_warnings()]
    for warning in precision_warnings:
        logger.warning("%s", warning)
    every_warning = [
        *warnings,
        *(leak.warning(label) for leak in suspects),
        *precision_warnings,
    ]

    transform_graph.metadata |= {
        "problem": posed.kind.value,
        "label": label,
        "features": summary.number,
        "engine": analysis.engine,
        **(
            {"warnings": len(every_warning), "warning_texts": every_warning[:_SHOWN]}
            if every_warning
            else {}
        ),
    }
    transformed_examples.metadata |= {
        "splits": list(rows),
        "split_rows": rows,
        "rows": sum(rows.values()),
        "features": summary.number,
    }
    report.path.write_text(
        page.render(
            Path(__file__).with_name("report.html.j2"),
            problem=posed,
            rows=rows,
            analyze_splits=analyze_splits,
            learned_rows=sum(rows[name] for name in analyze_splits),
            module_file=module_file,
            classes=summary.classes(),
            suspects=suspects,
            warnings=warnings,
            precision_warnings=precision_warnings,
            features=summary.rows(sources),
            left_out=[choice for choice in choices if choice.kind == defaults.LEFT_OUT],
            engine=analysis.engine,
        ),
        encoding="utf-8",
    )


def _on_data(module_file: str) -> contextlib.AbstractContextManager[None]:
    """Reports errors that the module's traced function raises on rows."""
    if not module_file:
        return contextlib.nullcontext()
    return modules.calling(module_file, "preprocessing_fn", (tf.errors.OpError,))


@dataclasses.dataclass(frozen=True)
class Split:
    """The raw rows of a split, without the columns that the schema does not have."""

    root: Path
    name: str
    columns: Sequence[str]

    def read(self) -> Iterator[pa.RecordBatch]:
        """Yields the rows."""
        return data.read(self.root, self.name, self.columns)


def _check(root: Path, schema: schema_pb2.Schema, label: str, analyze_splits: list[str]) -> None:
    known = data.splits(root)
    if not known:
        raise DataError(f"There are no examples at {root}.")
    if not analyze_splits:
        raise ParameterError(f"analyze_splits must name a split to learn from: {', '.join(known)}.")
    for split in analyze_splits:
        if split not in known:
            raise ParameterError(
                f'analyze_splits names "{split}", and the examples have {", ".join(known)}.'
                f"{nearest(str(split), known)}"
            )
    columns = [feature.name for feature in active_features(schema)]
    if label in columns:
        return
    if label in data.schema(root, analyze_splits[0]).names:
        raise DataError(
            f'The label "{label}" has no values, or the schema marks it as not in use, so there is'
            " nothing to predict."
        )
    shown = ", ".join(f'"{name}"' for name in columns[:_SHOWN])
    more = ", …" if len(columns) > _SHOWN else ""
    raise ParameterError(
        f'There is no column "{label}" to predict.'
        f"{nearest(label, columns) or f' There are {shown}{more}.'}"
    )


def _choose(
    root: Path, splits: Sequence[str], schema: schema_pb2.Schema, label: str
) -> list[defaults.Choice]:
    optional = {
        feature.name for feature in active_features(schema) if not feature.HasField("shape")
    }
    choices = [
        *defaults.choose(profile.columns(root, splits, schema, label), optional, label),
        *defaults.unfit(schema, data.schema(root, splits[0]), label),
    ]
    if all(choice.kind == defaults.LEFT_OUT for choice in choices):
        if not choices:
            raise DataError(f'There is no column but the label "{label}", so none to learn from.')
        reasons = "; ".join(f'"{choice.column.name}": {choice.reason}' for choice in choices)
        raise DataError(
            f"No column is left to learn from. {reasons}. Write a preprocessing_fn that makes"
            " features of them."
        )
    for choice in choices:
        if choice.kind == defaults.LEFT_OUT:
            logger.info('left out "%s": %s', choice.column.name, choice.reason)
    return choices


def _split_warnings(
    root: Path, learned: Sequence[str], choices: Sequence[defaults.Choice], posed: Problem
) -> list[str]:
    """Returns warnings of splits that make a model look better than it is."""
    columns = [choice.column for choice in choices if choice.column.present]
    identifiers = [column.name for column in columns if defaults.is_unique(column)]
    others = [column.name for column in columns if column.name not in identifiers]
    found = (
        copies.find(root, learned, identifiers, others, posed.label),
        time_order.find(root, learned, columns, posed),
    )
    return [warning for warning in found if warning]


def _analyze(
    function: engine.PreprocessingFn, inputs: RawInputs, splits: Sequence[Split], folder: Path
) -> engine.Analysis:
    """Learns the transform and writes TFT's output folder, with Beam if the engine cannot."""
    folder.mkdir(parents=True, exist_ok=True)
    total = sum(data.num_rows(split.root, split.name) for split in splits)

    def batches() -> Iterator[pa.RecordBatch]:
        rows = itertools.chain(*(split.read() for split in splits))
        return progress.Counter(total, "rows analyzed").over(rows)

    try:
        return engine.analyze(function, inputs, batches, folder)
    except Unsupported as reason:
        logger.info("the analysis runs on Beam, because of %s", reason)
        files = [path for split in splits for path in data.shards(split.root, split.name)]
        on_beam.analyze(function, inputs, files, folder)
        return engine.load(folder, inputs)


def _transform(
    transform: engine.Transform,
    split: Split,
    summary: FeatureSummary,
    module_file: str,
    root: Path,
    counter: progress.Counter,
) -> int:
    """Writes the features of a split, adds them to the summary, and returns their rows."""
    features = Features(summary.spec)
    label = features.schema.get_field_index(summary.problem.label)
    with data.SplitWriter(root, split.name, features.schema) as writer:
        for raw in counter.over(split.read()):
            batch = features.batch(transform(raw), raw.num_rows)
            if module_file:
                _check_label(raw, batch.column(label), summary.problem, split.name, module_file)
            summary.add(split.name, batch)
            writer.write(batch)
    logger.info("transformed %s rows of %s", f"{writer.rows:,}", split.name)
    return writer.rows


def _save(
    folder: Path,
    schema: schema_pb2.Schema,
    posed: Problem,
    sources: Mapping[str, Sequence[str]],
) -> None:
    raw = folder / tft.TFTransformOutput.RAW_METADATA_DIR
    metadata_io.write_metadata(dataset_metadata.DatasetMetadata(schema), str(raw))
    posed.save(folder)
    text = json.dumps(sources, ensure_ascii=False, indent=1)
    (folder / SOURCES_FILE).write_text(text + "\n", encoding="utf-8")


def _refuse_leaks(sources: Mapping[str, Sequence[str]], label: str, module_file: str) -> None:
    for feature, columns in sources.items():
        if feature != label and label in columns:
            raise ModuleError(
                f'preprocessing_fn of {module_file} computes "{feature}" from the label "{label}",'
                " which is not known when the model is asked to predict it."
            )


def _check_label(
    raw: pa.RecordBatch, made: pa.Array, posed: Problem, split: str, module_file: str
) -> None:
    """Checks that a module's label equals what Evaluator and Pusher compute from the raw one."""
    wanted, got = problems.encode(raw, posed, split), made.to_numpy()
    different = np.flatnonzero(~np.isclose(got, wanted, rtol=_ROUNDING, atol=0.0))
    if not len(different):
        return
    row, label = int(different[0]), posed.label
    value = raw.column(raw.schema.get_field_index(label))[row].as_py()
    if posed.kind is Kind.REGRESSION:
        fix = (
            f'Return inputs["{label}"] as it is. To learn it in another unit, let the model end'
            " with a Rescaling layer, or compute the column with ExampleGen's query."
        )
    else:
        classes = json.dumps(posed.classes[:_SHOWN], ensure_ascii=False)[1:-1]
        more = ", …" if len(posed.classes) > _SHOWN else ""
        fix = (
            f"Return the index of the class in their sorted order: tf.argmax(tf.cast(tf.equal("
            f'tf.reshape(inputs["{label}"], [-1, 1]), [[{classes}{more}]]), tf.int32), axis=1).'
        )
    raise ModuleError(
        f'preprocessing_fn of {module_file} makes {got[row]:g} of the label "{label}" where it is'
        f" {value!r}, and the steps that measure the model take that for {wanted[row]:g}. {fix}"
    )
