"""Other formats than plain CSV, and files that are not what their name says."""

import codecs
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
    types["tags"] = types["tags"].partition("<")[0]  # the item's name differs between versions
    assert types == {
        "id": "int64",
        "addr.city": "string",
        "addr.at.x": "double",
        "tags": "list",
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
    with pytest.raises(DataError, match=r"a.csv holds JSON and .*b.csv holds CSV"):
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


WORDS = "name,n\n" + "".join(f"größe {number} €,{number}\n" for number in range(50))
READ = [{"name": f"größe {number} €", "n": number} for number in range(50)]


@pytest.mark.parametrize(
    ("encoding", "given"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("utf-16", ""),
        ("utf-16-be", "utf-16-be"),
        ("windows-1252", "cp1252"),
        ("utf-32", "UTF-32"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_encodings(generate, tmp_path, encoding, given, suffix):
    path = tmp_path / f"t{suffix}"
    content = WORDS.encode(encoding)
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    assert rows_of(generate, path, encoding=given)[1] == READ


def test_utf_16_with_the_other_byte_order(generate, tmp_path):
    path = tmp_path / "year=2020" / "t.csv"
    path.parent.mkdir()
    path.write_bytes(codecs.BOM_UTF16_BE + WORDS.encode("utf-16-be"))
    result = generate(tmp_path, splits={"all": 1})
    assert result.rows() == [row | {"year": 2020} for row in READ]
    assert "1 CSV file from" in result.page


def test_an_encoding_that_does_not_fit_names_the_file(generate, tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(WORDS.encode("cp1252") * 10_000 + b"\x81,1\n")
    with pytest.raises(DataError, match=rf"{path} is not cp1252 text: .* position"):
        generate(path, encoding="windows-1252")
    with pytest.raises(ParameterError, match="\"encoding\" is 'utf-9', which is not known"):
        generate(path, encoding="utf-9")


def test_zstandard(generate, tmp_path):
    path = tmp_path / "t.csv.zst"
    with pa.OSFile(str(path), "wb") as file, pa.CompressedOutputStream(file, "zstd") as packed:
        packed.write(WORDS.encode())
    assert rows_of(generate, path)[1] == READ


def packed(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_zip_archives(generate, tmp_path):
    half = WORDS.splitlines(keepends=True)
    members = {
        "a/one.csv": "".join(half[:26]),
        "b/two.csv": "".join([half[0], *half[26:]]).encode("utf-16"),
        "__MACOSX/._one.csv": b"\0",
        "notes.md": "no data",
    }
    path = packed(tmp_path / "t.zip", members)
    result = generate(path, splits={"all": 1})
    assert result.rows() == READ
    assert "2 CSV files" in result.page


def test_a_member_cannot_be_written_outside(generate, tmp_path):
    path = packed(tmp_path / "t.zip", {"../../escaped.csv": WORDS, "/tmp/escaped.csv": WORDS})
    assert len(rows_of(generate, path)[1]) == 100
    assert not list(tmp_path.parent.rglob("escaped.csv"))


def test_archives_that_cannot_be_read(generate, tmp_path):
    with pytest.raises(DataError, match=r"t.zip holds no .csv, .tsv or .txt file"):
        generate(packed(tmp_path / "t.zip", {"t.md": "x"}))
    bomb = packed(tmp_path / "bomb.zip", {"t.csv": b"n\n" + b"0" * (101 << 20)})
    with pytest.raises(DataError, match=r"bomb.zip claims to unpack .* bytes to 105,906,178"):
        generate(bomb)
    path = packed(tmp_path / "cut.zip", {"t.csv": WORDS})
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cut.zip is damaged"):
        generate(path)
    path = packed(tmp_path / "bad.zip", {"t.csv": WORDS + "1,2,3\n"})
    with pytest.raises(DataError, match=r"bad.zip/t.csv, line 52: 3 values where the header has 2"):
        generate(path)


def test_a_delimiter_of_its_own(generate, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a^b,c\n" + "1^x,y\n" * 20)
    assert rows_of(generate, path, delimiter="^")[1] == [{"a": 1, "b,c": "x,y"}] * 20
    with pytest.raises(ParameterError, match="\"delimiter\" is '::': give one character"):
        generate(path, delimiter="::")
