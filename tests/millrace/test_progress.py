"""What a step reports of its progress, and what the runner makes of it."""

import json
import logging

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace import progress
from millrace.progress import Counter, Progress


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Where this process reports."""
    monkeypatch.setattr(progress, "_reporter", progress._Reporter())
    path = tmp_path / "progress.json"
    monkeypatch.setenv(progress.VARIABLE, str(path))
    return path


@pytest.mark.parametrize(
    ("reported", "text"),
    [
        (Progress(65_536, 327_346), "65,536 of 327,346 rows"),
        (Progress(65_536), "65,536 rows"),
        (Progress(3, 10, "epochs", {"loss": 0.48123}), "3 of 10 epochs · loss 0.4812"),
        (Progress(1, None, "epochs", {"loss": 0.5}), "1 epoch · loss 0.5"),
        (Progress(0.25, 1, ""), "25%"),
        (Progress(3, 0), "3 rows"),
        (Progress(3, 2, ""), "100%"),
        (Progress(1, 2, values={"loss": float("nan")}), "1 of 2 rows · loss nan"),
    ],
)
def test_people_see(reported, text):
    assert str(reported) == text


def test_the_runner_reads_what_a_step_reports(file):
    progress.report(3, np.int64(10), "epochs", loss=np.float32(0.25))
    assert progress.read(file) == Progress(3, 10, "epochs", {"loss": 0.25})
    assert list(file.parent.iterdir()) == [file]


def test_reports_in_quick_succession_are_left_out(file, monkeypatch, caplog):
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with caplog.at_level(logging.INFO):
        for number in range(40):
            progress.report(number)
            now += 0.25
    assert progress.read(file) == Progress(38)
    assert [record.getMessage() for record in caplog.records] == ["0 rows", "20 rows"]


def test_a_report_that_is_left_out_builds_nothing(file):
    progress.report(1)

    class Costly:
        def __float__(self):
            raise AssertionError("it was looked at")

    progress.report(Costly(), loss=Costly())


def test_the_log_has_it_where_no_runner_listens(file, monkeypatch, caplog):
    monkeypatch.delenv(progress.VARIABLE)
    with caplog.at_level(logging.INFO):
        progress.report(1, 2)
    assert caplog.messages == ["1 of 2 rows"]
    assert not file.exists()


def test_a_file_that_cannot_be_written_fails_nothing(monkeypatch, file):
    monkeypatch.setenv(progress.VARIABLE, "/dev/null/x")
    progress.report(1)


def test_a_counter_counts_the_rows_of_batches(file):
    batches = [pa.record_batch([pa.array(rows)], ["a"]) for rows in ([1, 2], [3])]
    assert list(Counter(3).over(batches)) == batches
    assert progress.read(file) == Progress(2, 3)


def test_what_anybody_may_write_is_made_harmless(file):
    message = {"done": 1, "unit": "x\x1b[31m\n" + "y" * 1000, "values": {"token=abcdefgh": 1}}
    file.write_text(json.dumps(message))
    text = str(progress.read(file))
    assert text.startswith("1 x[31myyy")
    assert "abcdefgh" not in text
    assert len(text) < 100


@given(
    st.binary(max_size=50)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["done", "total", "unit", "values", "x"]), inner)
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_anything_in_the_file_is_read_or_ignored(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("progress") / "progress.json"
    path.write_bytes(content)
    found = progress.read(path)
    assert found is None or str(found)
