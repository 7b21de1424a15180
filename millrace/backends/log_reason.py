"""Finds in a log why a program failed."""

from __future__ import annotations

import re
from pathlib import Path

_TAIL = 1 << 20  # bytes at the end of a log that are searched
_LONGEST = 2000  # characters of a reason
# The first line of a traceback, or of one of an exception group.
_TRACEBACK = re.compile(r"(\s*)(\+ Exception Group )?Traceback \(most recent call last\):")
# The last line: the exception's name, perhaps with its module, and its message.
_EXCEPTION = re.compile(r"(?:[^\W\d]\w*\.)*(?:<locals>\.)?[^\W\d]\w*(?:: .*|:)?")
# A line that ends another program's traceback.
_INNER = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception|Interrupt): .+")
_CHAINED = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
_IGNORED = ("Exception ignored ", "Exception in thread ")  # before one that is not fatal
_OF_LOGGER = re.compile(r"\[?[\w ]*\d{4}-\d\d-\d\d|(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)[: ]")
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_NO_WORDS = re.compile(r"[\W_]*")


def reason_in(log: Path) -> str:
    """Returns in one line why a program failed, according to its log; empty if it is unknown.

    This is the message of the last Python exception, or else the last line that has words.
    """
    return reason(_tail(log))


def last_line(log: Path) -> str:
    """Returns the last line of Docker's own output, without its hint at `--help`."""
    useful = [one for one in _tail(log).strip().splitlines() if one.strip() and "--help" not in one]
    return useful[-1].removeprefix("docker: ") if useful else "it printed nothing"


def reason(text: str) -> str:
    """Returns in one line why a program failed, according to its output."""
    lines = [_COLOUR.sub("", line).rstrip() for line in text.splitlines()]
    found = _exception(lines) or _last_useful(lines)
    return found if len(found) <= _LONGEST else f"{found[: _LONGEST - 1]}…"


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _exception(lines: list[str]) -> str:
    """Returns the message of the last fatal traceback; empty if there is none."""
    found = [(number, match) for number, line in enumerate(lines) if (match := _start(line))]
    ending = [one for one in found if not lines[one[0] - 1].startswith(_IGNORED) or not one[0]]
    for number, match in reversed(ending or found):
        margin = match[1] + ("| " if match[2] else "")
        for at in range(number + 1, len(lines)):
            body = lines[at].removeprefix(margin)
            if lines[at].startswith(margin) and _EXCEPTION.fullmatch(body):
                return _message(body, [line.removeprefix(margin) for line in lines[at + 1 :]])
    return ""


def _start(line: str) -> re.Match[str] | None:
    return _TRACEBACK.fullmatch(line)


def _message(first: str, following: list[str]) -> str:
    """Returns an exception's message with its continuation lines."""
    paragraph, rest = [first], [""]
    lines = paragraph
    for line in following:
        if line.strip() in _CHAINED or line.startswith(_IGNORED) or _start(line):
            break
        if not line.strip() or _OF_LOGGER.match(line) or line.lstrip().startswith("+-"):
            lines = rest
        lines.append(line.strip())
    if _INNER.fullmatch(last := _last_useful(rest)):  # a notebook's cell, another process
        return f"{first.rstrip(':')}: {last}"
    return " ".join(part for part in paragraph if not _NO_WORDS.fullmatch(part))


def _last_useful(lines: list[str]) -> str:
    return next((line.strip() for line in reversed(lines) if not _NO_WORDS.fullmatch(line)), "")
