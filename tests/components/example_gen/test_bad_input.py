"""Every mistake in the data or the parameters gives one clear error: what, where, how to fix it."""

from __future__ import annotations

import gzip
import os
import re
import resource
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.errors import DataError, ParameterError

ROWS = "".join(f"{number},{number % 3},n{number}\n" for number in range(60))
GOOD = "a,b,c\n" + ROWS


def parquet(path: Path, **columns: list) -> bytes:
    pq.write_table(pa.table(columns), path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", "{path} is empty."),
        ("t.csv", "\n\n", "{path} is empty."),
        ("t.csv", "a,b\n", "{path} has columns, but no rows."),
        ("t.csv", "a,b", "{path} has columns, but no rows."),
        ("t.csv", "a,a\n1,2\n", '{path} has more than one column "a": rename one of them.'),
        (
            "t.csv",
            "a,A\n1,2\n",
            '{path} has columns "a" and "A", which differ in case only: rename one of them.',
        ),
        (
            "t.csv",
            ",a\n0,1\n1,2\n",
            "{path}: column 1 has no name in the header line. Name it, or leave it out (in pandas: "
            "to_csv(index=False)).",
        ),
        (
            "t.csv",
            GOOD + "1,2\n" + ROWS,
            "{path}, line 62: 2 values where the header has 3. 1 of 121 rows cannot be read, and "
            '"max_rejected" allows 0: fix the file, or raise it to keep such rows aside in '
            "rejected.csv.",
        ),
        ("t.csv", GOOD + "1,2,3,4\n", "{path}, line 62: 4 values where the header has 3. 1 of 61"),
        ("t.csv", GOOD + '1,"x" y,3\n', "{path}, line 62: a quote that is not closed, or text"),
        ("t.csv", GOOD + '1,"x,3\n', "{path}, line 62: a quote that is not closed, or text after"),
        (
            "t.csv",
            GOOD.encode() + "1,2,é\n".encode("latin-1"),
            "{path}, line 62: not UTF-8 text. 1 of 61 rows cannot be read, and "
            '"max_rejected" allows 0: say its encoding, or raise it to keep such rows aside',
        ),
        (
            "t.csv",
            "größe,b\n1,2\n".encode("latin-1"),
            "{path} is not UTF-8 text: byte 0xf6 in its first line. Say what it is, "
            'such as encoding="latin-1", or save it as UTF-8.',
        ),
        ("t.csv", GOOD.encode("utf-16")[:-1], "{path} is not utf-16 text: 'utf-16-le' codec"),
        ("t.csv.zst", GOOD, "{path} is damaged: ZSTD decompress"),
        ("t.zip", GOOD, "{path} is damaged: File is not a zip file."),
        (
            "t.csv",
            bytes(range(256)) * 40,
            "{path} is not a text file, although its name says CSV.",
        ),
        ("t.csv.gz", GOOD, "{path} is damaged: Not a gzipped file (b'a,')."),
        (
            "t.csv.gz",
            gzip.compress(GOOD.encode() * 99)[:-30],
            "{path} is damaged: Compressed file ended before the end-of-stream marker was reached.",
        ),
        ("t.parquet", GOOD, "{path} is not a Parquet file, although its name says so."),
        ("t.parquet", "PAR", "{path} is not a Parquet file, although its name says so."),
        ("t.txt", GOOD, "Cannot tell the format of {path}: a name must end in .csv, .csv.gz, "),
    ],
)
def test_a_file_that_cannot_be_used(generate, tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match="^" + re.escape(message.format(path=path))):
        generate(path)


@pytest.mark.parametrize("later", ["", '9,"ok",1\n'])
def test_an_open_quote_that_takes_good_rows_with_it(generate, tmp_path, later):
    path = tmp_path / "t.csv"
    path.write_text(GOOD + '7,"5 inch,3\n' + ROWS + later + ROWS)
    with pytest.raises(DataError, match=r"t\.csv, line 62: a quote .* swallows the lines after it"):
        generate(path, max_rejected=9)


@pytest.mark.skipif(duckdb.__version__ < "1.3", reason="this DuckDB reads such a file well")
def test_lines_that_end_in_different_ways(generate, tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n1,2\r\n3,4\n")
    with pytest.raises(DataError, match="mixes lines that end in CR LF with lines that end in LF"):
        generate(path)


def test_a_cut_gzip_file_whose_first_lines_are_whole(generate, tmp_path):
    path = tmp_path / "t.csv.gz"
    rows = "".join(f"{number},{number * 7919 % 1_000_003}\n" for number in range(400_000))
    path.write_bytes(gzip.compress(b"a,b\n" + rows.encode())[:-20_000])
    with pytest.raises(DataError, match=r"^(Cannot read )?\S*t.csv.gz(:| is damaged:) [^\n]+$"):
        generate(path)


def test_a_cut_parquet_file(generate, tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(parquet(path, a=[1, 2])[:-20])
    with pytest.raises(DataError, match="is cut short: it has no Parquet footer"):
        generate(path)


def test_a_parquet_file_with_a_damaged_footer(generate, tmp_path):
    path = tmp_path / "t.parquet"
    whole = bytearray(parquet(path, a=[1, 2]))
    whole[-60:-20] = b"\xff" * 40
    path.write_bytes(bytes(whole))
    with pytest.raises(DataError, match=r"has a damaged Parquet footer: [^\n]+"):
        generate(path)


def test_a_parquet_file_with_damaged_rows(generate, tmp_path):
    path = tmp_path / "t.parquet"
    whole = bytearray(parquet(path, a=list(range(10_000))))
    whole[20:200] = b"\0" * 180
    path.write_bytes(bytes(whole))
    with pytest.raises(DataError, match=r"^The rows cannot be read: "):
        generate(path)


def test_a_parquet_file_without_rows(generate, tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), path)
    with pytest.raises(DataError, match=r"t.parquet has columns, but no rows.$"):
        generate(path)


def test_parquet_columns_that_differ_in_case_only(generate, tmp_path):
    path = tmp_path / "t.parquet"
    parquet(path, a=[1], A=[2])
    with pytest.raises(DataError, match='columns "a" and "A", which differ in case only'):
        generate(path)


def test_a_missing_file_suggests_the_nearest(generate, people):
    with pytest.raises(DataError, match=r'no file or folder ".*peple.csv". Did you mean "people'):
        generate(people.with_name("peple.csv"))


def test_a_missing_folder(generate, tmp_path):
    with pytest.raises(DataError, match=r"There is no folder .*/nowhere either.$"):
        generate(tmp_path / "nowhere" / "t.csv")


def test_a_name_that_no_file_can_have(generate, tmp_path):
    for name in ("a" * 300, f"{'a' * 300}/people.csv", f"{'a' * 300}/*.csv"):
        with pytest.raises(DataError, match=r"There is no file or folder|No file matches"):
            generate(tmp_path / name)


def test_the_link_of_a_file(generate, tmp_path):
    path = tmp_path / "two words.csv"
    path.write_text(GOOD)
    assert generate(path.as_uri()).metadata["rows"] == 60


def test_a_glob_that_matches_nothing(generate, tmp_path):
    with pytest.raises(DataError, match=r'^No file matches ".*/\*.csv"; the current folder is '):
        generate(tmp_path / "*.csv")


@pytest.mark.parametrize(
    ("inside", "said"),
    [(None, "; it is empty."), ("notes.md", ", but notes.md."), ("more/a.csv", ", but more.")],
)
def test_a_folder_without_data(generate, tmp_path, inside, said):
    folder = tmp_path / "in"
    folder.mkdir()
    if inside:
        (folder / inside).parent.mkdir(exist_ok=True)
        (folder / inside).write_text(GOOD)
    with pytest.raises(DataError, match=re.escape(f"{folder} holds no .csv or") + ".*" + said):
        generate(folder)


def test_a_folder_of_mixed_formats(generate, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_text(GOOD)
    parquet(folder / "b.parquet", a=[1])
    with pytest.raises(DataError, match=r"mixes formats, such as a.csv and b.parquet"):
        generate(folder)


def test_files_with_other_columns(generate, tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    (tmp_path / "b.csv").write_text("a,c\n1,2\n")
    with pytest.raises(DataError, match=r'b.csv does not have .*a.csv: it lacks "b", adds "c"'):
        generate(tmp_path / "*.csv")


def test_files_with_columns_in_another_order(generate, tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    (tmp_path / "b.csv").write_text("b,a\n1,2\n")
    with pytest.raises(DataError, match=r"b.csv does not have the header line of .*a.csv"):
        generate(tmp_path / "*.csv")


def test_files_in_other_partitions(generate, tmp_path):
    for name in ("year=2020/a.csv", "month=1/a.csv"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(GOOD)
    message = r"year=2020/a.csv lies in partitions year, and .*month=1/a.csv in month: files that"
    with pytest.raises(DataError, match=message):
        generate(tmp_path)


def test_a_name_of_two_lines_among_lines_that_end_otherwise(generate, tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b'a,"b\nb"\r\n' + b"1,2\r\n" * 40)
    with pytest.raises(DataError, match=r"t\.csv mixes lines that end in CR LF with"):
        generate(path)


def test_an_unreadable_file(generate, people, monkeypatch):
    if os.geteuid() == 0:  # root may read everything
        real = Path.open

        def refuse(path, *arguments, **options):
            if path == people:
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *arguments, **options)

        monkeypatch.setattr(Path, "open", refuse)
    people.chmod(0)
    with pytest.raises(DataError, match=r"^Cannot read .*people.csv: permission denied.$"):
        generate(people)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELEC * FROM data", '"query" cannot be run: syntax error at or near "SELEC".'),
        ("SELECT nam FROM data", '"query" cannot be run: Referenced column "nam" not found'),
        ("SELECT tam FROM data", 'in FROM clause! Did you mean "team"?'),
        (
            "SELECT * FROM dta",
            '"query" cannot be run: there is no table "dta"; the rows are in "data".',
        ),
        ("SELECT 1; SELECT 2", '"query" must be one SELECT over the table "data", and is SELECT,'),
        ("-- nothing", '"query" must be one SELECT over the table "data", and is nothing'),
        ("SELECT team, team FROM data", '"query" returns more than one column "team"'),
        ('SELECT team, score AS "Team" FROM data', '"query" returns more than one column "Team"'),
    ],
)
def test_a_query_that_cannot_be_run(generate, people, query, message):
    with pytest.raises(ParameterError, match=re.escape(message)) as caught:
        generate(people, query=query)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT * FROM data WHERE team > 99", '"query" keeps none of the 100 rows.'),
        ("SELECT CAST(name AS INT) AS x FROM data", "The rows cannot be read: Could not convert"),
        ("SELECT {'x': 1} AS s FROM data", 'Column "s" is of type STRUCT(x INTEGER), which examp'),
        ("SELECT [[1]] AS s FROM data", 'Column "s" is of type INTEGER[][], which examples cannot'),
        (
            "SELECT team::HUGEINT * 1e30::HUGEINT AS x FROM data",
            "The rows cannot be read: Type INT128 with value",
        ),
        (
            "SELECT 9223372036854775808::UBIGINT AS x FROM data",
            'SELECT * REPLACE (CAST("x" AS VARC',
        ),
        ("SELECT {'x': 1} AS s FROM data", 'or leave it out: SELECT * EXCLUDE ("s") FROM data'),
    ],
)
def test_a_query_whose_rows_cannot_be_used(generate, people, query, message):
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        generate(people, query=query)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({}, '"splits" is empty: name at least one, such as {"train": 2, "eval": 1}.'),
        ({"train": -1}, '"splits" gives "train" -1 parts of the rows: give a number above 0.'),
        ({"train": 0}, '"splits" gives "train" 0 parts of the rows: give a number above 0.'),
        ({"train": "2"}, '"splits" gives "train" \'2\' parts of the rows: give a number above 0.'),
        ({"train": True}, '"splits" gives "train" True parts of the rows: give a number above 0.'),
        ({"tr/ain": 1}, '"splits": "tr/ain" cannot name a split: use letters, digits, "_", "-"'),
        ({"..": 1}, '"splits": ".." cannot name a split'),
    ],
)
def test_splits_that_cannot_be_made(generate, people, splits, message):
    with pytest.raises(ParameterError, match="^" + re.escape(message)):
        generate(people, splits=splits)


def test_a_split_that_gets_no_rows(generate, people):
    with pytest.raises(DataError, match=r'^Split "rare" gets none of the 100 rows: give it more'):
        generate(people, splits={"train": 1, "rare": 1e-9})


def test_other_parameters(generate, people):
    with pytest.raises(ParameterError, match=r'^"data_uri" is empty'):
        generate(" ")
    with pytest.raises(ParameterError, match=r'^Cannot read "gs://bucket/t.csv": copy the data'):
        generate("gs://bucket/t.csv")
    with pytest.raises(ParameterError, match=r'"nane", which is not a column. Did you mean "name"'):
        generate(people, key_columns=["nane"])
    with pytest.raises(ParameterError, match=r'^"max_rejected" is -1: give 0 or more.'):
        generate(people, max_rejected=-1)


def test_a_full_disk_leaves_nothing_that_looks_whole(generate, tmp_path):
    path = tmp_path / "many.csv"
    path.write_text("a,b\n" + "".join(f"{i},{i * i}\n" for i in range(50_000)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(DataError, match=r"^Cannot write the examples to .*File too large"):
            generate(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.rglob("*.parquet"))
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("SELECT * FROM data WHERE random() < 0.5", "calls random,"),
        ("SELECT * FROM (SELECT *, UUID() AS id FROM data)", "calls uuid,"),
        ("WITH few AS (FROM data ORDER BY RANDOM() LIMIT 50) FROM few", "calls random,"),
        (
            "SELECT *, now() AS a, Current_Date AS current_date FROM data",
            "calls current_date, now,",
        ),
        ("SELECT *, age(DATE '2020-01-01') AS old FROM data", "calls age,"),
        ("SELECT *, localtimestamp AS now FROM data", "calls localtimestamp,"),
        (
            "SELECT current_date AS d, localtime AS localtime FROM data",
            "calls current_date, localtime,",
        ),
        ("SELECT * FROM data USING SAMPLE 30%", "takes a sample without a seed,"),
        ("FROM (FROM data TABLESAMPLE reservoir(10))", "takes a sample without a seed,"),
    ],
)
def test_a_query_whose_rows_would_differ_from_run_to_run(generate, people, query, named):
    with pytest.raises(ParameterError) as caught:
        generate(people, query=query)
    assert str(caught.value).startswith(f'"query" {named} ')
    assert "WHERE hash(id) % 100 < 30" in str(caught.value)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM data WHERE hash(name) % 100 < 50 AND if(score < 0, error('?'), true)",
        "SELECT *, age(TIMESTAMP '2020-01-31', TIMESTAMP '2020-01-01')::VARCHAR AS old FROM data",
        "SELECT name AS random, 'now()' AS a FROM data -- random()",
        "SELECT *, row_number() OVER () AS row_id FROM data USING SAMPLE 50% (bernoulli, 1)",
        "SELECT * FROM data TABLESAMPLE reservoir(50) REPEATABLE (7)",
        "SELECT current_date FROM (SELECT name AS current_date FROM data)",
        "WITH t (localtime) AS (SELECT name FROM data) SELECT localtime FROM t",
        "SELECT current_time FROM (SELECT name FROM data) AS t (current_time)",
        "SELECT name AS current_date FROM data ORDER BY current_date",
        "SELECT *, current_schema() AS a, current_setting('TimeZone') AS b FROM data",
    ],
)
def test_a_query_whose_rows_are_the_same_on_every_run(generate, people, query):
    assert generate(people, query=query).digest() == generate(people, query=query).digest()


def test_a_column_named_as_a_clock_is_a_column(generate, people):
    people.write_text(people.read_text().replace("team", "current_date", 1))
    assert generate(people, query="SELECT name, current_date FROM data").metadata["rows"] == 100
