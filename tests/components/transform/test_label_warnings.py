"""Classes that are rare, or spelled in several ways, are warned of before training."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from millrace.components.transform import label_warnings
from millrace.data import examples
from millrace.errors import DataError, ParameterError
from millrace.ml import problem as problems


def find(root: Path, train: list, evaluate: list, kind: str = "auto") -> list[str]:
    for split, values in (("train", train), ("eval", evaluate)):
        table = pa.table({"y": values})
        with examples.SplitWriter(root, split, table.schema) as writer:
            for batch in table.to_batches():
                writer.write(batch)
    return label_warnings.find(root, problems.infer(root, "y", kind, ["train"]))


def test_a_class_with_a_handful_of_rows(tmp_path) -> None:
    (warning,) = find(tmp_path, ["ok"] * 3000 + ["fraud"] * 2, ["ok"] * 1500 + ["fraud"])
    assert (
        "fewer than 10 rows in a split, of 4,503 rows in all: 'fraud' in 1 of eval, 2 of train"
        in (warning)
    )


def test_a_class_that_is_not_measured(tmp_path) -> None:
    (warning,) = find(tmp_path, list("ab" * 50) + ["c"] * 20, list("ab" * 50))
    assert "'c' in 0 of eval, 20 of train" in warning


def test_classes_with_enough_rows_and_numbers(tmp_path) -> None:
    assert find(tmp_path / "a", ["a", "b"] * 10, ["a", "b"] * 10) == []
    assert find(tmp_path / "b", [0.5, 1.5] * 10, [0.5, 2.5] * 10) == []


def test_spellings_of_one_class(tmp_path) -> None:
    rows = ["Yes"] * 50 + ["yes"] * 10 + ["Yes "] * 10 + ["No"] * 50
    (warning,) = find(tmp_path, rows, rows)
    assert "'Yes' (100 rows), 'Yes ' (20 rows), 'yes' (20 rows)" in warning
    assert (
        """CASE "y" WHEN 'Yes ' THEN 'Yes' WHEN 'yes' THEN 'Yes' ELSE "y" END AS "y") FROM"""
        in (warning)
    )


@pytest.mark.parametrize(
    ("train", "kind", "error"),
    [
        (["Yes", "No", "yes"] * 20, "binary", ParameterError),
        (["Yes", "No"] * 20, "auto", DataError),
    ],
)
def test_an_error_because_of_spellings_says_so(tmp_path, train, kind, error) -> None:
    with pytest.raises(
        error, match=r"differ only in case or blanks: 'Yes' .* WHEN 'yes' THEN 'Yes'"
    ):
        find(tmp_path, train, ["Yes", "yes", "No"] * 9, kind)
