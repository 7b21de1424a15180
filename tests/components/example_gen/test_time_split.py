"""Splits by time: nothing of the future is learned from."""

import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.errors import DataError, ParameterError

DAY = datetime.date(2024, 1, 1)


@pytest.fixture
def days(tmp_path):
    """Two rows for each of a hundred days, latest first."""
    path = tmp_path / "t.csv"
    lines = [
        f"{DAY + datetime.timedelta(days=number)},{number},{half}"
        for number in reversed(range(100))
        for half in "ab"
    ]
    path.write_text("\n".join(["day,n,half", *lines]) + "\n")
    return path


def numbers(result, column="n"):
    return {
        split: sorted(result.table(split).column(column).to_pylist())
        for split in result.metadata["splits"]
    }


SPLITS = {"train": 6, "eval": 3, "test": 1}


def test_train_comes_before_eval_and_eval_before_test(generate, days):
    result = generate(days, splits=SPLITS, time_column="day")
    found = numbers(result)
    assert (found["train"][-1], found["eval"][0], found["eval"][-1]) == (59, 60, 89)
    assert {split: len(rows) for split, rows in found.items()} == {
        "train": 120,
        "eval": 60,
        "test": 20,
    }
    assert "split by day: train from 2024-01-01, eval from 2024-03-01, test from" in result.page


@pytest.mark.parametrize(("column", "gap"), [("day", "7 days"), ("n", "7"), ("day", "1 week")])
def test_rows_in_the_gap_are_left_out_and_counted(generate, days, column, gap):
    result = generate(days, splits={"train": 1, "eval": 1}, time_column=column, time_gap=gap)
    found = numbers(result)
    assert (found["train"][-1], found["eval"][0]) == (49, 57)
    assert result.metadata["rows_in_gaps"] == 14
    assert result.metadata["rows"] + 14 == result.metadata["source_rows"] == 200
    assert "left out in the gaps" in result.page


@settings(max_examples=15)
@given(
    st.lists(st.integers(-1000, 1000), min_size=40, max_size=60),
    st.integers(0, 5),
    st.permutations(["train", "eval", "test"]),
)
def test_no_row_is_later_than_one_of_the_next_split(tmp_path_factory, times, gap, names):
    import millrace.components.example_gen.executor as step
    from millrace.artifacts import HTML, Examples
    from millrace.data import examples as data

    folder = tmp_path_factory.mktemp("time")
    path = folder / "t.csv"
    path.write_text("t,id\n" + "".join(f"{time},{n}\n" for n, time in enumerate(times)))
    examples = Examples(str(folder / "examples"))
    splits = dict.fromkeys(names, 1)
    try:
        step.run(
            str(path),
            examples,
            HTML(str(folder / "r.html")),
            splits=splits,
            time_column="t",
            time_gap=str(gap),
        )
    except DataError as error:
        if "gets none of the" not in str(error):
            raise
        return
    read = {
        split: [
            value
            for batch in data.read(examples.path, split, ["t"])
            for value in batch.column(0).to_pylist()
        ]
        for split in names
    }
    for first, second in (("train", "eval"), ("eval", "test")):
        assert max(read[first]) + gap < min(read[second])
    total = sum(map(len, read.values()))
    assert total + examples.metadata.get("rows_in_gaps", 0) == len(times)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"time_column": "date"}, r'"time_column" names "date", which is not a column'),
        ({"time_column": "day", "time_gap": "a week"}, r"'a week': give a duration such as"),
        ({"time_column": "n", "time_gap": "7 days"}, r"'7 days', .* of type BIGINT: give a number"),
        ({"time_column": "half", "time_gap": "1"}, r"only dates, times and numbers can have a gap"),
        ({"time_column": "day", "key_columns": ["n"]}, "either by .* or by"),
        ({"time_gap": "7 days"}, '"time_gap" is given, but no "time_column"'),
    ],
)
def test_parameters_that_make_no_sense(generate, days, parameters, message):
    with pytest.raises(ParameterError, match=message):
        generate(days, **parameters)


def test_rows_without_a_time(generate, days):
    days.write_text(days.read_text() + ",7,a\n")
    with pytest.raises(DataError, match=r'1 of the rows have no "day" .* WHERE "day" IS NOT NULL'):
        generate(days, time_column="day")
    query = 'SELECT * FROM data WHERE "day" IS NOT NULL'
    assert generate(days, time_column="day", query=query).metadata["rows"] == 200


def test_a_gap_that_swallows_a_split(generate, days):
    with pytest.raises(DataError, match='Split "eval" gets none of the'):
        generate(days, time_column="n", time_gap="70")
