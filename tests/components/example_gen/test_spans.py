"""Spans and versions of data that arrive over time."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.components.example_gen import spans
from millrace.errors import DataError, ParameterError


@pytest.fixture
def write(tmp_path):
    def write(path, value, rows=20):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("n,v\n" + f"{value},1\n" * rows)

    return write


@pytest.fixture
def values(generate, tmp_path):
    def values(pattern, **parameters):
        result = generate(tmp_path / pattern, splits={"all": 1}, **parameters)
        read = result.table("all").column("n").to_pylist()
        return sorted(set(read)), result.metadata

    return values


def test_the_latest_span_is_read_with_its_highest_version(write, values):
    for span, version in [(1, 1), (2, 1), (10, 1), (10, 2), (9, 3)]:
        write(f"span-{span}/v{version}/a.csv", span * 100 + version)
        write(f"span-{span}/v{version}/b.csv", span * 100 + version)
    write("span-x/v1/a.csv", 7)
    pattern = "span-{SPAN}/v{VERSION}/*.csv"
    read, metadata = values(pattern)
    assert read == [1002]
    assert (metadata["spans"], metadata["versions"], metadata["rows"]) == ("10", "2", 40)
    assert values(pattern, spans="2")[0] == [201]
    assert values(pattern, spans="9..10")[0] == [903, 1002]
    assert values(pattern, spans="last 2")[0] == [903, 1002]
    assert values(pattern, spans="all")[1]["span_count"] == 4
    with pytest.raises(DataError, match=r"Span 8 of .* is missing: the spans there are 1 to 10\."):
        values(pattern, spans="8..10")
    with pytest.raises(DataError, match=r"Spans 3, 4, 5, 6, 7 and 1 more of .* are missing"):
        values(pattern, spans="2..10")


def test_dates(write, values):
    for day in ("2024-02-28", "2024-02-29", "2024-03-01", "2024-02-31"):
        write(f"{day}/t.csv", int(day.replace("-", "")))
    pattern = "{YYYY}-{MM}-{DD}"
    read, metadata = values(pattern)
    assert (read, metadata["spans"]) == ([20240301], "2024-03-01")
    read, metadata = values(pattern, spans="last 3")
    assert (len(read), metadata["spans"]) == (3, "2024-02-28..2024-03-01")
    assert values(pattern, spans="2024-02-29")[0] == [20240229]
    with pytest.raises(DataError, match=r"Span 2024-02-27 of .* is missing"):
        values(pattern, spans="2024-02-27..2024-02-29")


def test_a_date_that_comes_twice_in_a_path(write, values):
    write("2024/t-2024-01-31.csv", 1)
    write("2024/t-2023-01-31.csv", 2)
    assert values("{YYYY}/t-{YYYY}-{MM}-{DD}.csv", spans="all")[0] == [1]


@pytest.mark.parametrize(
    ("pattern", "wanted", "message"),
    [
        ("{SPAN}/t.csv", "three", "\"spans\" is 'three': give latest, .* such as 3 or 3..7"),
        ("{SPAN}/t.csv", "7..3", "ends before it begins"),
        ("{SPAN}/t.csv", "2024-01-01", "give latest"),
        ("{YYYY}/{MM}/t.csv", "latest", "needs {YYYY}, {MM}, {DD} together"),
        ("{VERSION}/t.csv", "latest", "needs either {SPAN} or"),
        ("{SPAN}/{YYYY}-{MM}-{DD}.csv", "latest", "needs either {SPAN} or"),
        ("1/t.csv", "last 3", '"data_uri" names no spans'),
    ],
)
def test_what_makes_no_sense(write, values, pattern, wanted, message):
    write("1/t.csv", 1)
    with pytest.raises(ParameterError, match=message):
        values(pattern, spans=wanted)


def test_no_span_is_there(write, values):
    write("x/t.csv", 1)
    with pytest.raises(DataError, match=r"Nothing matches .*\{SPAN\}/t.csv: there is no span in"):
        values("{SPAN}/t.csv")


@given(st.sets(st.dates(), min_size=1, max_size=6), st.integers(1, 4))
def test_a_window_is_all_there_or_named(tmp_path_factory, days, length):
    folder = tmp_path_factory.mktemp("spans")
    for day in days:
        (folder / f"{day:%Y%m%d}".rjust(8, "0")).touch()
    pattern = folder / "{YYYY}{MM}{DD}"
    window = {max(days) - datetime.timedelta(days=back) for back in range(length)}
    if window <= days:
        chosen = spans.choose(pattern, f"last {length}")
        assert [one.name for one in chosen] == [day.isoformat() for day in sorted(window)]
    else:
        with pytest.raises(DataError, match=min(window - days).isoformat()):
            spans.choose(pattern, f"last {length}")
