"""The flights' features and network are the same as those of the TFX benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from millrace.artifacts import HTML, Examples, Metrics, Model, Schema, TransformGraph
from millrace.data import examples, schemas


def flights(rows: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    hour, minute = rng.integers(5, 24, rows), rng.integers(0, 60, rows)
    tails = np.array([f"N{number:03}UA" for number in range(300)], object)
    return pa.table({
        "month": rng.integers(1, 13, rows),
        "day": rng.integers(1, 29, rows),
        "sched_dep_time": hour * 100 + minute,
        "sched_arr_time": (hour + 2) % 24 * 100 + minute,
        "distance": rng.integers(80, 5000, rows),
        "hour": hour,
        "minute": minute,
        "carrier": np.array(["UA", "B6", "DL"], object)[rng.integers(0, 3, rows)],
        "origin": np.array(["EWR", "JFK"], object)[rng.integers(0, 2, rows)],
        "dest": np.array(["ATL", "BOS", "LAX", "SFO"], object)[rng.integers(0, 4, rows)],
        "tailnum": tails[rng.integers(0, 300, rows)],
        "late": (rng.random(rows) < hour / 40).astype(int),
    })  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> dict:
    """A Transform and a Trainer step over some thousand flights."""
    from tensorflow_metadata.proto.v0 import schema_pb2

    from millrace.components.trainer import executor as trainer
    from millrace.components.transform import executor as transform

    root: Path = tmp_path_factory.mktemp("flights")
    for split, rows, seed in (("train", 4000, 1), ("eval", 1000, 2)):
        table = flights(rows, seed)
        with examples.SplitWriter(root / "raw", split, table.schema) as writer:
            for batch in table.to_batches():
                writer.write(batch)
    schema = schema_pb2.Schema()
    for field in table.schema:
        text = pa.types.is_string(field.type)
        feature = schema.feature.add(
            name=field.name, type=schema_pb2.BYTES if text else schema_pb2.INT
        )
        feature.presence.min_fraction = 1.0
        feature.shape.dim.add(size=1)
    schemas.save(root / "schema", schema)
    graph, transformed = TransformGraph(str(root / "graph")), Examples(str(root / "transformed"))
    transform.run(
        Examples(str(root / "raw")), Schema(str(root / "schema")), "late", graph, transformed,
        HTML(str(root / "transform.html")), "millrace.pipelines.flights.preprocessing",
    )  # fmt: skip
    metrics = Metrics(str(root / "metrics"))
    trainer.run(
        transformed, graph, Schema(str(root / "schema")), Model(str(root / "model")), metrics,
        HTML(str(root / "trainer.html")), "millrace.pipelines.flights.model", train_steps=60,
    )  # fmt: skip
    table = pa.Table.from_batches(examples.read(root / "transformed", "train"))
    return {"graph": graph.path, "table": table, "metrics": metrics.metadata}


def test_seven_z_scores_four_vocabularies_two_times_24_buckets(run) -> None:
    table = run["table"]
    scores = [name for name, kind in zip(table.column_names, table.schema.types, strict=True)
              if kind == pa.float32()]  # fmt: skip
    assert len(scores) == 7
    for name in scores:
        values = table[name].to_numpy()
        assert abs(values.mean()) < 1e-3, name
        assert abs(values.std() - 1) < 1e-3, name
    for name in ("sched_dep_time_bk", "sched_arr_time_bk"):
        assert set(table[name].to_pylist()) == set(range(24))
    sizes = {name: len(set(table[f"{name}_xf"].to_pylist())) for name in
             ("carrier", "origin", "dest", "tailnum")}  # fmt: skip
    assert sizes == {"carrier": 3, "origin": 2, "dest": 4, "tailnum": 300}


def test_network_has_the_same_parameters(run) -> None:
    embeddings = 8 * (24 + 24 + (3 + 1) + (2 + 1) + (4 + 1) + (300 + 1))
    dense = (7 + 6 * 8 + 1) * 64 + (64 + 1) * 32 + (32 + 1)
    assert run["metrics"]["parameters"] == embeddings + dense
    # As many as the network that TFX trains has, with the vocabularies of its split.
    real = 8 * (24 + 24 + (16 + 1) + (3 + 1) + (104 + 1) + (3957 + 1)) + dense
    assert real == 38_753


def test_it_learns(run) -> None:
    assert run["metrics"]["eval_auc"] > 0.55
