"""Loads an exported model, and predicts raw rows with it in a stream."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import tensorflow as tf

from millrace.data import examples, schemas
from millrace.errors import DataError, ModelError, nearest
from millrace.ml import problem
from millrace.ml.arrays import Array
from millrace.ml.features import RawFeature, raw_spec, to_numpy
from millrace.ml.problem import Kind, Problem, encode

ConcreteFunction: TypeAlias = Any  # TensorFlow has no type stubs

SIGNATURE = "raw_features"
_EXTRA = "assets.extra"


@dataclasses.dataclass(frozen=True)
class Rows:
    """A batch of raw rows with the model's inputs.

    Attributes:
        batch: The columns that were read.
        features: The inputs of `raw_features`.
        labels: The index of each row's class, or its value.
    """

    batch: pa.RecordBatch
    features: dict[str, Array]
    labels: Array


class ExportedModel:
    """A SavedModel with a `raw_features` signature.

    Attributes:
        folder: Its folder.
        problem: The problem it solves.
        spec: The raw columns it takes.
        signature: The `raw_features` function.
        output: The name of the output with its prediction.
    """

    def __init__(self, folder: Path) -> None:
        """Loads the model.

        Raises:
            ModelError: The model is missing or damaged, or lacks the signature or a file beside it.
        """
        self.folder = folder
        self.problem = _problem(folder)
        spec = _spec(folder, self.problem.label)
        self._model = _load(folder)
        if SIGNATURE not in self._model.signatures:
            known = ", ".join(sorted(self._model.signatures)) or "none at all"
            raise ModelError(
                f'The model at {folder} has no signature "{SIGNATURE}", but {known}. '
                "A module's `run_fn` must export one that takes raw columns."
            )
        self.signature = self._model.signatures[SIGNATURE]
        self.spec = _used(spec, self.signature, folder)
        self.output = _output(self.signature, folder)

    @property
    def width(self) -> int:
        """The number of values the model predicts per row: one, or one per class."""
        return len(self.problem.classes) if self.problem.kind is Kind.MULTICLASS else 1

    def columns(self, root: Path, split: str, extra: Sequence[str] = ()) -> list[str]:
        """Returns the columns of a split that the model takes, its label and some more.

        Raises:
            DataError: The split or its label is missing.
        """
        names = examples.schema(root, split).names
        label = self.problem.label
        if label not in names:
            raise DataError(
                f'The examples have no column "{label}", which is the label of the model.'
                f"{nearest(label, names)}"
            )
        wanted = {*self.spec, label, *extra}
        return [name for name in names if name in wanted]

    def rows(self, root: Path, split: str, extra: Sequence[str] = ()) -> Iterator[Rows]:
        """Yields a split's rows with their labels, in a stream.

        Raises:
            DataError: A column is missing, or a label is missing or unknown to the model.
        """
        for batch in examples.read(root, split, self.columns(root, split, extra)):
            yield self.take(batch, split)

    def take(self, batch: pa.RecordBatch, split: str) -> Rows:
        """Returns the rows of a batch of columns."""
        return Rows(batch, to_numpy(batch, self.spec), encode(batch, self.problem, split))

    def predict(self, features: dict[str, Array]) -> Array:
        """Returns predictions as float32 of shape [rows, width]."""
        inputs = {name: tf.constant(value) for name, value in features.items()}
        try:
            outputs = self.signature(**inputs)[self.output].numpy()
        except (tf.errors.OpError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(f"The model at {self.folder} cannot predict: {reason}") from error
        return shaped(outputs, self)


def shaped(outputs: Array, model: ExportedModel) -> Array:
    """Returns a model's outputs as float32 of shape [rows, width].

    Of the two outputs of a softmax for a binary problem, it takes the second.

    Raises:
        ModelError: The outputs have another shape.
    """
    values: Array = outputs.astype(np.float32, copy=False)
    values = values.reshape(-1, 1) if values.ndim == 1 else values
    if model.problem.kind is Kind.BINARY and values.shape[1:] == (2,):
        values = values[:, 1:]
    if values.shape[1:] != (model.width,):
        raise ModelError(
            f"The model at {model.folder} gives outputs of shape {list(outputs.shape)}; "
            f"a {model.problem.kind.value} problem needs [rows, {model.width}]."
        )
    return values


def _used(
    spec: Mapping[str, RawFeature], signature: ConcreteFunction, folder: Path
) -> dict[str, RawFeature]:
    """Returns the raw columns that a signature takes."""
    inputs = signature.structured_input_signature[1]
    used = {column: feature for column, feature in spec.items() if feature.input in inputs}
    unknown = sorted(set(inputs) - {feature.input for feature in used.values()})
    if unknown:
        raise ModelError(
            f'The signature "{SIGNATURE}" of the model at {folder} takes {", ".join(unknown)}, '
            "which the schema that lies beside it does not have."
        )
    return used


def _output(signature: ConcreteFunction, folder: Path) -> str:
    names = sorted(signature.structured_outputs)
    if "outputs" in names or len(names) == 1:
        return "outputs" if "outputs" in names else names[0]
    raise ModelError(
        f'The signature "{SIGNATURE}" of the model at {folder} returns {", ".join(names)}; '
        'call the prediction "outputs".'
    )


def _missing(path: Path, folder: Path) -> ModelError:
    if not folder.is_dir():
        return ModelError(f"There is no model at {folder}.")
    name = path.relative_to(folder)
    return ModelError(
        f"The model at {folder} has no {name}; Trainer writes it, and a module's `run_fn` must."
    )


def _load(folder: Path) -> Any:
    try:
        return tf.saved_model.load(str(folder))
    except Exception as error:  # TensorFlow's parsers and kernels raise various errors
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"The model at {folder} cannot be loaded: {reason}") from error


def _problem(folder: Path) -> Problem:
    path = folder / _EXTRA / problem.FILE
    try:
        return Problem.load(path.parent)
    except FileNotFoundError:
        raise _missing(path, folder) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is damaged: {error}") from error


def _spec(folder: Path, label: str) -> dict[str, RawFeature]:
    path = folder / _EXTRA / schemas.FILE
    if not path.exists():
        raise _missing(path, folder)
    try:
        return raw_spec(schemas.read(path), label)
    except DataError as error:
        raise ModelError(str(error)) from error
