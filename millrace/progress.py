"""Tells how far a step is while it works.

    from millrace import progress

    for epoch in range(1, epochs + 1):
        …
        progress.report(epoch, epochs, "epochs", loss=loss)

`millrace run` shows it beside the task, in processes and in containers; the log gets a line now and
then, which is all that it comes to on KFP. Reporting often costs next to nothing: what comes within
half a second of the last report is left out.

The step writes a file that MILLRACE_PROGRESS names, and the runner reads it. Code that cannot
import Millrace may write that file itself: one JSON object, such as
`{"done": 3, "total": 10, "unit": "epochs", "values": {"loss": 0.48}}`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from millrace import redact

VARIABLE = "MILLRACE_PROGRESS"
_PAUSE = 0.5  # seconds between two reports
_LOG_PAUSE = 5.0  # seconds between two lines of the log
_LONGEST = 4096  # bytes of the file; it may be anybody's
_LONGEST_WORD = 40
_MOST_VALUES = 4

Batch = TypeVar("Batch", bound=Any)  # something with `num_rows`

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a step is.

    Attributes:
        done: How much is done.
        total: How much there is to do; None if that is not known.
        unit: What is counted, in the plural; empty if only the share matters.
        values: What else to show, such as the loss.
    """

    done: float
    total: float | None = None
    unit: str = "rows"
    values: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def fraction(self) -> float | None:
        """The share that is done, from 0 to 1; None if that is not known."""
        return min(1.0, max(0.0, self.done / self.total)) if self.total else None

    def __str__(self) -> str:
        """Returns the text that people see, such as `3 of 10 epochs · loss 0.48`."""
        if self.unit and self.total:
            words = [f"{_number(self.done)} of {_number(self.total)} {self.unit}"]
        elif self.fraction is not None:
            words = [f"{self.fraction:.0%}"]
        else:
            unit = self.unit.removesuffix("s") if self.done == 1 else self.unit
            words = [f"{_number(self.done)} {unit}".strip()]
        return " · ".join(words + [f"{key} {_number(one)}" for key, one in self.values.items()])


def report(done: float, total: float | None = None, unit: str = "rows", **values: float) -> None:
    """Reports how far this step is.

    Args:
        done: How much is done.
        total: How much there is to do, if that is known.
        unit: What is counted, in the plural; empty if only the share matters.
        values: What else to show, such as `loss=0.48`.
    """
    if not _reporter.is_due():
        return
    known = {name: float(value) for name, value in values.items()}
    _reporter.report(Progress(float(done), None if total is None else float(total), unit, known))


class Counter:
    """Adds up what is done and reports it; may be used from any thread.

    Args:
        total: How much there is to do, if that is known.
        unit: What is counted, in the plural.
    """

    def __init__(self, total: float | None = None, unit: str = "rows") -> None:
        self._total = total
        self._unit = unit
        self._done = 0.0
        self._lock = threading.Lock()

    def add(self, number: float) -> None:
        """Reports that so much more is done."""
        with self._lock:
            self._done += number
            done = self._done
        report(done, self._total, self._unit)

    def over(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yields batches, such as pyarrow's, and report the rows of each once it has been used."""
        for batch in batches:
            yield batch
            self.add(batch.num_rows)


def read(path: Path) -> Progress | None:
    """Reads what a step has reported; None if that is nothing, or not in the format."""
    try:
        with path.open("rb") as file:
            message = json.loads(file.read(_LONGEST))
        return _parsed(message)
    except (OSError, ValueError, TypeError, AttributeError, KeyError, OverflowError):
        return None


class _Reporter:
    """Writes the latest report to the file and, less often, to the log."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._written = self._logged = -math.inf

    def is_due(self) -> bool:
        return time.monotonic() - self._written >= _PAUSE

    def report(self, progress: Progress) -> None:
        now = time.monotonic()
        with self._lock:
            if now - self._written < _PAUSE:
                return
            self._written = now
            is_logged = now - self._logged >= _LOG_PAUSE
            if is_logged:
                self._logged = now
            if file := os.environ.get(VARIABLE):
                _write(Path(file), progress)
        if is_logged:
            logger.info("%s", progress)


_reporter = _Reporter()


def _write(path: Path, progress: Progress) -> None:
    """Puts a report in place of the last one; a full disk is not what a step should fail for."""
    message = dataclasses.asdict(progress)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        draft.write_text(json.dumps(message), encoding="utf-8")
        draft.replace(path)


def _parsed(message: Any) -> Progress | None:
    done, total = float(message["done"]), message.get("total")
    total = None if total is None else float(total)
    values = {
        _word(name): float(value)
        for name, value in list((message.get("values") or {}).items())[:_MOST_VALUES]
    }
    if not math.isfinite(done) or not math.isfinite(total or 0.0):
        return None
    return Progress(done, total, _word(message.get("unit", "rows")), values)


def _word(value: Any) -> str:
    text = "".join(each for each in str(value)[:_LONGEST_WORD] if each.isprintable())
    return redact.message(text)


def _number(value: float) -> str:
    whole = float(value).is_integer() and abs(value) < 1e15
    return f"{int(value):,}" if whole else f"{value:.4g}"
