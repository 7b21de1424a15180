"""Raw rows with columns of every type, and the other inputs of Transform."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tensorflow_metadata.proto.v0 import schema_pb2

from millrace.artifacts import HTML, Examples, Schema, TransformGraph
from millrace.data import examples, schemas

ROWS = 3000


def table(rows: int = ROWS, seed: int = 0) -> pa.Table:
    """Columns of every type, required and optional, with a label that depends on them."""
    rng = np.random.default_rng(seed)

    def some(values: Any, kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind, mask=rng.random(rows) < 0.2)

    number = rng.normal(50, 12, rows)
    words = np.array(["ash", "oak", "elm", "fir", "Ölbaum"], object)
    rare = np.array([f"tree {number}" for number in range(200)], object)
    level = rng.integers(0, 6, rows)
    return pa.table({
        "number": number,
        "optional number": some(rng.exponential(3, rows), pa.float64()),
        "whole": rng.integers(-500, 20_000, rows),
        "optional.whole": some(rng.integers(0, 900, rows), pa.int64()),
        "level": level,
        "optional_level": some(rng.integers(1, 5, rows), pa.int64()),
        "text": words[np.minimum(rng.geometric(0.5, rows), 5) - 1],
        "größe": some(words[rng.integers(0, 5, rows)], pa.string()),
        "many": rare[np.minimum(rng.geometric(0.03, rows), 200) - 1],
        "label": np.where(number + 5 * level + rng.normal(0, 5, rows) > 62, "yes", "no"),
    })  # fmt: skip


def schema_of(data: pa.Table) -> schema_pb2.Schema:
    """A schema as SchemaGen infers it: a column without missing values is required."""
    schema = schema_pb2.Schema()
    for field, column in zip(data.schema, data.columns, strict=True):
        kind = (
            schema_pb2.INT
            if pa.types.is_integer(field.type)
            else schema_pb2.FLOAT
            if pa.types.is_floating(field.type)
            else schema_pb2.BYTES
        )
        feature = schema.feature.add(name=field.name, type=kind)
        feature.presence.min_count = 1
        if column.null_count:
            feature.value_count.min = feature.value_count.max = 1
        else:
            feature.presence.min_fraction = 1.0
            feature.shape.dim.add(size=1)
    return schema


@dataclasses.dataclass(frozen=True)
class Rows:
    """Examples with their schema, on disk."""

    examples: Path
    schema: Path


def write(root: Path, splits: Mapping[str, pa.Table], batch_rows: int = 700) -> Rows:
    """Writes examples, in several row groups, and their schema."""
    for split, rows in splits.items():
        with examples.SplitWriter(root / "examples", split, rows.schema) as writer:
            for batch in rows.combine_chunks().to_batches(batch_rows):
                writer.write(batch)
    schemas.save(root / "schema", schema_of(pa.concat_tables(splits.values())))
    return Rows(root / "examples", root / "schema")


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """3,000 rows to learn from and 1,000 to evaluate on."""
    root = tmp_path_factory.mktemp("rows")
    return write(root, {"train": table(), "eval": table(1000, seed=1)})


@dataclasses.dataclass(frozen=True)
class Transformed:
    """The outputs of Transform, with their metadata."""

    graph: TransformGraph
    examples: Examples
    report: str

    def split(self, name: str) -> pa.Table:
        """The features of a split."""
        return pa.Table.from_batches(examples.read(self.examples.path, name))


def transform(rows: Rows, root: Path, **parameters: Any) -> Transformed:
    """Runs the step."""
    from millrace.components.transform import executor

    graph = TransformGraph(str(root / "graph"))
    transformed = Examples(str(root / "transformed"))
    report = HTML(str(root / "report.html"))
    executor.run(
        **{"label": "label", **parameters},
        examples=Examples(str(rows.examples)),
        schema=Schema(str(rows.schema)),
        transform_graph=graph,
        transformed_examples=transformed,
        report=report,
    )
    return Transformed(graph, transformed, report.path.read_text("utf-8"))


@pytest.fixture(scope="session")
def by_default(rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> Transformed:
    """The rows transformed without a module."""
    return transform(rows, tmp_path_factory.mktemp("by_default"))


@pytest.fixture(scope="session")
def helpers() -> Any:
    """This module, which tests cannot import in pytest's importlib mode."""
    return sys.modules[__name__]
