"""Classes that differ only in case or blanks are found, and a query makes them one."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.ml import spellings


def test_the_most_frequent_spelling_is_kept() -> None:
    counts = {"Yes": 50, "yes": 9, " Yes": 3, "YES ": 9, "No": 70, "no\u00a0": 1, "maybe": 4}
    assert spellings.alike(counts) == {"yes": "Yes", " Yes": "Yes", "YES ": "Yes", "no\u00a0": "No"}


@pytest.mark.parametrize("counts", [{0: 3, 1: 4}, {"yes": 3, "yes!": 4}, {"no": 1}, {}])
def test_other_classes_are_not_alike(counts) -> None:
    assert spellings.advice("y", counts) == ""


@given(st.dictionaries(st.text("aA ß'\"", min_size=1, max_size=3), st.integers(1, 9), min_size=1))
def test_the_query_leaves_one_spelling_of_each(counts: dict[str, int]) -> None:
    told = spellings.advice('the "y"', counts)
    if not told:
        return
    query = told[told.index("SELECT") :]
    with duckdb.connect() as connection:
        connection.execute('CREATE TABLE data ("the ""y""" VARCHAR)')
        connection.executemany("INSERT INTO data VALUES (?)", [[value] for value in counts])
        left = {value for (value,) in connection.execute(query).fetchall()}
    assert left < set(counts)
    assert spellings.alike({value: counts[value] for value in left}) == {}
