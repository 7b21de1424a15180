"""ExampleGen: streams a table through DuckDB and writes every row to its split."""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from millrace.artifacts import HTML, Examples, Output
from millrace.components.example_gen import (
    engine,
    hints,
    prepared,
    rejected,
    rows,
    shares,
    source,
    summary,
    table,
    time_split,
    writing,
)
from millrace.components.example_gen import query as queries
from millrace.components.example_gen.spans import Span
from millrace.data import examples as data
from millrace.errors import DataError, ParameterError

logger = logging.getLogger(__name__)


def run(
    data_uri: str,
    examples: Output[Examples],
    report: Output[HTML],
    spans: str = "latest",
    query: str = "",
    splits: dict[str, float] = {"train": 2, "eval": 1},
    key_columns: list[str] = [],
    time_column: str = "",
    time_gap: str = "",
    max_rejected: int = 0,
    header_line: int = 1,
    delimiter: str = "",
    encoding: str = "",
    column_types: dict[str, str] = {},
    missing_values: list[str] = [],
    decimal: str = "",
    date_formats: list[str] = [],
) -> None:
    """Reads a table, splits its rows by a stable hash and writes them."""
    _check_parameters(
        splits, max_rejected, header_line, delimiter, key_columns, time_column, time_gap
    )
    # By name, since shares are assigned in order, and not every backend keeps a mapping's order.
    names = sorted(splits)
    shutil.rmtree(examples.path, ignore_errors=True)
    examples.path.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="millrace-")))
        dialect = source.Dialect(header_line, delimiter, encoding)
        found = source.find(data_uri, scratch, dialect, spans)
        given = hints.check(found, column_types, missing_values, decimal, date_formats)
        logger.info("reading %d %s file(s)", len(found.files), found.format.value)
        stack.enter_context(prepared.named(zip(found.files, found.names, strict=True)))
        connection = stack.enter_context(engine.connect(found, scratch))
        read = table.create(connection, found, max_rejected, given)
        for note in read.notes:
            logger.warning("%s", note)
        sql = queries.checked(connection, query)
        types = queries.types(connection, sql)
        if queries.depends_on_order(connection, sql):
            engine.keep_order(connection)
        engine.lock(connection)
        parts = [splits[name] for name in names]
        by_time = None
        if time_column:
            by_time = time_split.split(connection, sql, types, time_column, time_gap, splits)
        batches = rows.stream(connection, sql, types, key_columns, parts, by_time)
        written = writing.write(batches, examples.path, names, None if query else read.rows)
    logger.info("%d rows read, %d rejected: %s", read.rows, len(read.rejected), written)
    if read.rejected:
        rejected.write(read.rejected, examples.path)
    uneven = "" if by_time else shares.warning(written, splits, key_columns)
    left_out = by_time.left_out if by_time else 0
    _check_rows(written, read, query, uneven, left_out)
    if uneven:
        logger.warning("%s", uneven)
    examples.metadata |= {
        **_span_metadata(found.spans),
        "splits": names,
        "rows": sum(written.values()),
        "split_rows": written,
        "columns": len(types),
        "source_rows": read.rows,
        "rejected": len(read.rejected),
        **({"read_as_missing": sum(read.missing.values())} if read.missing else {}),
        **({"notes": len(read.notes)} if read.notes else {}),
        **({"warnings": 1} if uneven else {}),
        **({"rows_in_gaps": left_out} if left_out else {}),
    }
    parameters = {"data_uri": data_uri, "query": query, "key_columns": key_columns}
    html = summary.render(examples.path, found, read, types, written, uneven, by_time, parameters)
    report.path.write_text(html, encoding="utf-8")


def _span_metadata(found: Sequence[Span]) -> dict[str, Any]:
    """Returns which spans were read, and their versions if they have any."""
    if not found:
        return {}
    first, last = found[0].name, found[-1].name
    versions = [str(one.version) for one in found if one.version is not None]
    return {
        "spans": first if len(found) == 1 else f"{first}..{last}",
        "span_count": len(found),
        **({"versions": ",".join(versions)} if versions else {}),
    }


def _check_parameters(
    splits: Mapping[str, Any],
    max_rejected: int,
    header_line: int,
    delimiter: str,
    key_columns: Sequence[str],
    time_column: str,
    time_gap: str,
) -> None:
    """Raises ParameterError for parameters that are invalid, or do not go together."""
    if not splits:
        raise ParameterError(
            '"splits" is empty: name at least one, such as {"train": 2, "eval": 1}.'
        )
    for name, share in splits.items():
        try:
            data.check_name(name)
        except DataError as error:
            raise ParameterError(f'"splits": {error}') from None
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < 2**53:
            raise ParameterError(
                f'"splits" gives "{name}" {share!r} parts of the rows: give a number above 0.'
            )
    if time_column and key_columns:
        raise ParameterError(
            'Rows are split either by "key_columns" or by "time_column": leave one of them out.'
        )
    if time_gap and not time_column:
        raise ParameterError('"time_gap" is given, but no "time_column".')
    if max_rejected < 0:
        raise ParameterError(f'"max_rejected" is {max_rejected}: give 0 or more.')
    if header_line < 0:
        raise ParameterError(f'"header_line" is {header_line}: give 0 if there is none.')
    if len(delimiter) > 1 or (delimiter in '"\r\n' and delimiter):
        raise ParameterError(f'"delimiter" is {delimiter!r}: give one character, such as ";".')


def _check_rows(
    written: Mapping[str, int], read: table.Table, query: str, uneven: str, left_out: int
) -> None:
    total = sum(written.values())
    if query and not total:
        raise DataError(f'"query" keeps none of the {read.rows:,} rows.')
    for split, count in written.items():
        if not count:
            if uneven:
                raise DataError(f'Split "{split}" is empty. {uneven}')
            raise DataError(
                f'Split "{split}" gets none of the {total:,} rows: give it more parts, or add rows.'
            )
    if not query and total + left_out != read.rows:
        raise DataError(f"{read.rows:,} rows were read, but {total + left_out:,} written.")
