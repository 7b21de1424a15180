"""A step for tests: it follows its parameters, and reports its inputs."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from millrace import modules, progress
from millrace.artifacts import Dataset, Input, Output
from millrace.errors import DataError


def run(
    out: Output[Dataset],
    text: str = "",
    do: str = "",
    count: int = 0,
    ratio: float = 0.5,
    flag: bool = False,
    items: list[Any] = [],  # noqa: B006
    options: dict[str, Any] = {},  # noqa: B006
    data_uri: str = "",
    module_file: str = "",
    push_destination: str = "",
    data: Input[Dataset] | None = None,
) -> dict[str, Any]:
    given = {
        "text": text,
        "count": count,
        "ratio": ratio,
        "flag": flag,
        "items": items,
        "options": options,
    }
    verb, _, argument = do.partition(" ")
    if verb == "fail":
        raise DataError(argument)
    if verb == "crash":
        raise RuntimeError(argument)
    if verb == "tell":
        raise RuntimeError(f"cannot log in with {text}")
    if verb == "die":
        os.kill(os.getpid(), int(argument or signal.SIGKILL))
    if verb == "flaky":
        _fail_first(Path(argument), out.path)
    if verb == "block":
        child = subprocess.Popen(["sleep", "1000"])
        _say(argument, {"pid": os.getpid(), "child": child.pid})
        signal.pause()
    if verb == "meet":
        _meet(argument, text)
    if verb == "litter":
        Path(argument).write_text(tempfile.mkdtemp())
    if verb == "full":
        Path("/dev/full").write_bytes(b"x" * 100_000)
    if verb == "edit":
        Path(argument).write_text("edited")
    if verb == "load":
        text = modules.load(module_file).VALUE
    if verb == "tell-environment":
        text = os.environ.get(argument, "")
    if verb == "report":
        progress.report(3, 10, "epochs", loss=0.25)
        Path(argument).read_text()  # until somebody writes
    if verb == "long":
        text = "x" * int(argument)
    out.path.mkdir(parents=True)
    if verb == "exit":
        (out.path / "half").write_text(text)
        sys.exit()
    if verb == "vanish":
        os._exit(0)
    (out.path / "text").write_text(text)
    out.metadata |= {"rows": count, "environment": os.environ.get("PLAY", "")}
    out.metadata["pid"] = os.getpid()
    if data is not None:
        out.metadata["source"] = (data.path / "text").read_text()
    if data_uri:
        out.metadata["data_uri"] = data_uri
    if push_destination:
        Path(push_destination).mkdir(parents=True, exist_ok=True)
        out.metadata["pushed_destination"] = push_destination
    sys.stderr.write(f"played {text[:20]}\n")
    return {"said": text, "number": count, "given": given, "sure": flag, "share": ratio}


def _fail_first(counter: Path, out: Path) -> None:
    """Fails the first two times, and leaves half a result behind."""
    attempts = int(counter.read_text()) if counter.exists() else 0
    counter.write_text(str(attempts + 1))
    if out.exists():
        raise SystemExit("an earlier attempt was not cleaned up")
    if attempts < 2:
        out.mkdir()
        (out / "half").write_text("half")
        raise RuntimeError(f"attempt {attempts}")


def _say(fifo: str, message: dict[str, Any]) -> None:
    Path(fifo).write_text(json.dumps(message))


def _meet(folder: str, name: str) -> None:
    """Waits for the other: both can only go on if they run at the same time."""
    signal.alarm(60)
    other = {"a": "b", "b": "a"}[name]
    if name == "a":
        Path(folder, "a").read_text()
        Path(folder, "b").write_text("here")
    else:
        Path(folder, other).write_text("here")
        Path(folder, "b").read_text()
