"""Output of the commands that show things: colours on a terminal, plain text elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millrace.cli.progress import STYLES
from millrace.report import numbers
from millrace.runner.result import State
from millrace.storage import paths

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from millrace.lineage.nodes import ArtifactRecord
    from millrace.lineage.store import Store

_PIPED = 200  # columns if it is not a terminal: nothing is wrapped that a program may read
DIGITS = 12  # digits of a digest that are shown
_LONGEST = 160  # characters of a parameter's value


def store_of(root: str | Path, store: str | None) -> Store:
    """Opens the lineage store of a root, which must be there.

    Raises:
        StoreError: There is none, or it cannot be read.
    """
    from millrace.lineage import address
    from millrace.lineage.store import Store as Opened

    return Opened.open(address.of_root(home_of(root), store), create=False)


def home_of(root: str | Path) -> Path:
    """Returns the folder that holds the lineage store and the logs of a root."""
    if "://" not in str(root):
        return paths.absolute(root)
    from millrace.runner import run  # which takes a while

    return run.home_of(root)


def counted(number: int, what: str) -> str:
    """Returns a number of things, in the plural unless it is one."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


@contextlib.contextmanager
def outliving_reader() -> Iterator[None]:
    """Runs the body to its end or to where nobody reads what it prints, as after `| head`."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())  # Python flushes it once more when it ends
        os.close(nothing)


def console() -> Console:
    """Returns the console for standard output."""
    from millrace.cli.console import Console

    width = None if sys.stdout.isatty() else _PIPED
    return Console(width=width, highlight=False, emoji=False, markup=False)


def table(content: Table) -> Text:
    """Returns a table without rich's padding after the last column."""
    from rich.text import Text

    shown = console()
    with shown.capture() as captured:
        shown.print(content)
    lines = captured.get().splitlines()
    return Text("\n").join(Text.from_ansi(line.rstrip()) for line in lines)


def as_json(value: Any) -> None:
    """Prints a JSON document."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def state(name: str) -> Text:
    """Returns a state in its colour."""
    from rich.text import Text

    known = name in State.__members__
    return Text(name.lower(), style=STYLES[State(name)] if known else "")


def seconds(value: float | None) -> str:
    """Returns a duration, empty if there is none."""
    return "" if value is None else numbers.seconds(value)


def when(value: datetime | None, short: bool = False) -> str:
    """Returns a time in the local zone; short: without seconds, and without this year."""
    if value is None:
        return ""
    local = value.astimezone()
    if not short:
        return f"{local:%Y-%m-%d %H:%M:%S}"
    this_year = local.year == datetime.now().astimezone().year
    return f"{local:%d %b %H:%M}" if this_year else f"{local:%Y-%m-%d}"


def digest(artifact: ArtifactRecord) -> str:
    """Returns the beginning of an artifact's digest."""
    return str(artifact.metadata.get("digest") or "")[:DIGITS]


def size(artifact: ArtifactRecord) -> str:
    """Returns the bytes of an artifact with a digest, as a metric may be called `bytes` too."""
    value = artifact.metadata.get("bytes") if artifact.metadata.get("digest") else None
    return numbers.size(value) if isinstance(value, (int, float)) else ""


def deleted(artifact: ArtifactRecord) -> str:
    """Returns when and by whom an artifact was deleted; empty if it was not."""
    if not artifact.deleted:
        return ""
    said = {name: str(artifact.metadata.get(f"deleted_{name}") or "") for name in ("at", "by")}
    try:
        moment = when(datetime.fromisoformat(said["at"]))
    except ValueError:  # another writer's own
        moment = ""
    words = ["was deleted", f"on {moment}" if moment else "", said["by"] and f"by {said['by']}"]
    return " ".join(filter(None, words))


def rows(artifact: ArtifactRecord) -> str:
    """Returns the rows of an artifact, if recorded."""
    value = artifact.metadata.get("rows")
    return f"{value:,.0f}" if isinstance(value, (int, float)) else ""


def parameters(values: Mapping[str, Any], longest: int = _LONGEST) -> list[str]:
    """Returns the parameters with values as `name=value`, cut if they are long."""
    return [
        f"{name}={_value(value, longest)}"
        for name, value in sorted(values.items())
        if value not in (None, "", [], {})
    ]


def _value(value: Any, longest: int) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 1] + "…"
