"""The type of a column depends on its values alone, not on which of them come first."""

from __future__ import annotations

import csv
import datetime
import html
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from millrace.components.example_gen import csv_types, engine, source, table
from millrace.errors import DataError

VALUES = {
    "BIGINT": ["0", "-7", "12", "-007", " 5 ", "999999999999999999", "-9223372036854775808"],
    "DOUBLE": ["1.5", ".5", "5.", "1e+3", "-2E-7", "inf", "-Infinity", " 2.5", "1.0e400"],
    "BOOLEAN": ["true", "False", "TRUE"],
    "DATE": ["2020-01-31", "1999-12-01"],
    "TIMESTAMP": ["2020-01-31 10:00", "2020-01-31T10:00:59", "2020-01-31 10:00:59.123456"],
    "TIMESTAMPTZ": ["2020-01-31T10:00:00Z", "2020-01-31 10:00:59.5+01:00"],
    "VARCHAR": [
        "x", "1_000", "0x10", "1,5", "1.2.3", "e5", "--1", "t", "yes", "31.01.2020", "2020-02-30",
        "2020-01-31 25:00", "9223372036854775808", "12:30", "1 2", "١٢", "infinit",
    ],
    "missing": ["null", "N/A", "nan", "NaN", " "],
}  # fmt: skip
KINDS = {value: kind for kind, values in VALUES.items() for value in values}


def expected(values: list[str | None]) -> str:
    kinds = {KINDS[value] for value in values if value is not None} - {"missing"}
    if kinds == {"BIGINT", "DOUBLE"}:
        return "DOUBLE"
    return kinds.pop() if len(kinds) == 1 else "VARCHAR"


def infer(path, rows: list[list[str | None]]) -> dict[str, str]:
    names = [f"c{number}" for number in range(len(rows[0]))]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])
    found = source.find(str(path), path.parent)
    scan = engine.scan(found)
    with engine.connect(found, path.parent) as connection:
        columns = csv_types.infer(connection, scan, names, csv_types.Hints())
        computed = [f"{value} AS {name}" for name, value in columns.computed.items()]
        described = connection.execute(f"DESCRIBE SELECT {', '.join([*computed, '1'])} FROM {scan}")
        types = {
            name: kind.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ")
            for name, kind, *_ in described.fetchall()
        }
    assert columns.rows == len(rows)
    return {name: types.get(name, kind) for name, kind in columns.types.items()}


@pytest.mark.parametrize("value", KINDS)
def test_each_value(tmp_path, value):
    assert infer(tmp_path / "t.csv", [[value, "x"], [None, "y"]])["c0"] == expected([value])


columns = st.lists(
    st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=2, unique=True).flatmap(
        lambda kinds: st.lists(
            st.none() | st.sampled_from([value for kind in kinds for value in VALUES[kind]]),
            min_size=12,
            max_size=12,
        )
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=20)
@given(columns)
# A mark of a missing value after the sampled rows: the column still holds whole numbers.
@example([[None] * 10 + ["0", "null"]])
@example([[None] * 10 + ["null", "null"]])
def test_the_first_rows_do_not_decide(tmp_path, monkeypatch, content):
    monkeypatch.setattr(csv_types, "_SAMPLE_ROWS", 3)
    content = [*content, ["12"] * 12]  # so that no line is blank
    rows = [list(row) for row in zip(*content, strict=True)]
    assert list(infer(tmp_path / "t.csv", rows).values()) == [expected(one) for one in content]
    assert infer(tmp_path / "t.csv", rows[::-1]) == infer(tmp_path / "t.csv", rows)


def read(path, text: str) -> dict[str, list]:
    """Returns the types and values of the table that a CSV file stands for."""
    path.write_text(text, encoding="utf-8")
    found = source.find(str(path), path.parent)
    with engine.connect(found, path.parent) as connection:
        table.create(connection, found, 0, csv_types.Hints())
        relation = connection.sql("FROM data")
        types = [str(kind) for kind in relation.types]
        columns = zip(*relation.fetchall(), strict=True)
        return {
            name: [kind, *values]
            for name, kind, values in zip(relation.columns, types, columns, strict=True)
        }


def test_decimal_commas_where_semicolons_stand_between_values(tmp_path):
    text = (
        "price;weight;id;text\n1.234,50;7;12345678901234567890;1,5\n-0,5;7,25;1;1.5\n3;-1,5E2;2;x\n"
    )
    assert read(tmp_path / "t.csv", text) == {
        "price": ["DOUBLE", 1234.5, -0.5, 3.0],
        "weight": ["DOUBLE", 7.0, 7.25, -150.0],
        "id": ["VARCHAR", "12345678901234567890", "1", "2"],
        "text": ["VARCHAR", "1,5", "1.5", "x"],
    }


def test_marks_of_missing_values_stay_in_a_column_that_turns_out_to_be_text(tmp_path):
    text = "version;x\n1.234.567;1\n-;2\n1.234.568;3\n"
    assert read(tmp_path / "t.csv", text)["version"] == ["VARCHAR", "1.234.567", "-", "1.234.568"]


def test_decimal_comma_is_text_where_commas_stand_between_values(tmp_path):
    assert read(tmp_path / "t.csv", 'a,b\n"1,500",1\n"2,5",2\n')["a"] == ["VARCHAR", "1,500", "2,5"]


def test_a_mark_of_columns_of_numbers_is_missing_in_columns_of_text_too(tmp_path):
    text = (
        "int,float,day,flag,word,marks,comma\n?,1.5,NULL,true,-,?,x\n1,N/A,2020-01-31,None,a,-,y\n"
        "-,-,2020-02-01,false,?,?,-\n"
    )
    day = datetime.date(2020, 1, 31)
    assert read(tmp_path / "t.csv", text) == {
        "int": ["BIGINT", None, 1, None],
        "float": ["DOUBLE", 1.5, None, None],
        "day": ["DATE", None, day, day + datetime.timedelta(days=1)],
        "flag": ["BOOLEAN", True, None, False],
        "word": ["VARCHAR", None, "a", None],
        "marks": ["VARCHAR", None, None, None],
        "comma": ["VARCHAR", "x", "y", None],
    }
    assert read(tmp_path / "t.csv", "a;b\n1,5;1\nNULL;2\n")["a"] == ["DOUBLE", 1.5, None]


def test_thousands_where_a_column_has_decimal_commas(tmp_path):
    text = (
        "price;weight;total;three\n51.494;1,4;1.234.567;1,250\n466;9,2;12;2,500\n-1.000;1.500;?;-\n"
    )
    assert read(tmp_path / "t.csv", text) == {
        "price": ["BIGINT", 51494, 466, -1000],
        "weight": ["DOUBLE", 1.4, 9.2, 1500.0],
        "total": ["BIGINT", 1234567, 12, None],
        "three": ["DOUBLE", 1.25, 2.5, None],
    }


def test_points_are_decimal_where_no_column_has_decimal_commas(tmp_path):
    assert read(tmp_path / "t.csv", "a;b;c\n51.494;1.234.567;x,y\n466;2;z\n") == {
        "a": ["DOUBLE", 51.494, 466.0],
        "b": ["VARCHAR", "1.234.567", "2"],
        "c": ["VARCHAR", "x,y", "z"],
    }


def test_points_are_decimal_where_a_column_shows_it(tmp_path):
    text = "a\tb\tc\td\n6.669\t22,371\t-0.88\t1e5\n3.401\t5,705\t1.06\tinf\n950\t-1,000\t2\t1\n"
    assert read(tmp_path / "t.tsv", text) == {
        "a": ["DOUBLE", 6.669, 3.401, 950.0],
        "b": ["BIGINT", 22371, 5705, -1000],
        "c": ["DOUBLE", -0.88, 1.06, 2.0],
        "d": ["DOUBLE", 1e5, math.inf, 1.0],
    }
    assert read(tmp_path / "t.csv", "a;b;c\n1,5;1.5;52.520\n2,5;2.5;48.137\n") == {
        "a": ["DOUBLE", 1.5, 2.5],
        "b": ["DOUBLE", 1.5, 2.5],
        "c": ["DOUBLE", 52.52, 48.137],
    }


def test_commas_between_thousands(tmp_path):
    assert read(tmp_path / "t.csv", "a;b\n1,234,567;2,345\n12;950\n") == {
        "a": ["BIGINT", 1234567, 12],
        "b": ["BIGINT", 2345, 950],
    }
    # They may be 2345 and 2.345.
    assert read(tmp_path / "t.csv", "b\tc\n2,345\t1\n950\t2\n")["b"] == ["VARCHAR", "2,345", "950"]


def test_addresses_are_no_numbers(tmp_path):
    text = "ip;x;n\n192.168.100.101;1,5;1.234.567.890\n-;2;12\n192.168.100.102;2,5;1.234\n"
    columns = read(tmp_path / "t.csv", text)
    assert columns["ip"] == ["VARCHAR", "192.168.100.101", "-", "192.168.100.102"]
    assert columns["n"] == ["BIGINT", 1234567890, 12, 1234]


def test_notes_on_numbers_with_commas_and_thousands(generate, tmp_path, caplog):
    path = tmp_path / "t.csv"
    path.write_text("a;b;c\n" + "1,5;1.234;x\n2,5;2.345;y\n" * 20)
    with caplog.at_level("INFO"):
        page = html.unescape(generate(path, splits={"all": 1}).page)
    for note in (
        'Read with decimal commas, so that 1,5 is 1.5: "a".',
        'Read as whole numbers, so that 1.234 is 1234 and 1.234.567 is 1234567: "b".',
    ):
        assert note in page
        assert note in caplog.text
    path.write_text("a;c\n" + "1,234;x\n2,345;y\n" * 20)
    page = html.unescape(generate(path, splits={"all": 1}).page)
    assert "Read as text, since 1,234 may be 1234 or 1.234" in page


def column(path, texts, **hints):
    """Returns the type, the values and the notes of a column, with one of numbers beside it."""
    path.write_text("x,n\n" + "".join(f"{text},{n}.5\n" for n, text in enumerate(texts)))
    found = source.find(str(path), path.parent)
    with engine.connect(found, path.parent) as connection:
        read = table.create(connection, found, 0, csv_types.Hints(**hints))
        relation = connection.sql("SELECT x FROM data")
        return str(relation.types[0]), [value for (value,) in relation.fetchall()], read


@pytest.mark.parametrize(
    ("texts", "note"),
    [
        (["01234", "12345"], "01234 is not the number 1234"),
        (["0041", "0049"], "0041 is not the number 41"),
        (["+41", "+49"], "+41 is not the number 41"),
        (["1E5", "2E3", "100000"], "1E5 is not the number 100000"),
        (["1.1", "1.9", "1.10"], "1.10 stands beside 1.1"),
        (['"7"', '"12"'], "its values are quoted, and other columns' are not"),
        (["00", "15", "30"], "00 is not the number 0"),
        (["007", "?", " "], "007 is not the number 7"),
    ],
)
def test_digits_that_a_number_would_not_keep_are_text(tmp_path, texts, note):
    kind, values, read = column(tmp_path / "t.csv", texts * 10)
    assert (kind, values) == ("VARCHAR", [text.strip('"') for text in texts] * 10)
    (told,) = [one for one in read.notes if '"x" as text' in one]
    assert note in told
    declared = "DOUBLE" if {"1.10", "1E5"} & {*texts} else "BIGINT"
    kind, values, read = column(tmp_path / "t.csv", texts * 10, types={"x": declared})
    numbers = [text.strip('" ') for text in texts]
    numbers = [None if text in ("", "?") else float(text) for text in numbers]
    assert (kind, values) == (declared, numbers * 10)
    assert not [one for one in read.notes if "as text" in one]


@pytest.mark.parametrize(
    "texts",
    [
        ["+5", "-3", "0"],
        ["+1.5", "2.5"],
        ["01.5", "02.25", "3"],
        ["1.10", "1.25", "3.00"],
        ["1.0", "1.5", "1.25"],
        ["1e-05", "1e+16", "0.5", "1.0E5"],
        ["1E5", "2.5"],
        ["-0", "0"],
    ],
)
def test_numbers_as_programs_print_them(tmp_path, texts):
    kind, values, read = column(tmp_path / "t.csv", texts * 10)
    assert kind == ("DOUBLE" if any("." in text for text in texts) else "BIGINT")
    assert values == [float(text) for text in texts] * 10
    assert not read.notes


def test_a_few_stray_words_among_numbers_are_missing(tmp_path):
    texts = ["12.5", "7"] * 30 + ["see note", "", " ", "nan"]
    kind, values, read = column(tmp_path / "t.csv", texts)
    assert (kind, values) == ("DOUBLE", [12.5, 7.0] * 30 + [None] * 4)
    assert read.missing == {"x": 3}
    assert 'Read 1 value of "x" as missing, not being numbers: "see note".' in read.notes


@pytest.mark.parametrize("stray", ["1_000", "0x10", "5*", "1,5x".replace(",", ";")])
def test_strays_that_duckdb_could_read_as_numbers(tmp_path, stray):
    kind, values, _ = column(tmp_path / "t.csv", ["1.5"] * 40 + [stray])
    assert (kind, values[-1]) == ("DOUBLE", None)


def test_codes_with_letters_among_digits_are_text(tmp_path):
    texts = [str(536_000 + number) for number in range(60)] + ["C536379"]
    kind, values, read = column(tmp_path / "t.csv", texts)
    assert (kind, values[-1]) == ("VARCHAR", "C536379")
    assert 'column_types={"x": "integer"} reads these as missing' in read.notes[0]
    kind, values, read = column(tmp_path / "t.csv", texts, types={"x": "BIGINT"})
    assert (kind, values[-1], read.missing) == ("BIGINT", None, {"x": 1})


def test_many_words_among_numbers_make_a_column_text(tmp_path):
    kind, values, read = column(tmp_path / "t.csv", ["1", "2", "low", "high"] * 5)
    assert (kind, values[2], read.notes) == ("VARCHAR", "low", [])


def test_a_declared_type_that_most_values_are_not_of(tmp_path):
    with pytest.raises(DataError, match=r'"x" a type that 20 of its 20 values are not of.*"high"'):
        column(tmp_path / "t.csv", ["low", "high"] * 10, types={"x": "BIGINT"})


def test_blanks_after_the_delimiter(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("age,job,pay\n" + "39, Private, >50K\n ?, ?, <=50K\n 50, Self, <=50K\n")
    read_columns = read(path, path.read_text())
    assert read_columns == {
        "age": ["BIGINT", 39, None, 50],
        "job": ["VARCHAR", "Private", None, "Self"],
        "pay": ["VARCHAR", ">50K", "<=50K", "<=50K"],
    }


def test_the_marks_of_missing_values_are_given(tmp_path):
    texts = ["1", "-999", "NA", "3"]
    kind, values, _ = column(tmp_path / "t.csv", texts * 9, marks=["-999", "NA"])
    assert (kind, values) == ("BIGINT", [1, None, None, 3] * 9)
    kind, values, _ = column(tmp_path / "t.csv", ["NA", "DE", "?"] * 9, marks=["?"])
    assert (kind, values) == ("VARCHAR", ["NA", "DE", None] * 9)


def test_dates_in_given_formats(tmp_path):
    texts = ["31.12.2020", "1.2.2021", "?"]
    kind, values, _ = column(tmp_path / "t.csv", texts * 3)
    assert (kind, values[0]) == ("VARCHAR", "31.12.2020")
    kind, values, _ = column(tmp_path / "t.csv", texts * 3, date_formats=["%d.%m.%Y"])
    days = [datetime.date(2020, 12, 31), datetime.date(2021, 2, 1), None]
    assert (kind, values) == ("DATE", days * 3)
    formats = ["%d.%m.%Y %H:%M"]
    kind, values, _ = column(tmp_path / "t.csv", ["31.12.2020 23:59"] * 3, date_formats=formats)
    assert (kind, values[0]) == ("TIMESTAMP", datetime.datetime(2020, 12, 31, 23, 59))


@pytest.mark.parametrize(("decimal", "number"), [(",", 1.5), (".", None)])
def test_the_decimal_mark_is_given(tmp_path, decimal, number):
    kind, values, _ = column(tmp_path / "t.csv", ['"1,5"', "2"] * 5, decimal=decimal)
    assert (kind, values[0]) == (("DOUBLE", number) if number else ("VARCHAR", "1,5"))
