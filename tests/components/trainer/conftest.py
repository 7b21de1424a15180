"""Transformed rows of every kind of problem, and the other inputs of Trainer."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tensorflow_metadata.proto.v0 import schema_pb2

from millrace.artifacts import HTML, Examples, Metrics, Model, Schema, TransformGraph
from millrace.data import examples, schemas


def table(kind: str, rows: int, seed: int) -> pa.Table:
    """Raw columns, some with names that TensorFlow rejects, and a label that depends on them."""
    rng = np.random.default_rng(seed)
    number, level = rng.normal(50, 10, rows), rng.integers(0, 5, rows)
    missing = rng.random(rows) < 0.2
    words = np.array(["low", "mid", "high", "Höhe"], object)[rng.integers(0, 4, rows)]
    score = (number - 50) / 10 + level - 2 + (words == "high") + rng.normal(0, 0.3, rows)
    labels: dict[str, Any] = {
        "binary": np.where(score > 0, "yes", "no"),
        "multiclass": np.digitize(score, [-1.0, 1.0]) * 10,
        "regression": 200_000 + 50_000 * score,
    }
    words[missing] = ""  # counts as missing, in a column that may be
    return pa.table({
        "number": number,
        "Amount (€)": pa.array(rng.exponential(2e30, rows), mask=missing),  # suns
        "level.no": level,
        "größe": pa.array(words, pa.string(), mask=rng.random(rows) < 0.1),
        "label": labels[kind],
    })  # fmt: skip


def schema_of(data: pa.Table) -> schema_pb2.Schema:
    """A schema as SchemaGen infers it."""
    kinds = {"int64": schema_pb2.INT, "double": schema_pb2.FLOAT, "string": schema_pb2.BYTES}
    schema = schema_pb2.Schema()
    for field, column in zip(data.schema, data.columns, strict=True):
        feature = schema.feature.add(name=field.name, type=kinds[str(field.type)])
        feature.value_count.max = 1
        if not column.null_count:
            feature.presence.min_fraction = 1.0
            feature.shape.dim.add(size=1)
    return schema


@dataclasses.dataclass(frozen=True)
class Prepared:
    """The outputs of the steps before Trainer."""

    raw: Path
    graph: Path
    transformed: Path
    schema: Path


def prepare(
    root: Path, splits: dict[str, pa.Table], module: str = "", **parameters: Any
) -> Prepared:
    """Writes raw rows, with a schema, and transforms them."""
    from millrace.components.transform import executor

    prepared = Prepared(root / "raw", root / "graph", root / "transformed", root / "schema")
    for split, rows in splits.items():
        with examples.SplitWriter(prepared.raw, split, rows.schema) as writer:
            for batch in rows.combine_chunks().to_batches(500):
                writer.write(batch)
    schemas.save(prepared.schema, schema_of(pa.concat_tables(splits.values())))
    if module:
        (root / "features.py").write_text(module)
        parameters["module_file"] = str(root / "features.py")
    executor.run(
        examples=Examples(str(prepared.raw)),
        schema=Schema(str(prepared.schema)),
        label="label",
        transform_graph=TransformGraph(str(prepared.graph)),
        transformed_examples=Examples(str(prepared.transformed)),
        report=HTML(str(root / "transform.html")),
        **parameters,
    )
    return prepared


@dataclasses.dataclass(frozen=True)
class Trained:
    """The outputs of Trainer."""

    model: Model
    metrics: dict[str, Any]
    report: str


def train(prepared: Prepared, root: Path, module: str = "", **parameters: Any) -> Trained:
    """Runs the step."""
    from millrace.components.trainer import executor

    root.mkdir(parents=True, exist_ok=True)
    if module:
        (root / "mine.py").write_text(module)
        parameters["module_file"] = str(root / "mine.py")
    model, metrics = Model(str(root / "model")), Metrics(str(root / "metrics"))
    report = HTML(str(root / "report.html"))
    executor.run(
        transformed_examples=Examples(str(prepared.transformed)),
        transform_graph=TransformGraph(str(prepared.graph)),
        schema=Schema(str(prepared.schema)),
        model=model,
        metrics=metrics,
        report=report,
        **parameters,
    )
    return Trained(model, metrics.metadata, report.path.read_text("utf-8"))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Prepared]:
    """Rows of each kind of problem."""
    return {
        kind: prepare(
            tmp_path_factory.mktemp(kind),
            {"train": table(kind, 2000, 1), "eval": table(kind, 700, 2)},
        )
        for kind in ("binary", "multiclass", "regression")
    }


@pytest.fixture(scope="session")
def trained(
    prepared: dict[str, Prepared], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Trained]:
    """The default model for each kind of problem, trained when a test first asks for it."""

    class Models(dict[str, Trained]):
        def __missing__(self, kind: str) -> Trained:
            self[kind] = train(prepared[kind], tmp_path_factory.mktemp(f"{kind}_model"))
            return self[kind]

    return Models()


@pytest.fixture(scope="session")
def helpers() -> Any:
    """This module, which tests cannot import in pytest's importlib mode."""
    return sys.modules[__name__]
