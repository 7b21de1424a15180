"""Infers the types of the columns of CSV files from all of their values.

DuckDB's own sniffer samples the first rows only, and its reader rounds a later 1.5 in a column of
integers to 2. `csv_kinds` tells what a column's values make of it.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import duckdb

from millrace.components.example_gen import csv_kinds, csv_sql
from millrace.components.example_gen.csv_kinds import MARKS, TEXT
from millrace.components.example_gen.engine import identifier, literal
from millrace.errors import DataError

_NAMED, _SHOWN = 20, 3
_NAME_POINTS = 3
_SAMPLE_CELLS, _SAMPLE_ROWS = 50_000, 2_000
_NOTES = {
    csv_kinds.COMMA: "with decimal commas, so that 1,5 is 1.5",
    csv_kinds.THOUSANDS: "as whole numbers, so that 1.234 is 1234 and 1.234.567 is 1234567",
    csv_kinds.COMMA_THOUSANDS: "as whole numbers, so that 1,234 is 1234 and 1,234,567 is 1234567",
}


@dataclasses.dataclass(frozen=True)
class Hints:
    """What the user says about the columns.

    Attributes:
        types: The DuckDB type of some columns.
        marks: The texts that are missing values in every column; None to find out.
        date_formats: How dates are written, such as `%d.%m.%Y`, besides ISO 8601.
        comma: Whether a number may have a decimal comma.
        decimal: The decimal mark, if it is known.
        quoted: Columns whose values are quoted where those of other columns are not.
    """

    types: Mapping[str, str] = dataclasses.field(default_factory=dict)
    marks: Sequence[str] | None = None
    date_formats: Sequence[str] = ()
    comma: bool = False
    decimal: str = ""
    quoted: Collection[str] = ()


@dataclasses.dataclass(frozen=True)
class Columns:
    """How to read the columns.

    Attributes:
        types: The DuckDB type to read each column as.
        computed: SQL for the columns that DuckDB can only read as text.
        rows: The number of readable rows.
        missing: How many values of a column are read as missing though they are not empty.
        notes: Messages about what was read otherwise than it may seem.
        decided: The type of each column, as `Hints.types` gives it.
        decimal: The decimal mark, if some numbers have a comma.
    """

    types: dict[str, str]
    computed: dict[str, str]
    rows: int
    missing: dict[str, int]
    notes: list[str]
    decided: dict[str, str]
    decimal: str


def infer(
    connection: duckdb.DuckDBPyConnection, scan: str, columns: Sequence[str], hints: Hints
) -> Columns:
    """Returns how to read every column.

    Args:
        connection: DuckDB.
        scan: SQL that reads the columns as text.
        columns: The names of the columns.
        hints: What the user says about them.
    """
    return _Inference(connection, scan, columns, hints).columns()


class _Inference:
    """The passes over the values of the columns, each only for those that need it."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        scan: str,
        columns: Sequence[str],
        hints: Hints,
    ) -> None:
        self._connection = connection
        self._scan = scan
        self._columns = columns
        self._hints = hints
        self._marks = MARKS if hints.marks is None else tuple(hints.marks)
        self._patterns = csv_kinds.patterns(hints.comma or hints.decimal == ",")
        self._counts: dict[str, Counter[str]] = {}
        self._strays: set[str] = set()
        self._notes: list[str] = []
        self._missing: dict[str, int] = {}

    def columns(self) -> Columns:
        kinds, padded, mixed, rows = self._first_pass()
        doubtful = [name for name, kind in kinds.items() if not kind]
        kinds |= self._count(doubtful)
        kinds |= self._leave_out_strays(doubtful, kinds)
        ambiguous, kinds = kinds, csv_kinds.resolve(kinds, self._hints.decimal)
        if grouped := [name for name, kind in kinds.items() if kind == csv_kinds.THOUSANDS]:
            kinds |= dict.fromkeys(self._names(grouped), TEXT)
        kinds |= self._codes(kinds, mixed)
        kinds |= self._dates([name for name, kind in kinds.items() if kind == TEXT])
        kinds |= self._declared(kinds)
        for name, counts in self._counts.items():
            if counts[csv_kinds.MISSING] and kinds[name] not in (TEXT, csv_kinds.CODES):
                self._missing[name] = self._missing.get(name, 0) + counts[csv_kinds.MISSING]
        marks = self._marks if self._hints.marks is not None else self._marks_of(kinds)
        texts = [name for name in self._columns if kinds[name] in (TEXT, csv_kinds.CODES)]
        marked = self._count_marks(texts, marks)
        self._missing |= marked
        self._tell(ambiguous, kinds)
        computed = {}
        for name in self._columns:
            if value := self._value(name, kinds[name], name in padded, name in marked, marks):
                computed[name] = value
        types = {
            name: TEXT if name in computed or kind == csv_kinds.CODES else kind
            for name, kind in kinds.items()
        }
        decided = {name: csv_kinds.type_of(kind) for name, kind in kinds.items()}
        commas = {csv_kinds.COMMA, csv_kinds.THOUSANDS} & set(kinds.values())
        points = {csv_kinds.COMMA_THOUSANDS} & set(kinds.values())
        decimal = "," if commas else "." if points else ""
        return Columns(types, computed, rows, self._missing, self._notes, decided, decimal)

    def _select(self, expressions: Sequence[str]) -> Sequence[Any]:
        """Returns the values of aggregates over all rows."""
        query = f"SELECT {', '.join(expressions)} FROM {self._scan}"
        values: Sequence[Any]
        (values,) = self._connection.execute(query).fetchall()
        return values

    def _first_pass(self) -> tuple[dict[str, str], set[str], set[str], int]:
        """Guesses kinds by the first rows, and checks them on all.

        Returns:
            The kinds of the columns, empty if it is doubtful; columns of text whose values all
            begin with a blank; columns whose decimals are of different lengths; and the number of
            rows.
        """
        limit = min(_SAMPLE_ROWS, 1 + _SAMPLE_CELLS // len(self._columns))
        sample = self._connection.execute(f"FROM {self._scan} LIMIT {limit}").fetchall()
        kinds: dict[str, str] = {}
        tests: dict[tuple[str, str], str] = {}
        for number, name in enumerate(self._columns):
            values = {row[number] for row in sample if row[number] is not None}
            kinds[name] = kind = self._guess(values)
            column = identifier(name)
            tests["filled", name] = f"count({column})"
            tests["fits", name] = f"coalesce({csv_sql.all_surely(kind, column)}, true)"
            if values and all(value.startswith(" ") for value in values):
                tests["padded", name] = f"bool_and(starts_with({column}, ' '))"
            if kind == csv_kinds.DOUBLE:
                tests["mixed", name] = csv_sql.is_mixed(column)
        # DuckDB writes its table of rejected lines when the last row of a result is fetched.
        *results, rows = self._select([*tests.values(), "count(*)"])
        found = dict(zip(tests, results, strict=True))
        for name in self._columns:
            if not found["filled", name]:
                kinds[name] = TEXT
            elif not found["fits", name]:
                kinds[name] = ""
        padded, mixed = (
            {name for (test, name), holds in found.items() if test == wanted and holds}
            for wanted in ("padded", "mixed")
        )
        return kinds, padded, mixed, rows

    def _guess(self, values: Collection[str]) -> str:
        """Returns the kind of a few values, without checking that they can be cast."""
        counts: Counter[str] = Counter()
        for value in values:
            if value.strip(" ") not in ("", *self._marks):
                fits = (k for k, one in self._patterns.items() if re.fullmatch(one, value, re.A))
                counts[next(fits, TEXT)] += 1
        kind = csv_kinds.of_column(counts) if counts else csv_kinds.INTEGER
        return TEXT if kind == csv_kinds.CODES else kind

    def _kind_of(self, column: str) -> str:
        return csv_sql.kind_of(column, self._patterns, self._marks)

    def _cast(self, column: str, kind: str) -> str:
        return csv_sql.cast(column, kind, self._hints.date_formats)

    def _count(self, names: Sequence[str]) -> dict[str, str]:
        """Counts the kinds of the values of columns, and returns the kinds of the columns."""
        if not names:
            return {}
        found = self._select([f"histogram({self._kind_of(identifier(name))})" for name in names])
        for name, counts in zip(names, found, strict=True):
            self._counts[name] = Counter(counts or {})
        return {name: csv_kinds.of_column(self._counts[name]) for name in names}

    def _leave_out_strays(self, names: Sequence[str], kinds: Mapping[str, str]) -> dict[str, str]:
        """Returns the kinds of columns of numbers among which stand a few texts."""
        kinds = {
            name: csv_kinds.without_strays(self._counts[name])
            for name in names
            if kinds[name] == TEXT
        }
        found = {}
        for name, kind in kinds.items():
            if kind == TEXT:
                continue
            column = identifier(name)
            strays = self._connection.execute(
                f"SELECT {column}, count(*) FROM {self._scan} "
                f"WHERE {self._kind_of(column)} = {literal(TEXT)} GROUP BY 1 ORDER BY 2 DESC, 1"
            ).fetchall()
            shown = ", ".join(_quoted(value) for value, _ in strays[:_SHOWN])
            count = sum(number for _, number in strays)
            if name in self._hints.types:
                continue
            if csv_kinds.are_words(kind, [value for value, _ in strays]):
                found[name] = kind
                self._strays.add(name)
                self._missing[name] = count
                self._notes.append(
                    f'Read {_values(count)} of "{name}" as missing, not being numbers: {shown}.'
                )
            else:
                self._notes.append(
                    f'Read "{name}" as text, since not all of its values are numbers: {shown}. '
                    f'column_types={{"{name}": "integer"}} reads these as missing.'
                )
        return found

    def _names(self, columns: Sequence[str]) -> list[str]:
        """Returns the columns whose values all have the same number of points, at least three."""
        tests = []
        for column in map(identifier, columns):
            points = f"length({column}) - length(replace({column}, '.', ''))"
            points = f"CASE WHEN NOT {csv_sql.is_mark(column, self._marks)} THEN {points} END"
            tests.append(f"min({points}) >= {_NAME_POINTS} AND min({points}) = max({points})")
        found = self._select(tests)
        return [name for name, same in zip(columns, found, strict=True) if same]

    def _codes(self, kinds: Mapping[str, str], mixed: Collection[str]) -> dict[str, str]:
        """Returns the columns whose digits are text: codes, versions, and what is quoted."""
        found = {}
        for name, kind in kinds.items():
            column = identifier(name)
            if name in self._hints.types:
                continue
            if kind == csv_kinds.CODES:
                odd = [csv_kinds.PADDED, csv_kinds.PLUS, csv_kinds.EXPONENT]
                (example,) = self._select(
                    [f"min({column}) FILTER ({self._kind_of(column)} IN ({csv_sql.texts(odd)}))"]
                )
                kind_name = "decimal" if self._counts[name][csv_kinds.EXPONENT] else "integer"
                self._tell_codes(name, f"{example} is not the number {_number(example)}", kind_name)
            elif name in self._hints.quoted and kind in {csv_kinds.INTEGER, csv_kinds.DOUBLE}:
                found[name] = csv_kinds.CODES
                kind_name = "integer" if kind == csv_kinds.INTEGER else "decimal"
                self._tell_codes(
                    name, "its values are quoted, and other columns' are not", kind_name
                )
            elif kind == csv_kinds.DOUBLE and (name in mixed or name in self._counts):
                found |= self._versions(name)
        return found

    def _versions(self, name: str) -> dict[str, str]:
        """Returns CODES for a column such as 1.1, 1.10, 2.0, in which a number has two texts."""
        column = identifier(name)
        value = f"CASE WHEN NOT {csv_sql.is_mark(column, self._marks)} THEN trim({column}) END"
        pointed, texts, numbers, example = self._select(
            [
                rf"bool_and(regexp_full_match({value}, '\d+\.\d+'))",
                f"count(DISTINCT {value})",
                f"count(DISTINCT TRY_CAST({value} AS DOUBLE))",
                rf"min({value}) FILTER (regexp_full_match({value}, '\d+\.\d*[1-9]0+'))",
            ]
        )
        if not pointed or texts == numbers or example is None:
            return {}
        self._tell_codes(name, f"{example} stands beside {example.rstrip('0')}", "decimal")
        return {name: csv_kinds.CODES}

    def _tell_codes(self, name: str, why: str, kind: str) -> None:
        self._notes.append(
            f'Read "{name}" as text, since {why}. If these are numbers, say so with '
            f'column_types={{"{name}": "{kind}"}}.'
        )

    def _dates(self, names: Sequence[str]) -> dict[str, str]:
        """Returns the columns of text that are dates in one of the given formats."""
        if not self._hints.date_formats or not names:
            return {}
        tests = []
        for column in map(identifier, names):
            other = f"{column} IS NOT NULL AND NOT {csv_sql.is_mark(column, self._marks)}"
            parsed = csv_sql.parsed(column, self._hints.date_formats)
            tests += [f"bool_and({parsed} IS NOT NULL) FILTER ({other})"]
            tests += [f"bool_and({parsed} = date_trunc('day', {parsed}))"]
        found = self._select(tests)
        return {
            name: csv_kinds.FORMATTED["DATE"] if only_days else csv_kinds.FORMATTED["TIMESTAMP"]
            for name, all_parsed, only_days in zip(names, found[0::2], found[1::2], strict=True)
            if all_parsed
        }

    def _declared(self, kinds: Mapping[str, str]) -> dict[str, str]:
        """Returns the kinds of the columns whose type is given, and counts what is not of it.

        Raises:
            DataError: Most of a column's values are not of the type that is given for it.
        """
        found: dict[str, str] = {}
        for name, kind in self._hints.types.items():
            is_decimal = kind == csv_kinds.DOUBLE and kinds[name] == csv_kinds.THOUSANDS
            found[name] = (
                kinds[name] if is_decimal or csv_kinds.type_of(kinds[name]) == kind else kind
            )
            if self._hints.date_formats and kind in csv_kinds.FORMATTED and kinds[name] != kind:
                found[name] = csv_kinds.FORMATTED[kind]
        changed = [name for name, kind in found.items() if kind not in (TEXT, kinds[name])]
        for name in changed:
            column = identifier(name)
            other = f"{self._cast(column, found[name])} IS NULL"
            mark = csv_sql.is_mark(column, self._marks)
            values, others, marks, example = self._select(
                [
                    f"count({column})",
                    f"count({column}) FILTER ({other} AND NOT {mark})",
                    f"count({column}) FILTER ({mark})",
                    f"min({column}) FILTER ({other} AND NOT {mark})",
                ]
            )
            if others * 2 > values - marks:
                raise DataError(
                    f'"column_types" gives "{name}" a type that {others:,} of its '
                    f"{values - marks:,} values are not of, such as {_quoted(example)}."
                )
            self._counts[name] = Counter({csv_kinds.MISSING: others + marks})
            self._missing.pop(name, None)
            if others:
                self._notes.append(
                    f'Read {_values(others)} of "{name}" as missing, not being of the type that '
                    f"is given for it, such as {_quoted(example)}."
                )
        return found

    def _marks_of(self, kinds: Mapping[str, str]) -> tuple[str, ...]:
        """Returns the marks that stand in columns of numbers, dates and the like."""
        names = [
            name
            for name, counts in self._counts.items()
            if counts[csv_kinds.MISSING] and kinds[name] not in (TEXT, csv_kinds.CODES)
        ]
        if not names:
            return ()
        tests = [
            f"list(DISTINCT trim({column})) FILTER ({csv_sql.is_mark(column, MARKS)})"
            for column in map(identifier, names)
        ]
        found = {mark for marks in self._select(tests) for mark in marks or ()}
        return tuple(mark for mark in MARKS if mark in found)

    def _count_marks(self, names: Sequence[str], marks: Sequence[str]) -> dict[str, int]:
        """Returns how many values of columns of text are marks of missing values."""
        if not names or not marks:
            return {}
        found = self._select(
            [f"count(*) FILTER ({csv_sql.is_mark(identifier(name), marks)})" for name in names]
        )
        return {name: count for name, count in zip(names, found, strict=True) if count}

    def _value(self, name: str, kind: str, padded: bool, marked: bool, marks: Sequence[str]) -> str:
        """Returns SQL for the value of a column, or nothing if DuckDB can read it by itself."""
        column = identifier(name)
        if kind in (TEXT, csv_kinds.CODES):
            value = f"nullif(trim({column}), '')" if padded else column
            if marked:
                value = f"CASE WHEN NOT {csv_sql.is_mark(column, marks)} THEN {value} END"
            return value if value != column else ""
        if kind in csv_kinds.TYPES and name not in self._missing:
            return ""
        holds = f"NOT {csv_sql.is_mark(column, self._marks)}"
        if name in self._strays:
            holds = f"{self._kind_of(column)} NOT IN ({csv_sql.texts([csv_kinds.MISSING, TEXT])})"
        return f"CASE WHEN {holds} THEN {self._cast(column, kind)} END"

    def _tell(self, ambiguous: Mapping[str, str], kinds: Mapping[str, str]) -> None:
        """Notes what was read otherwise than it may seem, for many columns at once."""
        unclear = {csv_kinds.COMMA_THOUSAND, csv_kinds.COMMA_THOUSANDS}
        for kind, note in _NOTES.items():
            self._note(note, [name for name, one in kinds.items() if one == kind])
        self._note(
            'as text, since 1,234 may be 1234 or 1.234 (decimal="," or decimal="." tells which)',
            [name for name, one in kinds.items() if one == TEXT and ambiguous[name] in unclear],
        )
        if self._missing:
            counts = [f'{count:,} in "{name}"' for name, count in self._missing.items()]
            more = f" and {len(counts) - _NAMED:,} more columns" if len(counts) > _NAMED else ""
            counts = counts[:_NAMED]
            self._notes.append(f"Values read as missing: {', '.join(counts)}{more}.")

    def _note(self, note: str, names: Sequence[str]) -> None:
        if names:
            self._notes.append(f"Read {note}: {listed(names, _NAMED)}.")


def listed(names: Collection[str], most: int) -> str:
    """Returns some names in quotes, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(f'"{name}"' for name in list(names)[:most]) + more


def _quoted(value: str) -> str:
    return f'"{value[:40]}"'


def _values(count: int) -> str:
    return "1 value" if count == 1 else f"{count:,} values"


def _number(text: str) -> str:
    number = float(text)
    return f"{number:.0f}" if abs(number) < 1e18 else f"{number:g}"
