"""The kind of problem of a label, and unusable labels."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.examples import SplitWriter
from millrace.errors import DataError, MillraceError, ParameterError
from millrace.ml import labels
from millrace.ml.problem import Kind, Problem, are_written_numbers, encode, infer


def write(root: Path, **splits: Any) -> Path:
    for split, values in splits.items():
        table = pa.table({"label": values, "feature": pa.nulls(len(values), pa.int64())})
        with SplitWriter(root, split, table.schema) as writer:
            for batch in table.to_batches(2):
                writer.write(batch)
    return root


def both(root: Path, values: list[Any]) -> Path:
    return write(root, train=values, eval=values)


@pytest.mark.parametrize(
    ("values", "kind", "classes"),
    [
        (["no", "yes", "no"], Kind.BINARY, ("no", "yes")),
        (["b", "c", "a"], Kind.MULTICLASS, ("a", "b", "c")),
        ([1, 0, 0, 1], Kind.BINARY, (0, 1)),
        ([7, 3, 3, 7], Kind.BINARY, (3, 7)),
        ([0.0, 1.0, 1.0], Kind.BINARY, (0, 1)),
        ([0.5, 1.0, 0.5], Kind.REGRESSION, ()),
        ([1.0, 2.0, 3.0], Kind.REGRESSION, ()),
        ([-1, 0, 1] * 5, Kind.MULTICLASS, (-1, 0, 1)),
        ([1, 2, 3], Kind.REGRESSION, ()),
        (list(range(100)), Kind.REGRESSION, ()),
        (["Ä", "z", "a"], Kind.MULTICLASS, ("a", "z", "Ä")),
    ],
)
def test_kind_is_inferred(tmp_path, values, kind, classes) -> None:
    assert infer(both(tmp_path, values), "label") == Problem("label", kind, classes)


@pytest.mark.parametrize(
    ("values", "kind", "classes"),
    [
        ([1, 2, 3], Kind.MULTICLASS, (1, 2, 3)),
        ([0, 1], Kind.REGRESSION, ()),
        ([0, 1], Kind.MULTICLASS, (0, 1)),
        ([1.0, 2.0, 5.0], Kind.MULTICLASS, (1, 2, 5)),
    ],
)
def test_kind_can_be_chosen(tmp_path, values, kind, classes) -> None:
    assert infer(both(tmp_path, values), "label", kind.value) == Problem("label", kind, classes)


def test_classes_of_all_splits_are_sorted_together(tmp_path) -> None:
    root = write(tmp_path, train=["b", "a", "a"], eval=["a", "b"], test=["b", "a"])
    assert infer(root, "label").classes == ("a", "b")


@pytest.mark.parametrize(
    ("splits", "kind", "error", "message"),
    [
        (
            {"train": [1, 0, None], "eval": [1, None, None]},
            "auto",
            DataError,
            'The label "label" is missing in some rows: 2 in eval, 1 in train. Leave them out'
            ' with a query: SELECT * FROM data WHERE "label" IS NOT NULL',
        ),
        (
            {"train": [1.5, float("nan"), 2.5, -float("inf")], "eval": [None, 1.5]},
            "auto",
            DataError,
            'The label "label" is missing, NaN or infinite in some rows: 1 in eval, 2 in train.'
            ' Leave them out with a query: SELECT * FROM data WHERE isfinite("label")',
        ),
        (
            {"train": pa.nulls(2), "eval": pa.nulls(1)},
            "auto",
            DataError,
            'The label "label" is missing in some rows: 1 in eval, 2 in train. Leave them out'
            ' with a query: SELECT * FROM data WHERE "label" IS NOT NULL',
        ),
        (
            {"train": [5, 5], "eval": [5]},
            "auto",
            DataError,
            'The label "label" is constant: it is 5 in every row, so there is nothing to predict.',
        ),
        (
            {"train": [0, 1, 1], "eval": [1, 1]},
            "auto",
            DataError,
            'The split "eval" has rows of one class only: "label" is 1 in all 2 of them. Split by'
            " other columns, or give it more rows.",
        ),
        (
            {"train": ["a", "b"], "eval": ["a", "b", "c"]},
            "auto",
            DataError,
            'The split "train" has no row where "label" is \'c\'. Leave such rare classes out with'
            " a query, or give the split more rows.",
        ),
        (
            {"train": [1.5, 1.5, 1.5], "eval": [1.5, 2.5]},
            "auto",
            DataError,
            'The label "label" is constant in the split "train", which has 3 rows. Give it more'
            " rows, or split by other columns.",
        ),
        (
            {"train": ["a", "b", "c"]},
            "binary",
            ParameterError,
            "The problem cannot be binary: the label \"label\" has 3 values, 'a', 'b', 'c'. Choose"
            " multiclass.",
        ),
        (
            {"train": [1, 2, 3]},
            "binary",
            ParameterError,
            'The problem cannot be binary: the label "label" has 3 values, 1, 2, 3. Choose'
            " multiclass or regression.",
        ),
        (
            {"train": ["a", "b"]},
            "regression",
            ParameterError,
            "The label \"label\" is text, 'a', 'b', so the problem cannot be regression. Choose"
            " binary or multiclass.",
        ),
        (
            {"train": [0.5, 1.5, 2.5]},
            "multiclass",
            ParameterError,
            'The label "label" holds decimal numbers, 0.5, 1.5, 2.5, so the problem cannot be'
            " multiclass. Choose regression.",
        ),
        (
            {"train": list(range(2000))},
            "multiclass",
            ParameterError,
            'The label "label" has 2,000 different values, 0, 1, 2, 3, 4, …; a classification can'
            " have at most 1,000. Choose regression.",
        ),
        (
            {"train": [f"row {number}" for number in range(2000)]},
            "auto",
            ParameterError,
            "The label \"label\" has 2,000 different values, 'row 0', 'row 1', 'row 10',"
            " 'row 100', 'row 1000', …; a classification can have at most 1,000. Is it the right"
            " column?",
        ),
        (
            {"train": [f"${number},200.50" for number in range(30)]},
            "auto",
            DataError,
            "The label \"label\" holds numbers that are written as text, '$0,200.50',"
            " '$1,200.50', '$10,200.50', '$11,200.50', '$12,200.50', …. Make numbers of them with a"
            " query, such as SELECT * REPLACE (CAST(regexp_replace(\"label\", '[^0-9.-]',"
            " '', 'g') AS DOUBLE) AS \"label\") FROM data",
        ),
        (
            {"train": [1, 0]},
            "clasification",
            ParameterError,
            'problem "clasification" is not one of auto, binary, multiclass, regression.',
        ),
        (
            {"train": [1, 0]},
            "multi_class",
            ParameterError,
            'problem "multi_class" is not one of auto, binary, multiclass, regression. Did you mean'
            ' "multiclass"?',
        ),
    ],
)
def test_labels_that_pose_no_problem(tmp_path, splits, kind, error, message) -> None:
    with pytest.raises(error) as raised:
        infer(write(tmp_path, **splits), "label", kind)
    assert str(raised.value) == message


def test_memory_does_not_grow_with_different_values(tmp_path) -> None:
    rows = 300_000

    def table(first: int) -> pa.Table:
        return pa.table({"label": pa.array(range(first, first + rows), pa.float64())})

    for split, first in (("train", 0), ("eval", rows)):
        with SplitWriter(tmp_path, split, table(0).schema) as writer:
            for batch in table(first).to_batches(10_000):
                writer.write(batch)
    tracemalloc.start()
    try:
        problem = infer(tmp_path, "label")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert problem.kind is Kind.REGRESSION
    assert peak < 20 << 20  # a counter of all 600,000 takes some 80 MB
    with pytest.raises(ParameterError, match=r"more than 10,000 different values, 0\.0"):
        infer(tmp_path, "label", "multiclass")


def test_an_extreme_value_is_found_however_late_it_comes(tmp_path) -> None:
    values = [*map(float, range(labels.KEPT + 10)), -1e39]
    with pytest.raises(DataError, match=r"goes up to -1e\+39"):
        infer(both(tmp_path, values), "label")


def test_a_class_may_be_absent_where_nothing_is_learned(tmp_path) -> None:
    root = write(tmp_path, train=["a", "b", "c"], eval=["a", "b"])
    assert infer(root, "label", learn_from=["train"]).classes == ("a", "b", "c")
    with pytest.raises(DataError, match='The split "eval" has no row where "label" is \'c\''):
        infer(root, "label")


@pytest.mark.parametrize("text", ["$1,200", "12 kg", "99%", "1'000.50", "€ 7"])
def test_numbers_written_as_text(text) -> None:
    assert are_written_numbers([text, "12"])


@pytest.mark.parametrize("text", ["k138", "A-12", "", "%", "3 rooms", "1st of May", "1234"])
def test_texts_that_are_no_numbers(text) -> None:
    assert not are_written_numbers([text, "12"])


def test_label_that_is_not_there(tmp_path) -> None:
    with pytest.raises(ParameterError, match='no column "lable" to predict'):
        infer(both(tmp_path, [1, 0]), "lable")


def test_a_split_without_rows(tmp_path) -> None:
    root = write(tmp_path, train=pa.array([0, 1]), eval=pa.array([], pa.int64()))
    with pytest.raises(DataError, match='The split "eval" has no rows'):
        infer(root, "label")


def test_label_of_lists(tmp_path) -> None:
    with pytest.raises(DataError, match="must be a number or text"):
        infer(both(tmp_path, [[1], [2]]), "label")


@given(st.lists(st.one_of(st.text(max_size=3), st.none()), min_size=1, max_size=12))
def test_any_text_poses_a_problem_or_is_refused(tmp_path_factory, values) -> None:
    root = both(tmp_path_factory.mktemp("any"), pa.array(values, pa.string()))
    try:
        problem = infer(root, "label")
    except MillraceError:
        assert None in values or len(set(values)) == 1
    else:
        assert set(problem.classes) == set(values)
        assert problem.kind is (Kind.BINARY if len(set(values)) == 2 else Kind.MULTICLASS)


def test_saved_problem_is_loaded(tmp_path) -> None:
    problem = Problem("größe", Kind.MULTICLASS, ("groß", "klein"))
    problem.save(tmp_path)
    assert Problem.load(tmp_path) == problem


@pytest.mark.parametrize(
    ("values", "furthest", "unit"),
    [([1.5, -2e39, 3.0], "-2e+39", "1e+39"), ([1e-50, 3e-50, 2e-50], "3e-50", "1e-50")],
)
def test_quantities_that_float32_cannot_hold(tmp_path, values, furthest, unit) -> None:
    with pytest.raises(DataError) as raised:
        infer(both(tmp_path, values), "label")
    assert str(raised.value) == (
        f'The label "label" goes up to {furthest}, and models compute with numbers from 1.2e-38 to'
        " 3.4e+38 (float32). Give it in another unit with a query, such as SELECT * REPLACE"
        f' ("label" / {unit} AS "label") FROM data'
    )


# --- Encoded labels ---


def encoded(values: Any, classes: tuple, kind: Kind = Kind.MULTICLASS) -> list:
    batch = pa.RecordBatch.from_arrays([pa.array(values)], ["y"])
    return encode(batch, Problem("y", kind, classes), "eval").tolist()


@pytest.mark.parametrize(
    ("values", "classes", "expected"),
    [
        (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
        ([1, 0, 1], (0, 1), [1, 0, 1]),
        ([1.0, 0.0], (0, 1), [1, 0]),
        ([True, False], (0, 1), [1, 0]),
        (["1", "0"], (0, 1), [1, 0]),
        ([10, 9], (9, 10), [1, 0]),
    ],
)
def test_labels_become_indexes(values: list, classes: tuple, expected: list) -> None:
    assert encoded(values, classes) == expected


def test_quantities_are_rounded_to_float64() -> None:
    assert encoded([2**53 + 1], (), Kind.REGRESSION) == [2.0**53]


@pytest.mark.parametrize(
    ("values", "classes", "kind", "message"),
    [
        (["a", "c"], ("a", "b"), Kind.BINARY, "values that the model does not know: c (rows: 1)"),
        ([1.5], (1, 2), Kind.BINARY, "values that the model does not know: 1.5 (rows: 1)"),
        (
            [None, "a"],
            ("a", "b"),
            Kind.BINARY,
            'The label "y" is missing in split "eval" (rows: 1).',
        ),
        (["x"], (), Kind.REGRESSION, 'The label "y" is string and must be a number.'),
        ([1.0, float("inf")], (), Kind.REGRESSION, 'is NaN or infinite in split "eval" (rows: 1).'),
    ],
)
def test_labels_that_cannot_be_used(values: list, classes: tuple, kind: Kind, message: str) -> None:
    with pytest.raises(DataError) as raised:
        encoded(values, classes, kind)
    assert message in str(raised.value)
