"""The checks of exported models before they are measured or pushed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from millrace.errors import ModelError
from millrace.ml.exported import ExportedModel


@pytest.fixture
def copy(exported: Callable, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported("binary").model, tmp_path / "model"))


def message(folder: Path) -> str:
    with pytest.raises(ModelError) as raised:
        ExportedModel(folder)
    return str(raised.value)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    assert message(tmp_path / "none") == f"There is no model at {tmp_path}/none."


@pytest.mark.parametrize("name", ["problem.json", "schema.pbtxt"])
def test_a_file_beside_the_model_is_missing_or_damaged(copy: Path, name: str) -> None:
    path = copy / "assets.extra" / name
    path.write_text("{damaged")
    reason = "damaged" if name == "problem.json" else "not a schema in protobuf's text format"
    assert message(copy).startswith(f"{path} is {reason}: ")
    path.unlink()
    assert message(copy) == (
        f"The model at {copy} has no assets.extra/{name}; Trainer writes it, and a module's "
        "`run_fn` must."
    )


def test_a_damaged_model(copy: Path) -> None:
    whole = (copy / "saved_model.pb").read_bytes()
    (copy / "saved_model.pb").write_bytes(whole[: len(whole) // 2])
    assert message(copy).startswith(f"The model at {copy} cannot be loaded: ")
    (copy / "saved_model.pb").unlink()
    assert message(copy).startswith(f"The model at {copy} cannot be loaded: ")
    (copy / "saved_model.pb").write_bytes(whole)
    shutil.rmtree(copy / "variables")
    assert message(copy).startswith(f"The model at {copy} cannot be loaded: ")


def test_a_model_without_the_signature(models: Any, tmp_path: Path) -> None:
    folder = models.save(tmp_path / "m", "binary", signature="serving_default")
    assert message(folder) == (
        f'The model at {folder} has no signature "raw_features", but serving_default. '
        "A module's `run_fn` must export one that takes raw columns."
    )


def test_a_schema_of_other_columns(copy: Path, models: Any, tmp_path: Path) -> None:
    fewer = {"distance": ("FLOAT", True)}
    other = models.save(
        tmp_path / "o", "binary", lambda features, _: features["distance"], columns=fewer
    )
    shutil.copy(other / "assets.extra" / "schema.pbtxt", copy / "assets.extra")
    assert "takes air_time, carrier, grosse, seats, stops, which the schema" in message(copy)


def test_outputs_of_another_shape(models: Any, exported: Callable, tmp_path: Path) -> None:
    import tensorflow as tf

    def of_width(width: int) -> ExportedModel:
        def predict(features: dict, _: Any) -> Any:
            return tf.repeat(features["distance"] / 1e4, width, axis=1)

        return ExportedModel(models.save(tmp_path / str(width), "binary", predict))

    rows = next(iter(of_width(1).rows(exported("binary").examples, "eval")))
    two = of_width(2).predict(rows.features)
    assert np.array_equal(two, of_width(1).predict(rows.features))
    with pytest.raises(ModelError, match=r"gives outputs of shape \[2000, 3\]; a binary problem"):
        of_width(3).predict(rows.features)


def test_a_model_of_one_dimension(models: Any, exported: Callable, tmp_path: Path) -> None:
    import tensorflow as tf

    folder = models.save(
        tmp_path / "m", "regression", lambda features, _: tf.reshape(features["distance"], [-1])
    )
    loaded = ExportedModel(folder)
    rows = next(iter(loaded.rows(exported("regression").examples, "eval")))
    assert loaded.predict(rows.features).shape == (2000, 1)
