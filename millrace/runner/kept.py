"""Keeps in a run's folder what resuming it takes: its compiled pipeline and its request.

`.run/pipeline.yaml` is the compiled file, and `.run/request.json` holds its parameters and how
it was started. Secrets are not kept: whoever resumes the run gives them again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from millrace import redact
from millrace.errors import ParameterError, PipelineError, nearest
from millrace.ir import spec as ir
from millrace.ir.reader import read

FOLDER = ".run"
_PIPELINE, _REQUEST, _LOCK = "pipeline.yaml", "request.json", "lock"


@dataclasses.dataclass(frozen=True)
class Request:
    """How a run was started.

    Attributes:
        values: The parameters of the pipeline, paths made absolute.
        source: The file that the pipeline was read from; paths may be relative to its folder.
        runner: Where its steps run.
        caching: Whether results of earlier runs may be reused.
        root: The URI of the root for artifacts; empty if they are in the run's folder.
    """

    values: Mapping[str, Any]
    source: str
    runner: str
    caching: bool
    root: str = ""


def keep(folder: Path, pipeline: ir.Pipeline, request: Request) -> None:
    """Writes what resuming takes into the run's folder."""
    own = folder / FOLDER
    own.mkdir(parents=True, exist_ok=True)
    content = dataclasses.asdict(request) | {"values": redact.parameters(request.values)}
    _write(own / _PIPELINE, pipeline.path.read_bytes())
    _write(own / _REQUEST, json.dumps(content, indent=1).encode())


def forget(folder: Path) -> None:
    """Removes the files of a run that never started, and its folder if it is then empty."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def was_killed_at_once(folder: Path) -> bool:
    """Returns whether a folder holds a run that was killed before its request was kept."""
    names = {path.name for path in folder.iterdir()}
    return names <= {FOLDER} and not (folder / FOLDER / _REQUEST).exists()


def find(root: Path, run_id: str) -> Path:
    """Returns the folder of a run.

    Raises:
        PipelineError: There is none, or it cannot be resumed.
    """
    requests = list(root.glob(f"*/*/{FOLDER}/{_REQUEST}"))
    found = {path.parents[1].name: path.parents[1] for path in requests}
    if run_id == "latest" and requests:
        return max(requests, key=lambda path: path.stat().st_mtime_ns).parents[1]
    matches = [folder for name, folder in found.items() if name.startswith(run_id)]
    if run_id in found:
        return found[run_id]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise PipelineError(f'"{run_id}" matches {len(matches)} runs: give more of the id.')
    raise PipelineError(f'There is no run "{run_id}" in {root} to resume.{nearest(run_id, found)}')


def load(folder: Path, given: Mapping[str, Any]) -> tuple[ir.Pipeline, Request]:
    """Returns the pipeline and the request of a run.

    Args:
        folder: The run's folder.
        given: Parameters that were not kept, because they are secrets.

    Raises:
        ParameterError: A secret is not given again, or another parameter is.
        PipelineError: The files cannot be read.
    """
    try:
        request = Request(**json.loads((folder / FOLDER / _REQUEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise PipelineError(f"Cannot read {folder / FOLDER / _REQUEST}: {error}") from None
    hidden = {name for name, value in request.values.items() if value == redact.HIDDEN}
    for name in given.keys() - hidden:
        raise ParameterError(
            f'A resumed run has the parameters it was started with: leave "{name}" out, or start '
            "another run."
        )
    if missing := sorted(hidden - given.keys()):
        options = " ".join(f"--param {name}=…" for name in missing)
        raise ParameterError(f"Secrets are not kept with a run: give them again with {options}")
    loaded = dataclasses.replace(read(folder / FOLDER / _PIPELINE), path=Path(request.source))
    return loaded, dataclasses.replace(request, values={**request.values, **given})


def pipeline(folder: Path) -> ir.Pipeline:
    """Returns the compiled pipeline that a run was made from.

    Raises:
        PipelineError: It cannot be read.
    """
    return read(folder / FOLDER / _PIPELINE)


def is_running(folder: Path) -> bool:
    """Returns whether a process holds a run."""
    try:
        with (folder / FOLDER / _LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Locks a run for this process; the system releases the lock when the process ends.

    Raises:
        PipelineError: Another process runs it.
    """
    path = folder / FOLDER / _LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        hold(file, f"The run {folder.name} is still going on, or `millrace gc` is deleting it.")
        yield


def hold(file: IO[str], busy: str) -> None:
    """Takes the lock of a file for as long as it is open.

    Raises:
        PipelineError: Another process holds it, as `busy` says.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise PipelineError(busy) from None


def _write(path: Path, content: bytes) -> None:
    """Writes a file atomically, readable by its owner only."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
