"""Collects the unreadable lines of CSV files; too many of them are an error."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import duckdb

from millrace.errors import DataError

FILE = "rejected.csv"
# A line may have an error for each of its values, but most have few.
_ERRORS_PER_LINE = 8
_UNLIMITED = 0  # DuckDB's value for no limit
_NO_TEXT = "not UTF-8 text"
_BAD_QUOTE = "a quote that is not closed, or text after it"


@dataclasses.dataclass(frozen=True, order=True)
class RejectedLine:
    """A line that cannot be read."""

    file: str
    line: int
    reason: str
    text: str


def options(max_rejected: int | None = None) -> str:
    """Returns the options of `read_csv` that set rejected lines aside: all, or enough to fail."""
    # With `ignore_errors` alone, DuckDB stops at the first bad quote and reports nothing.
    limit = _UNLIMITED if max_rejected is None else _ERRORS_PER_LINE * (max_rejected + 1)
    return f", store_rejects = true, rejects_limit = {limit}"


def collect(connection: duckdb.DuckDBPyConnection) -> list[RejectedLine]:
    """Returns the lines that DuckDB rejected, each once, in the order of files and lines."""
    exists = "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'reject_errors'"
    if connection.execute(exists).fetchone() == (0,):
        return []
    found = connection.execute(
        "SELECT DISTINCT ON (file_path, line) file_path, line, error_type, error_message, csv_line "
        "FROM reject_errors JOIN reject_scans USING (scan_id, file_id) "
        "ORDER BY file_path, line, column_idx, error_type"
    ).fetchall()
    return [
        RejectedLine(file, line, _reason(kind, message), text or "")
        for file, line, kind, message, text in found
    ]


def check_quotes(lines: Sequence[RejectedLine]) -> None:
    """Raises DataError if an unclosed quote has swallowed the lines after it."""
    for line in lines:
        if line.reason == _BAD_QUOTE and len(line.text.strip().splitlines()) > 1:
            raise DataError(
                f"{line.file}, line {line.line}: {line.reason}. It swallows the lines after it, "
                "which may be good rows: fix the file. A quote within a quoted value is "
                "written twice."
            )


def check(lines: Sequence[RejectedLine], total: int, read: int, max_rejected: int) -> None:
    """Raises DataError if too many lines were rejected.

    Args:
        lines: Some of the rejected lines, including the first.
        total: How many were rejected.
        read: How many could be read.
        max_rejected: How many may be rejected.
    """
    if total <= max_rejected:
        return
    first = lines[0]
    fix = "say its encoding" if first.reason == _NO_TEXT else "fix the file"
    raise DataError(
        f"{first.file}, line {first.line}: {first.reason}. {total:,} of {read + total:,} rows "
        f'cannot be read, and "max_rejected" allows {max_rejected:,}: {fix}, or raise it '
        f"to keep such rows aside in {FILE}."
    )


def write(lines: Sequence[RejectedLine], folder: Path) -> None:
    """Writes `rejected.csv`, with file names only, so that it is the same anywhere."""
    with (folder / FILE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "line", "reason", "text"])
        writer.writerows(
            [Path(line.file).name, line.line, line.reason, line.text] for line in lines
        )


def _reason(kind: str, message: str) -> str:
    """Rewords DuckDB's reason for people."""
    if kind in ("MISSING COLUMNS", "TOO MANY COLUMNS"):
        expected, found = message.removeprefix("Expected Number of Columns: ").split(" Found: ")
        return f"{found} values where the header has {expected}"
    if kind in ("INVALID UNICODE", "INVALID ENCODING"):
        return _NO_TEXT
    if kind == "UNQUOTED VALUE":
        return _BAD_QUOTE
    return message.split("\n")[0].rstrip(".")
