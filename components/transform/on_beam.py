"""Runs TensorFlow Transform's own analysis on Beam, if the local engine cannot."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow_transform.beam as tft_beam
from tensorflow_metadata.proto.v0 import schema_pb2

from millrace.components.transform.inputs import RawInputs
from millrace.data.examples import BATCH_ROWS


def analyze(
    preprocessing_fn: Callable[[dict[str, Any]], dict[str, Any]],
    inputs: RawInputs,
    files: Sequence[Path],
    folder: Path,
    runner: str | None = None,
) -> None:
    """Analyzes Parquet files of raw rows and writes TFT's output folder.

    Args:
        preprocessing_fn: The user's function.
        inputs: Converts the rows to tensors.
        files: The files.
        folder: Where to write what `tft.TFTransformOutput` loads.
        runner: Beam's runner; None is its default, which supports two phases of analysis at most.
    """
    with (
        tempfile.TemporaryDirectory() as scratch,
        beam.Pipeline(runner=runner) as pipeline,
        tft_beam.Context(temp_dir=scratch),
    ):
        batches = (
            pipeline
            | "Files" >> beam.Create([str(path) for path in files])
            | "Read" >> beam.ParDo(_Read(inputs.schema.SerializeToString(), inputs.label))
        )
        analyzed = (batches, inputs.config) | tft_beam.AnalyzeDataset(preprocessing_fn)
        _ = analyzed | tft_beam.WriteTransformFn(str(folder))


class _Read(beam.DoFn):  # type: ignore[misc]
    """Reads a file as batches in TFX's layout."""

    def __init__(self, schema: bytes, label: str) -> None:
        super().__init__()
        self._schema, self._label = schema, label

    def setup(self) -> None:
        self._inputs = RawInputs(schema_pb2.Schema.FromString(self._schema), self._label)

    def process(self, path: str) -> Iterator[pa.RecordBatch]:
        columns = self._inputs.present(pq.read_schema(path))
        for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=columns):
            yield self._inputs.lists(batch)
