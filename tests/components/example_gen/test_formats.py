"""Other formats than plain CSV, and files that are not what their name says."""

import gzip
import html
import json
import re
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.errors import DataError, ParameterError


@pytest.fixture
def lines(tmp_path):
    """Writes objects, one a line."""

    def write(rows, name="t.jsonl"):
        path = tmp_path / name
        text = "".join(json.dumps(row) + "\n" for row in rows)
        opener = gzip.open if name.endswith(".gz") else open
        with opener(path, "wt", encoding="utf-8") as file:
            file.write(text)
        return path

    return write


def rows_of(generate, path, **parameters):
    table = generate(path, splits={"all": 1}, **parameters).table("all")
    return {field.name: str(field.type) for field in table.schema}, table.to_pylist()


def test_json_lines(generate, lines):
    rows = [{"zip": "01234", "n": number, "x": number / 2, "ok": True} for number in range(40)]
    rows[7] |= {"x": None, "late": "ü"}
    types, read = rows_of(generate, lines(rows, "t.jsonl.gz"))
    assert types == {
        "zip": "string",
        "n": "int64",
        "x": "double",
        "ok": "int64",
        "late": "string",
    }
    assert read[7] == {"zip": "01234", "n": 7, "x": None, "ok": 1, "late": "ü"}
    assert [row["n"] for row in read] == list(range(40))


def test_a_list_of_objects(generate, tmp_path):
    path = tmp_path / "t.json"
    path.write_text(json.dumps([{"n": number} for number in range(30)], indent=2))
    assert rows_of(generate, path)[1] == [{"n": number} for number in range(30)]


def test_json_in_a_file_named_csv_is_told(generate, lines, caplog):
    assert rows_of(generate, lines([{"n": 1}] * 20, "t.csv"))[1] == [{"n": 1}] * 20
    assert "which it holds although its name says CSV" in caplog.text


def test_the_type_of_a_json_column_depends_on_all_of_its_values(generate, lines):
    rows = [{"a": 1, "b": 1}] * 30_000 + [{"a": 1.5, "b": "x"}]
    types, read = rows_of(generate, lines(rows))
    assert types == {"a": "double", "b": "string"}
    assert (read[0], read[-1]) == ({"a": 1.0, "b": "1"}, {"a": 1.5, "b": "x"})


def test_nested_objects_become_columns(generate, lines, caplog):
    rows = [{"id": 1, "addr": {"city": "a", "at": {"x": 1.5}}, "tags": ["p", "q"]}, {"id": 2}] * 9
    types, read = rows_of(generate, lines(rows))
    assert types == {
        "id": "int64",
        "addr.city": "string",
        "addr.at.x": "double",
        "tags": "list<l: string>",
    }
    assert read[:2] == [
        {"id": 1, "addr.city": "a", "addr.at.x": 1.5, "tags": ["p", "q"]},
        {"id": 2, "addr.city": None, "addr.at.x": None, "tags": None},
    ]
    assert 'Split "addr" into its fields: "addr.city", "addr.at.x".' in caplog.text


def test_structs_in_parquet_become_columns(generate, tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"x": [1.5] * 9, "s": [{"a": "u", "b": 2}] * 8 + [None]}), path)
    types, read = rows_of(generate, path)
    assert types == {"x": "double", "s.a": "string", "s.b": "int64"}
    assert (read[0]["s.b"], read[-1]["s.a"]) == (2, None)
    query = 'SELECT x, "s.a" AS a FROM data WHERE "s.b" = 2'
    assert len(rows_of(generate, path, query=query)[1]) == 8


def test_a_field_named_as_another_column(generate, tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"s.a": [1] * 9, "s": [{"a": "u"}] * 9}), path)
    with pytest.raises(DataError, match=r'has more than one column "s.a"'):
        generate(path)


def test_parquet_in_a_file_named_csv(generate, tmp_path):
    path = tmp_path / "t.csv"
    pq.write_table(pa.table({"x": [1.5] * 9}), path)
    assert rows_of(generate, path)[1] == [{"x": 1.5}] * 9


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a":1}\n{"a":\n', "line"),
        ('{"a":1}\n[1,2]\n', "object"),
        ('{"a":1,"a":2}\n', "duplicate key"),
        ('{"a":"\\ud800"}\n', "surrogate"),
        ("5\n6\n", "object"),
        ("{}\n{}\n", ""),
    ],
)
def test_json_that_is_damaged(generate, tmp_path, text, reason):
    path = tmp_path / "t.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=f"(?i){reason}") as caught:
        generate(path)
    assert "t.jsonl" in str(caught.value)
    assert "auto_detect" not in str(caught.value)


def test_an_excel_workbook_named_csv(generate, tmp_path):
    path = tmp_path / "t.csv"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(DataError, match="is an Excel workbook or a zip archive: save its sheet"):
        generate(path)


def test_files_that_hold_different_formats(generate, tmp_path, lines):
    lines([{"n": 1}] * 9, "a.csv")
    (tmp_path / "b.csv").write_text("n\n1\n")
    with pytest.raises(DataError, match=r"a.csv holds JSON and b.csv holds CSV"):
        generate(tmp_path)


TITLE = "Quarterly export\nGenerated 2026-01-01\n\n"
ROWS = "".join(f"{number},{number / 2}\n" for number in range(40))


def test_a_title_above_the_header(generate, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(f"{TITLE}n,x\n{ROWS}")
    with pytest.raises(
        DataError,
        match=r"t.csv begins with 3 lines of title: the header seems to be line 4 \(n, x\). "
        r"Say so with header_line=4",
    ):
        generate(path)
    types, read = rows_of(generate, path, header_line=4)
    assert types == {"n": "int64", "x": "double"}
    assert (len(read), read[-1]) == (40, {"n": 39, "x": 19.5})


def test_a_file_without_a_header(generate, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(ROWS)
    types, read = rows_of(generate, path, header_line=0)
    assert types == {"column_1": "int64", "column_2": "double"}
    assert (len(read), read[0]) == (40, {"column_1": 0, "column_2": 0.0})
    path.write_text(TITLE + "n,x\n" + ROWS + "7\n8,é,9\n")
    result = generate(path, header_line=4, max_rejected=2, splits={"all": 1})
    assert (result.metadata["rows"], result.metadata["rejected"]) == (40, 2)
    rejected = result.folder / "examples" / "rejected.csv"
    rejected = rejected if rejected.exists() else result.folder / "rejected.csv"
    assert [line.split(",")[1] for line in rejected.read_text().splitlines()[1:]] == ["45", "46"]


def test_one_long_line_is_no_title(generate, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("text\n" + "a,b\n" + "no comma\n" * 20)
    with pytest.raises(DataError, match="2 values where the header has 1"):
        generate(path)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"column_types": {"N1": "text"}}, r'"column_types" names "N1", .* no column'),
        (
            {"column_types": {"n": "float"}},
            r"gives \"n\" the type 'float': choose one of text, int",
        ),
        ({"missing_values": [5]}, r'"missing_values" is \[5\]: give texts'),
        ({"decimal": "·"}, r'"decimal" is \'·\': give "." or ","'),
        ({"date_formats": ["%d.%m."]}, r"does not tell day, month and year"),
        ({"date_formats": ["dd.mm.yyyy"]}, r"does not tell day, month and year"),
        ({"header_line": -1}, r'"header_line" is -1: give 0 if there is none'),
    ],
)
def test_hints_that_are_wrong(generate, tmp_path, parameters, message):
    path = tmp_path / "t.csv"
    path.write_text("n,x\n" + ROWS)
    with pytest.raises(ParameterError, match=message):
        generate(path, **parameters)


def test_hints_for_files_that_know_their_types(generate, lines):
    with pytest.raises(ParameterError, match=r'"decimal" is for CSV files, and .* is JSON'):
        generate(lines([{"n": 1}]), decimal=",")


@pytest.mark.parametrize(
    "text",
    [
        "zip,when,x,day\n01234,2020-01-31 10:00:00Z,1.5,2020-01-31\n"
        + "99999,2020-01-31 10:00:00Z,?,\n" * 30,
        "a;b;c\n" + "1,5;1.234;x\n2,5;12.345;y\n" * 20,
        "a\tb\n" + "1.5\t22,371\n2.5\t5\n" * 20,
    ],
)
def test_what_was_found_out_can_be_pinned(generate, tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_text(text)
    found = generate(path, splits={"all": 1})
    names = re.findall(r"<p><code>(\w+)</code>", found.page)
    values = re.findall(r'<code class="pin">(.*?)</code>', found.page)
    pins = {
        name: json.loads(html.unescape(value)) for name, value in zip(names, values, strict=True)
    }
    assert "column_types" in pins
    again = generate(path, splits={"all": 1}, **pins)
    assert again.table("all").equals(found.table("all"))
    assert again.metadata["rows"] == found.metadata["rows"]
