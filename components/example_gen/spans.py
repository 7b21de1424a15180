"""Chooses among the spans of data that arrive over time, as TFX names them.

A path with `{SPAN}` has a span for each number in that place, one with `{YYYY}`, `{MM}` and `{DD}`
for each date. Of a span with several numbers in the place of `{VERSION}`, the highest is read.
"""

from __future__ import annotations

import dataclasses
import datetime
import glob
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from millrace.errors import DataError, ParameterError
from millrace.storage.external_files import SPAN_FIELDS, as_glob

LATEST = "latest"
_DATE = ("{YYYY}", "{MM}", "{DD}")
_DIGITS = {
    "{SPAN}": r"\d+",
    "{VERSION}": r"\d+",
    "{YYYY}": r"\d{4}",
    "{MM}": r"\d{2}",
    "{DD}": r"\d{2}",
}
_DAY_0 = datetime.date(1970, 1, 1)
_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class Span:
    """A span of data.

    Attributes:
        number: Its number, or its days since 1970.
        name: Its number or its date.
        version: The version that is read, if its path has one.
        paths: What it consists of.
    """

    number: int
    name: str
    version: int | None
    paths: tuple[Path, ...]


def has_fields(pattern: Path) -> bool:
    """Returns whether a path names spans."""
    return any(field in str(pattern) for field in SPAN_FIELDS)


def choose(pattern: Path, wanted: str) -> list[Span]:
    """Returns the spans to read, in order.

    Args:
        pattern: A path with fields of spans.
        wanted: `latest`; `last 7`, which ends with the latest; `all`; a number or date; or a range
            such as `3..7` or `2024-01-01..2024-01-31`.

    Raises:
        ParameterError: The path or `wanted` makes no sense.
        DataError: A span is not there.
    """
    dated = _check(pattern)
    found = _find(pattern, dated)
    if not found:
        raise DataError(f"Nothing matches {pattern}: there is no span in {as_glob(pattern)}.")
    newest = max(found)
    numbers = _numbers(wanted or LATEST, found, newest, dated)
    missing = [number for number in numbers if number not in found]
    if missing:
        shown = ", ".join(_name(number, dated) for number in missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN:,} more" if len(missing) > _SHOWN else ""
        raise DataError(
            f"{'Span' if len(missing) == 1 else 'Spans'} {shown}{more} of {pattern} "
            f"{'is' if len(missing) == 1 else 'are'} missing: the spans there are "
            f"{_name(min(found), dated)} to {_name(newest, dated)}."
        )
    return [found[number] for number in numbers]


def _check(pattern: Path) -> bool:
    """Returns whether spans are dates."""
    fields = {field for field in SPAN_FIELDS if field in str(pattern)}
    dated = fields.intersection(_DATE)
    if dated and dated != set(_DATE):
        raise ParameterError(f'"data_uri" needs {", ".join(_DATE)} together: {pattern}')
    if bool(dated) == ("{SPAN}" in fields):
        raise ParameterError(
            f'"data_uri" needs either {{SPAN}} or {", ".join(_DATE)} in its path: {pattern}'
        )
    return bool(dated)


def _find(pattern: Path, dated: bool) -> dict[int, Span]:
    """Returns the newest version of every span."""
    versions: dict[int, dict[int, list[Path]]] = {}
    expression = _expression(str(pattern))
    for name in sorted(glob.glob(str(as_glob(pattern)), recursive=True)):  # noqa: PTH207
        if match := expression.fullmatch(name):
            fields = {key: int(value) for key, value in match.groupdict().items()}
            number = _day(fields) if dated else fields["SPAN"]
            if number is not None:
                of_span = versions.setdefault(number, {})
                of_span.setdefault(fields.get("VERSION", 0), []).append(Path(name))
    has_versions = "{VERSION}" in str(pattern)
    return {
        number: Span(
            number,
            _name(number, dated),
            max(of_span) if has_versions else None,
            tuple(of_span[max(of_span)]),
        )
        for number, of_span in versions.items()
    }


def _expression(pattern: str) -> re.Pattern[str]:
    """Returns what matches the paths that a pattern with fields and wildcards names."""
    parts, seen = [], set()
    for part in re.split(r"(\{[A-Z]+\}|\*\*/|\*|\?|\[[^]]*\])", pattern):
        if part in SPAN_FIELDS:
            name = part.strip("{}")
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>{_DIGITS[part]})")
            seen.add(name)
        elif part == "**/":
            parts.append(r"(?:.*/)?")
        elif part == "*":
            parts.append(r"[^/]*")
        elif part == "?":
            parts.append(r"[^/]")
        elif part.startswith("[") and part.endswith("]"):
            parts.append(part.replace("[!", "[^"))
        else:
            parts.append(re.escape(part))
    return re.compile("".join(parts))


def _numbers(wanted: str, found: Iterable[int], newest: int, dated: bool) -> Sequence[int]:
    """Returns the numbers of the wanted spans."""
    if wanted == LATEST:
        return [newest]
    if wanted == "all":
        return sorted(found)
    if match := re.fullmatch(r"last (\d{1,6})", wanted):
        return range(newest - max(int(match[1]), 1) + 1, newest + 1)
    first, two, last = wanted.partition("..")
    begin = _number(first, dated)
    end = _number(last, dated) if two else begin
    if begin is None or end is None:
        example = "2024-01-31 or 2024-01-01..2024-01-31" if dated else "3 or 3..7"
        raise ParameterError(
            f'"spans" is {wanted!r}: give latest, "last 7", all, or such as {example}.'
        )
    if end < begin:
        raise ParameterError(f'"spans" is {wanted!r}, which ends before it begins.')
    return range(begin, end + 1)


def _number(text: str, dated: bool) -> int | None:
    """Returns the number of a span from its name."""
    if not dated:
        return int(text) if re.fullmatch(r"\d{1,18}", text) else None
    try:
        return (datetime.date.fromisoformat(text) - _DAY_0).days
    except ValueError:
        return None


def _day(fields: dict[str, int]) -> int | None:
    """Returns the days since 1970 of a date that is in a path."""
    try:
        return (datetime.date(fields["YYYY"], fields["MM"], fields["DD"]) - _DAY_0).days
    except ValueError:  # such as the 31st of a month that has 30 days
        return None


def _name(number: int, dated: bool) -> str:
    return (_DAY_0 + datetime.timedelta(days=number)).isoformat() if dated else str(number)
