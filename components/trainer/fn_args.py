"""The arguments of a user's `build_model` or `run_fn`, named as in TFX."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import tensorflow as tf
import tensorflow_transform as tft
import tf_keras

from millrace.components.trainer import export
from millrace.components.trainer.rows import Rows
from millrace.ml.problem import Problem


@dataclasses.dataclass
class FnArgs:
    """The arguments of a user's `build_model` or `run_fn`.

    Attributes:
        train_files: The shards of the train split, as Parquet.
        eval_files: The shards of the eval split.
        train_steps: How many batches to train on.
        eval_steps: How many batches to evaluate on.
        batch_size: Rows in a batch.
        seed: The random seed, which is set already.
        transform_output: The folder that `tft.TFTransformOutput` loads.
        schema_path: The schema of the raw rows.
        serving_model_dir: Where `run_fn` must leave its SavedModel.
        model_run_dir: A folder for checkpoints and logs; it is not kept.
        custom_config: The step's parameter of that name.
        problem: The label, the kind of problem and its classes.
        data_accessor: Reads files as TFX's modules do.
    """

    train_files: list[str]
    eval_files: list[str]
    train_steps: int
    eval_steps: int
    batch_size: int
    seed: int
    transform_output: str
    schema_path: str
    serving_model_dir: str
    model_run_dir: str
    custom_config: dict[str, Any]
    problem: Problem
    data_accessor: DataAccessor

    @property
    def transform_graph_path(self) -> str:
        """The same as `transform_output`; TFX has both names."""
        return self.transform_output

    @functools.cached_property
    def transform_graph(self) -> tft.TFTransformOutput:
        """What the transform learned: features, vocabularies, ranges."""
        return tft.TFTransformOutput(self.transform_output)

    @functools.cached_property
    def features(self) -> dict[str, Any]:
        """The transformed features but the label, as TensorFlow's feature specs, by name."""
        spec = dict(self.transform_graph.transformed_feature_spec())
        del spec[self.problem.label]
        return spec

    def train_dataset(self, features: Sequence[str] = ()) -> tf.data.Dataset:
        """Returns endless shuffled batches of `(features, label)` of the train split."""
        return self.rows("train", features).dataset(self.batch_size)

    def eval_dataset(self, features: Sequence[str] = ()) -> tf.data.Dataset:
        """Returns `eval_steps` batches of `(features, label)` of the eval split."""
        rows = self.rows("eval", features)
        part = self.eval_steps < rows.steps(self.batch_size)
        return rows.dataset(self.batch_size, shuffle=part, epochs=1, steps=self.eval_steps)

    def rows(self, split: str, features: Sequence[str] = ()) -> Rows:
        """Returns the rows of the train or eval split with some features, or all."""
        files = self.train_files if split == "train" else self.eval_files
        names = tuple(features) or tuple(self.features)
        return _rows(tuple(files), self.problem.label, names, self.seed)

    def export(self, model: tf_keras.Model) -> None:
        """Writes a model to `serving_model_dir` with its transform inside and every signature."""
        export.save(
            model,
            Path(self.serving_model_dir),
            Path(self.transform_output),
            Path(self.schema_path),
            self.problem,
        )


@dataclasses.dataclass(frozen=True)
class DataAccessor:
    """Reads transformed rows for modules that were written for TFX.

    Attributes:
        seed: Makes a shuffle repeatable.
    """

    seed: int

    def tf_dataset_factory(self, files: Sequence[str], options: Any, schema: Any = None) -> Any:
        """Returns the rows of Parquet files in batches, without end unless `num_epochs` is given.

        Args:
            files: Their paths.
            options: `tfxio.TensorFlowDatasetOptions`.
            schema: The transformed schema; its features are read, else every column.
        """
        paths = [Path(file) for file in files]
        known = pq.read_schema(paths[0]).names
        names = known if schema is None else [feature.name for feature in schema.feature]
        label = options.label_key or names[0]
        rows = Rows(paths, label, [name for name in names if name != label], self.seed)
        epochs = None if options.num_epochs == -1 else options.num_epochs
        batches = rows.dataset(options.batch_size, options.shuffle, epochs)
        if options.label_key:
            return batches
        return batches.map(lambda features, first: {**features, label: first})


@functools.lru_cache(maxsize=4)
def _rows(files: tuple[str, ...], label: str, features: tuple[str, ...], seed: int) -> Rows:
    """Returns the rows, cached so that they are read once."""
    return Rows([Path(file) for file in files], label, features, seed)
