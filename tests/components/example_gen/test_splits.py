"""The same row lands in the same split: Python recomputes it from the definition alone."""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.components.example_gen import canonical, engine, shares
from millrace.errors import DataError

UNIT, RECORD = "\x1f", "\x1e"


def text_of(value: object) -> str:
    """The canonical text of a value, from the definition alone."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        if math.isnan(value):
            return "nan"
        if value.is_integer() and abs(value) < 1e15:
            return str(int(value))
        return repr(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return RECORD.join(text_of(item) for item in value)
    return str(value)


def key_of(values: list) -> str:
    return hashlib.md5(UNIT.join(text_of(value) for value in values).encode()).hexdigest()


def split_of(values: list, splits: dict[str, float]) -> str:
    position = Fraction(int(key_of(values), 16), 2**128)
    total, upto = sum(Fraction(str(share)) for share in splits.values()), Fraction()
    for name in sorted(splits):
        upto += Fraction(str(splits[name])) / total
        if position < upto:
            return name
    raise AssertionError(position)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
columns = {
    "i": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "d": (pa.float64(), st.floats()),
    "e": (pa.float64(), st.integers(-(10**17), 10**17).map(lambda n: n / 4)),
    "s": (pa.string(), texts),
    "b": (pa.binary(), st.binary(max_size=4)),
    "o": (pa.bool_(), st.booleans()),
    "l": (pa.list_(pa.float64()), st.lists(st.none() | st.floats(), max_size=3)),
    "t": (pa.list_(pa.string()), st.lists(st.none() | texts, max_size=3)),
}
tables = st.integers(1, 20).flatmap(
    lambda rows: st.fixed_dictionaries(
        {
            name: st.lists(st.none() | values, min_size=rows, max_size=rows)
            for name, (_, values) in columns.items()
        }
    )
)


@given(tables)
def test_keys_follow_their_definition(tmp_path, content):
    table = pa.table({name: pa.array(content[name], kind) for name, (kind, _) in columns.items()})
    path = tmp_path / "t.parquet"
    pq.write_table(table, path)
    connection = duckdb.connect()
    connection.execute(f"CREATE VIEW source AS FROM {engine.literal(str(path))}")
    described = connection.execute("DESCRIBE FROM source").fetchall()
    types = {name: kind for name, kind, *_ in described}
    held = {name: canonical.held(name, kind) for name, kind in types.items()}
    values = ", ".join(
        f"{canonical.value(name, kind)} AS {engine.identifier(name)}"
        for name, kind in types.items()
    )
    rows = connection.execute(
        f"SELECT {canonical.key(list(held), held)} FROM (SELECT {values} FROM source)"
    ).fetchall()
    expected = [key_of(list(row.values())) for row in table.to_pylist()]
    assert [key for (key,) in rows] == expected


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(
            st.integers(-(10**6), 10**6), st.text("aZé日 '|", max_size=5), st.floats(-1e6, 1e6)
        ),
        min_size=40,
        max_size=60,
        unique=True,
    )
)
def test_csv_rows_land_where_the_definition_says(generate, tmp_path, rows):
    path = tmp_path / "t.csv"
    path.write_text("i,s,d\n" + "".join(f'{i},"x{s}",{d!r}\n' for i, s, d in [*rows, (0, "", 0.5)]))
    splits = {"train": 0.6, "eval": 0.4}
    result = generate(path, splits=splits)
    for split in splits:
        for row in result.table(split).to_pylist():
            assert split_of([row["i"], row["s"], row["d"]], splits) == split


def test_neither_order_files_nor_format_move_a_row(generate, people, tmp_path):
    expected = generate(people).split_of("name")
    header, *lines = people.read_text().splitlines()
    random.Random(1).shuffle(lines)
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.csv").write_text("\n".join([header, *lines[number::4]]) + "\n")
    assert generate(folder).split_of("name") == expected
    rows = generate(people).rows()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    assert generate(tmp_path / "t.parquet").split_of("name") == expected
    assert generate(people, query="SELECT * FROM data ORDER BY name DESC").split_of("name") == (
        expected
    )


def test_more_rows_and_decimals_move_no_row(generate, people):
    before = generate(people).split_of("name")
    with people.open("a") as file:
        file.writelines(f"q{number},{number}.5,{number},blue\n" for number in range(50))
    after = generate(people).split_of("name")
    assert {name: after[name] for name in before} == before


def test_the_order_in_which_splits_are_named_moves_no_row(generate, people):
    first = generate(people, splits={"train": 2, "eval": 1}).split_of("name")
    assert generate(people, splits={"eval": 1, "train": 2}).split_of("name") == first
    assert generate(people, splits={"eval": 10, "train": 20}).split_of("name") == first


def test_rows_that_share_a_key_stay_together(generate, people):
    result = generate(people, key_columns=["team"], splits={"train": 1, "eval": 1})
    teams = [set(result.table(split).column("team").to_pylist()) for split in ("train", "eval")]
    assert not teams[0] & teams[1]
    assert teams[0] | teams[1] == set(range(7))


def test_a_key_column_keeps_its_rows_when_other_columns_change(generate, people):
    first = generate(people, key_columns=["name"]).split_of("name")
    query = "SELECT name, score + 1 AS other FROM data"
    assert generate(people, key_columns=["name"], query=query).split_of("name") == first


def test_shares_are_kept(generate, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a\n" + "".join(f"{number}\n" for number in range(20_000)))
    rows = generate(path, splits={"train": 0.7, "eval": 0.2, "test": 0.1}).metadata["split_rows"]
    assert rows["train"] == pytest.approx(14_000, rel=0.03)
    assert rows["eval"] == pytest.approx(4_000, rel=0.06)
    assert rows["test"] == pytest.approx(2_000, rel=0.08)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM data WHERE a % 3 > 0",
        "SELECT b, first(a) AS f, string_agg(a) AS s, sum(c) AS t FROM data GROUP BY b",
        "SELECT a, row_number() OVER (PARTITION BY b ORDER BY a % 7) AS n FROM data",
    ],
)
def test_runs_and_numbers_of_threads_give_equal_bytes(generate, tmp_path, monkeypatch, query):
    path = tmp_path / "t.csv"
    path.write_text("a,b,c\n" + "".join(f"{i},{i % 977}x,{i / 7}\n" for i in range(300_000)))
    real = duckdb.connect
    digests = set()
    for threads in (1, 2, 5, None):
        if threads:
            monkeypatch.setattr(
                duckdb,
                "connect",
                lambda config, threads=threads: real(config=config | {"threads": str(threads)}),
            )
        else:
            monkeypatch.setattr(duckdb, "connect", real)
        digests.add(generate(path, query=query).digest())
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("written", "parts", "warns"),
    [
        ({"train": 49, "eval": 1}, {"train": 999, "eval": 1}, False),
        ({"train": 297, "eval": 3}, {"train": 999, "eval": 1}, False),
        ({"train": 290, "eval": 10}, {"train": 999, "eval": 1}, True),
        ({"train": 7, "eval": 3}, {"train": 1, "eval": 1}, False),
        ({"train": 6_400, "eval": 3_600}, {"train": 2, "eval": 1}, True),
        ({"train": 6_500, "eval": 3_500}, {"train": 2, "eval": 1}, False),
        ({"all": 9}, {"all": 3}, False),
    ],
)
def test_chance_makes_no_split_uneven(
    written: dict[str, int], parts: dict[str, float], warns: bool
) -> None:
    assert bool(shares.warning(written, parts, [])) == warns


def test_splits_that_many_equal_rows_make_uneven(
    generate: Callable, people: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert "warnings" not in generate(people).metadata
    path = tmp_path / "few.csv"
    kinds = ["1st,yes", "2nd,yes", "3rd,yes", "1st,no", "2nd,no", "3rd,no"]
    path.write_text("\n".join(["class,survived", *(kinds * 100)]) + "\n")
    with pytest.raises(DataError, match=r"is empty\. Split .* rows are equal"):
        generate(path, splits={"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1, "g": 1})
    found = generate(path)
    assert found.metadata["warnings"] == 1
    assert "many rows are equal, and copies of a row stay in one split" in caplog.text
    assert "Uneven splits:" in found.page

    query = re.search(r'query="(.*?)", key_columns=\["(.*?)"\]', caplog.text)
    assert query
    caplog.clear()
    numbered = generate(path, query=query[1], key_columns=[query[2]])
    assert "warnings" not in numbered.metadata
    assert numbered.digest() == generate(path, query=query[1], key_columns=[query[2]]).digest()
    assert "Uneven splits" not in numbered.page
    assert not caplog.text

    generate(path, key_columns=["class", "survived"])
    assert (
        'many rows share their "class", "survived", and such rows stay in one split' in caplog.text
    )
