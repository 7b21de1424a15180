"""Every row, value and name of the source is in the examples."""

from __future__ import annotations

import csv
import gzip
import math
import subprocess
import sys

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.data import examples as data
from millrace.errors import DataError


def test_every_row_comes_out_once(generate, people):
    result = generate(people)
    with people.open() as file:
        expected = [
            {
                "name": row["name"],
                "team": int(row["team"]),
                "score": float(row["score"]),
                "colour": row["colour"] or None,
            }
            for row in csv.DictReader(file)
        ]
    assert sorted(result.rows(), key=lambda row: row["name"]) == sorted(
        expected, key=lambda row: row["name"]
    )


def test_metadata_accounts_for_every_row(generate, people):
    metadata = generate(people).metadata
    counts = metadata.pop("split_rows")
    assert metadata == {
        "splits": ["eval", "train"],
        "rows": 100,
        "columns": 4,
        "source_rows": 100,
        "rejected": 0,
    }
    assert sum(counts.values()) == 100


def test_rows_keep_the_order_of_the_source_within_a_split(generate, people):
    names = generate(people).table("train").column("name").to_pylist()
    assert names == sorted(names, key=lambda name: int(name[1:]))


def test_types_of_csv_columns(generate, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        "int,dec,text,bool,day,moment,zoned,big,missing,mixed\n"
        "7,1,a,true,2020-01-31,2020-01-31 10:00,2020-01-31T10:00:00+01:00,1e3,NA,1\n"
        " -5 ,.5,NA,FALSE,2020-02-01,2020-01-31T10:00:00.250,2020-01-31 10:00:00Z,-2,,x\n"
        "+9223372036854775807,-2e3,,True,NA,,,99999999999999999999.0,,2\n"
    )
    table = generate(path, splits={"all": 1}).table("all")
    assert {field.name: str(field.type) for field in table.schema} == {
        "int": "int64",
        "dec": "double",
        "text": "string",
        "bool": "int64",
        "day": "string",
        "moment": "string",
        "zoned": "string",
        "big": "double",
        "missing": "string",
        "mixed": "string",
    }
    assert table.to_pydict() == {
        "int": [7, -5, 2**63 - 1],
        "dec": [1.0, 0.5, -2000.0],
        "text": ["a", None, None],
        "bool": [1, 0, 1],
        "day": ["2020-01-31", "2020-02-01", None],
        "moment": ["2020-01-31T10:00:00", "2020-01-31T10:00:00.250000", None],
        "zoned": ["2020-01-31T09:00:00Z", "2020-01-31T10:00:00Z", None],
        "big": [1000.0, -2.0, 1e20],
        "missing": [None, None, None],
        "mixed": ["1", "x", "2"],
    }


def test_integers_that_do_not_fit_stay_text(generate, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id\n9223372036854775808\n18446744073709551616123\n1\n")
    assert generate(path, splits={"all": 1}).table("all").column("id").to_pylist() == [
        "9223372036854775808",
        "18446744073709551616123",
        "1",
    ]


def test_a_type_comes_from_all_rows_not_from_the_first(generate, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,c\n" + "1,1,1\n" * 50_000 + "1.5,x,1\n")
    table = generate(path, splits={"all": 1}).table("all")
    assert [str(field.type) for field in table.schema] == ["double", "int64", "int64"]
    assert table.slice(50_000).to_pylist() == [{"a": 1.5, "b": None, "c": 1}]


def test_infinities_are_carried_through_and_nan_is_missing(generate, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x,n\ninf,1\n-Infinity,2\nnan,3\nNaN,4\n-nan,5\n1e400,6\n,7\n2.5,8\n")
    values = generate(path, splits={"all": 1}).table("all").column("x").to_pylist()
    assert values[:2] == [math.inf, -math.inf]
    assert values[2:] == [None, None, None, math.inf, None, 2.5]


@pytest.mark.skipif(duckdb.__version__ < "1.4", reason="this DuckDB always believes the bounds")
@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
def test_nan_in_parquet_files_with_bounds(generate, tmp_path, kind):
    path = tmp_path / "t.parquet"
    numbers = [float(number) for number in range(40)]
    pq.write_table(pa.table({"x": pa.array([*numbers, math.nan, None], kind)}), path)
    assert len(generate(path).rows()) == 42
    for where in ("isnan(x)", "x > 100", "NOT x < 40"):
        query = f"SELECT * FROM data WHERE {where}"
        assert str(generate(path, query=query, splits={"all": 1}).rows()) == "[{'x': nan}]"


def test_types_of_parquet_columns(generate, tmp_path):
    import datetime
    import decimal

    path = tmp_path / "t.parquet"
    day = datetime.date(2020, 1, 31)
    moment = datetime.datetime(2020, 1, 31, 10, 0, 0, 5)
    columns = {
        "i8": pa.array([1, None], pa.int8()),
        "u32": pa.array([2**32 - 1, 0], pa.uint32()),
        "u64": pa.array([2**63 - 1, 0], pa.uint64()),
        "f32": pa.array([0.5, math.inf], pa.float32()),
        "dec": pa.array([decimal.Decimal("1.25"), None], pa.decimal128(9, 2)),
        "bool": pa.array([True, None]),
        "text": pa.array(["a", ""]),
        "category": pa.array(["x", "y"]).dictionary_encode(),
        "bytes": pa.array([b"\x00\xff", None], pa.binary()),
        "day": pa.array([day, None]),
        "moment": pa.array([moment, None], pa.timestamp("us")),
        "nano": pa.array([moment, None], pa.timestamp("ns")),
        "zoned": pa.array([moment, None], pa.timestamp("us", tz="Europe/Paris")),
        "list": pa.array([[1, 2], None], pa.list_(pa.int32())),
        "words": pa.array([["a"], []], pa.list_(pa.string())),
        "nothing": pa.nulls(2),
    }
    pq.write_table(pa.table(columns), path)
    table = generate(path, splits={"all": 1}).table("all")
    assert table.to_pydict() == {
        "i8": [1, None],
        "u32": [2**32 - 1, 0],
        "u64": [2**63 - 1, 0],
        "f32": [0.5, math.inf],
        "dec": [1.25, None],
        "bool": [1, None],
        "text": ["a", ""],
        "category": ["x", "y"],
        "bytes": [b"\x00\xff", None],
        "day": ["2020-01-31", None],
        "moment": ["2020-01-31T10:00:00.000005", None],
        "nano": ["2020-01-31T10:00:00.000005", None],
        "zoned": ["2020-01-31T10:00:00.000005Z", None],
        "list": [[1, 2], None],
        "words": [["a"], []],
        "nothing": [None, None],
    }
    held = {str(field.type) for field in table.schema if not pa.types.is_list(field.type)}
    assert held == {"int64", "double", "string", "binary"}


def test_types_that_only_sql_has(generate, people):
    query = """
        SELECT TIME '10:30' AS clock, INTERVAL 1 DAY AS span, team::DECIMAL(9, 2) AS money,
               sum(team) OVER () AS total, NULL AS nothing, 'b'::ENUM('a', 'b') AS choice,
               '{"x": 1}'::JSON AS document, [team > 3] AS flags, [1.5, 2]::FLOAT[2] AS pair
        FROM data WHERE team = 4
    """
    (row,) = {str(row) for row in generate(people, query=query, splits={"all": 1}).rows()}
    assert row == str(
        {
            "clock": "10:30:00",
            "span": "1 day",
            "money": 4.0,
            "total": 4 * 14,
            "nothing": None,
            "choice": "b",
            "document": '{"x": 1}',
            "flags": [1],
            "pair": [1.5, 2.0],
        }
    )


def test_names_with_spaces_dots_quotes_and_unicode(generate, tmp_path):
    path = tmp_path / "a file's [1] *.csv"
    names = ["größe, cm", "x.y", 'the "best"', "it's", "select", "日本", "split", "key", "KEY_"]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *([number] * len(names) for number in range(40))])
    result = generate(path, key_columns=['the "best"'])
    assert result.table("train").column_names == names
    assert result.metadata["rows"] == 40


def test_a_name_of_two_lines(generate, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('a,"b\nb",c\n' + "1,2,3\n" * 40 + "2,3,4\n")
    result = generate(path, splits={"train": 1})
    assert result.table("train").column_names == ["a", "b\nb", "c"]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(generate, people, tmp_path, delimiter, name):
    path = tmp_path / name
    path.write_text(people.read_text().replace(",", delimiter))
    assert generate(path).digest() == generate(people).digest()


@pytest.mark.parametrize("ends", ["\r\n", "\r"])
def test_line_ends(generate, people, tmp_path, ends):
    path = tmp_path / "t.csv"
    path.write_bytes(people.read_bytes().replace(b"\n", ends.encode()))
    assert generate(path).digest() == generate(people).digest()


def test_a_byte_order_mark_and_blank_lines_are_passed_over(generate, people, tmp_path):
    path = tmp_path / "t.csv"
    text = people.read_text()
    path.write_text("\ufeff" + text.replace("p7,", "\n\np7,") + "\n\n")
    assert generate(path).digest() == generate(people).digest()


def test_quoted_values(generate, tmp_path):
    values = ["two\nlines", 'a "quote"', "a,comma", " spaces ", "\r\n", '5" pipe', "''"]
    path = tmp_path / "t.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["n", "text"], *enumerate(values * 9)])
    table = generate(path, splits={"all": 1}).table("all")
    assert table.column("text").to_pylist() == values * 9


def test_a_long_value_of_many_lines(generate, tmp_path):
    value = "a line\n" * 30_000
    path = tmp_path / "t.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["n", "text"], [1, value], [2, "short"]])
    table = generate(path, splits={"all": 1}).table("all")
    assert table.column("text").to_pylist() == [value, "short"]


def test_a_quote_within_a_value_that_is_not_quoted(generate, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('n,text\n1,5" pipe\n2,a "b" c\n3,x\n')
    table = generate(path, splits={"all": 1}).table("all")
    assert table.column("text").to_pylist() == ['5" pipe', 'a "b" c', "x"]


def test_a_blank_line_of_a_single_column_is_a_missing_value(generate, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n\n3\n\n")
    result = generate(path, splits={"all": 1})
    assert result.table("all").column("a").to_pylist() == [1, None, 3, None]


def test_gzip_folder_and_glob(generate, people, tmp_path):
    header, *lines = people.read_text().splitlines(keepends=True)
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        (folder / f"part-{number}.csv.gz").write_bytes(
            gzip.compress("".join([header, *lines[number * 34 : (number + 1) * 34]]).encode())
        )
    (folder / "_SUCCESS").touch()
    (folder / ".part.crc").touch()
    (folder / "notes.md").touch()
    whole = generate(people).digest()
    assert generate(folder).digest() == whole
    assert generate(f"{folder}/part-*.csv.gz").digest() == whole
    assert generate(f"file://{folder}").digest() == whole


def test_parquet_files_may_differ_in_types_and_order_of_columns(generate, tmp_path):
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", "y"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"b": ["z", None], "a": [2.5, None]}), tmp_path / "2.parquet")
    table = generate(tmp_path / "*.parquet", splits={"all": 1}).table("all")
    assert table.to_pydict() == {"a": [1.0, 2.0, 2.5, None], "b": ["x", "y", "z", None]}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_folders_of_partitions_stand_for_columns(generate, tmp_path, suffix):
    root = tmp_path / "run=7" / "in"  # whose parent stands for none
    for year, month in [(2019, 12), (2020, 1), (2020, 2)]:
        folder = root / f"year={year}" / f"month={month}"
        folder.mkdir(parents=True)
        table = pa.table({"a": [f"{year}-{month}-{number}" for number in range(20)]})
        if suffix == ".csv":
            (folder / "part.csv").write_text("\n".join(["a", *table["a"].to_pylist()]) + "\n")
        else:
            pq.write_table(table, folder / "part.parquet")
    rows = generate(root).rows()
    assert len(rows) == 60
    assert all(row["a"].startswith(f"{row['year']}-{row['month']}-") for row in rows)
    assert set(rows[0]) == {"a", "year", "month"}
    assert sorted(generate(f"{root}/**/*{suffix}").table("train").column_names) == sorted(rows[0])
    one = generate(root / "year=2020" / "month=1")
    assert one.table("train").column_names == ["a"]


def test_a_query_selects_filters_and_computes(generate, people):
    result = generate(
        people, query="SELECT name, score * 2 AS twice FROM data WHERE team = 3 -- only these\n;"
    )
    rows = result.rows()
    assert {row["name"]: row["twice"] for row in rows} == {
        f"p{number}": number / 2 for number in range(100) if number % 7 == 3
    }
    assert result.metadata["source_rows"] == 100
    assert result.metadata["rows"] == len(rows) == 14
    assert "left out by the query" in result.page


def test_a_query_of_many_operators(generate, people):
    query = f"SELECT name, {' + '.join(['score'] * 450)} AS total, '{{\\ \"[' AS text FROM data"
    result = generate(people, query=query)
    assert {row["name"]: row["total"] for row in result.rows()}["p8"] == 900


def test_the_order_of_a_grouping_query_is_made_repeatable(generate, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("k,v\n" + "".join(f"{i % 5000},{i}\n" for i in range(60_000)))
    query = "SELECT k, sum(v) AS total, count(*) AS n FROM data GROUP BY k"
    assert len({generate(path, query=query).digest() for _ in range(3)}) == 1


def test_rejected_rows_are_kept_aside(generate, people):
    text = people.read_text().splitlines()
    text.insert(5, "only,three,values")
    people.write_text("\n".join([*text, "a,1,2,blue,more"]) + "\n")
    result = generate(people, max_rejected=2)
    assert result.metadata["rejected"] == 2
    assert result.metadata["rows"] == 100
    with (result.folder / "rejected.csv").open() as file:
        assert list(csv.reader(file)) == [
            ["file", "line", "reason", "text"],
            ["people.csv", "6", "3 values where the header has 4", "only,three,values"],
            ["people.csv", "103", "5 values where the header has 4", "a,1,2,blue,more"],
        ]
    assert "Rejected rows" in result.page
    assert data.splits(result.folder) == ["eval", "train"]


def test_rejected_rows_of_many_surplus_values(generate, people):
    wide = ",".join(map(str, range(40)))
    lines = people.read_text().splitlines()
    lines[10:10] = [wide] * 3
    people.write_text("\n".join(lines) + "\n")
    result = generate(people, max_rejected=3)
    assert result.metadata["rejected"] == 3
    assert result.metadata["rows"] == 100
    with pytest.raises(
        DataError, match=r"line 11: .* 3 of 103 rows cannot be read, and .* allows 2"
    ):
        generate(people, max_rejected=2)


@pytest.mark.parametrize("bad", [b'7,"x"y,3', b"7,x", "7,é,3".encode("latin-1")])
@pytest.mark.parametrize("query", ["", "SELECT * FROM data", "SELECT c FROM data WHERE c <> ''"])
def test_no_row_but_the_rejected_one_is_lost(generate, tmp_path, bad, query):
    path = tmp_path / "t.csv"
    good = [b"%d,n%d,%d" % (number, number, number) for number in range(5_000)]
    path.write_bytes(b"\n".join([b"a,b,c", *good[:2_500], bad, *good[2_500:], b"1.5,?,x7"]))
    result = generate(path, max_rejected=1, query=query)
    assert (result.metadata["rejected"], result.metadata["rows"]) == (1, 5_001)
    assert str(result.table("train").schema.field("c").type) == "string"


def test_no_rejected_file_without_rejected_rows(generate, people):
    assert not (generate(people).folder / "rejected.csv").exists()


def test_a_second_run_replaces_what_the_first_left(generate, people, tmp_path):
    from millrace.artifacts import HTML, Examples
    from millrace.components.example_gen.executor import run

    examples, report = Examples(str(tmp_path / "same")), HTML(str(tmp_path / "report.html"))
    run(str(people), examples, report, splits={"old": 1, "train": 1})
    (examples.path / "Split-train" / "part-00000.tmp").touch()
    run(str(people), examples, report, splits={"train": 1})
    assert data.splits(examples.path) == ["train"]
    assert len(list(examples.path.rglob("*.*"))) == 1


def test_the_page_is_self_contained_and_escaped(generate, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        "<b>bold</b>,n\n" + "".join(f"<script>alert({i})</script>,{i}\n" for i in range(50))
    )
    page = generate(path, query="SELECT * FROM data WHERE n < 40").page
    assert "<script" not in page
    assert "<b>bold" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "n &lt; 40" in page


def test_the_step_loads_neither_tensorflow_nor_pandas(people, tmp_path):
    code = f"""
import sys
from millrace.artifacts import HTML, Examples
from millrace.components.example_gen.executor import run
run({str(people)!r}, Examples({str(tmp_path / "e")!r}), HTML({str(tmp_path / "r")!r}))
loaded = {{"tensorflow", "apache_beam", "pandas", "kfp", "ml_metadata"}} & set(sys.modules)
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True)


MEASURE = """
import resource, sys
from millrace.artifacts import HTML, Examples
from millrace.components.example_gen.executor import run
run(sys.argv[1], Examples(sys.argv[2]), HTML(sys.argv[3]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_ten_times_the_rows_need_little_more_memory(tmp_path):
    peaks = []
    for rows in (300_000, 3_000_000):
        path = tmp_path / f"{rows}.csv"
        with path.open("w") as file:
            file.write("number,text,decimal,colour\n")
            file.writelines(f"{n},name {n},{n / 8},red\n" for n in range(rows))
        command = [sys.executable, "-c", MEASURE, path, tmp_path / "e", tmp_path / "r"]
        peaks.append(int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    assert peaks[1] < 1.3 * peaks[0], peaks
