"""Runs a compiled pipeline on this machine, or resumes a run of one."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from millrace.authoring.locate import locate
from millrace.backends.docker import Options
from millrace.errors import ParameterError
from millrace.ir import parameters
from millrace.ir import spec as ir
from millrace.ir.checks import check
from millrace.ir.reader import read
from millrace.lineage import STORE
from millrace.runner import cluster_values, external, kept
from millrace.runner.kept import Request
from millrace.runner.listener import Listener
from millrace.runner.result import RunResult, TaskResult
from millrace.runner.selection import select
from millrace.runner.session import RUNNERS, Session, Settings
from millrace.storage import location, paths

__all__ = ["ROOT", "ROOT_VARIABLE", "RUNNERS", "load", "resume", "run"]

ROOT, ROOT_VARIABLE, HOME_VARIABLE = ".millrace", "MILLRACE_ROOT", "MILLRACE_HOME"
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


def load(pipeline: str) -> ir.Pipeline:
    """Finds, reads and checks a pipeline.

    Raises:
        PipelineError: There is no such pipeline, or it cannot be run.
    """
    loaded = read(locate(pipeline))
    check(loaded)
    return loaded


def run(
    pipeline: str | ir.Pipeline,
    values: Mapping[str, Any] | None = None,
    *,
    root: str | Path | None = None,
    store: str | None = None,
    runner: str = "process",
    docker: Options | None = None,
    secrets_file: Path | None = None,
    caching: bool = True,
    cache_from: Sequence[str | Path] = (),
    fail_fast: bool = False,
    dry: bool = False,
    start: str = "",
    end: str = "",
    only: str = "",
    run_id: str = "",
    cores: float = 0,
    memory_limit: int = 0,
    measure_memory: bool = False,
    listener: Listener | None = None,
) -> RunResult:
    """Runs a pipeline to its end; if a task fails, the result is FAILED, and nothing is raised.

    Args:
        pipeline: One of ours by name, a compiled YAML file, a folder with `pipeline.py`; or what
            `load` returned.
        values: Its parameters, as JSON values.
        root: The folder for all outputs of runs; MILLRACE_ROOT or `./.millrace` if None. A
            URI such as `s3://bucket/prefix` keeps artifacts there; logs and the lineage store are
            then in MILLRACE_HOME or `./.millrace`.
        store: The lineage store; `<root>/metadata.sqlite` if None.
        runner: `process` forks steps of ours, runs lightweight Python components in processes and
            takes Docker for other images; `docker` takes it for all.
        docker: How containers are run.
        secrets_file: The YAML file with Secrets and ConfigMaps; MILLRACE_SECRETS_FILE if None.
        caching: Whether results of earlier runs may be reused.
        cache_from: Other roots, or their lineage stores, whose results may be reused as well.
        fail_fast: Whether nothing new is started after a task has failed.
        dry: Whether to only find out what would run; such tasks are PLANNED.
        start: The task from which everything runs anew.
        end: The task after which nothing runs.
        only: The one task to run anew, after the tasks it needs.
        run_id: The run's id; made from the pipeline's name and the time if empty.
        cores: How many cores the tasks may share; 0 takes all.
        memory_limit: How many bytes the tasks may share, by their requests; 0 takes all.
        measure_memory: Whether to sample the memory of all processes while they run.
        listener: Receives its progress.

    Raises:
        PipelineError: The pipeline cannot be run, or the root cannot be written.
        ParameterError: A parameter is unknown, missing or of the wrong type, or the id cannot be
            a folder's.
        StoreError: The lineage store cannot be opened or written.
    """
    loaded = load(pipeline) if isinstance(pipeline, str) else pipeline
    given = _located(loaded, parameters.checked(loaded, values or {}), values or {})
    selection = select(loaded, start, end, only)
    home, remote = home_of(root), remote_of(root)
    if run_id and not _ID.fullmatch(run_id):
        raise ParameterError(f"{run_id!r} cannot be a run's id: it names a folder.")
    now = datetime.now(timezone.utc)
    run_id = run_id or f"{loaded.name}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    settings = Settings(
        home,
        remote,
        runner,
        docker or Options(),
        caching,
        selection,
        fail_fast,
        cores,
        memory_limit,
        measure_memory,
        tuple(_store_of(one) for one in cache_from),
        cluster_values.read(secrets_file),
    )
    result = _result(loaded, run_id, home / loaded.name / run_id, store or str(home / STORE), given)
    session = Session(loaded, result, settings, listener)
    if dry:
        session.plan()
    else:
        session.start(Request(given, str(loaded.path), runner, caching, remote))
    return result


def resume(
    run_id: str,
    values: Mapping[str, Any] | None = None,
    *,
    root: str | Path | None = None,
    store: str | None = None,
    docker: Options | None = None,
    secrets_file: Path | None = None,
    fail_fast: bool = False,
    cores: float = 0,
    memory_limit: int = 0,
    measure_memory: bool = False,
    listener: Listener | None = None,
) -> RunResult:
    """Resumes a run that failed or was killed; tasks that succeeded are not run again.

    Args:
        run_id: The run's id, the beginning of one, or `latest`.
        values: The secrets among its parameters, which are not kept.
        root: As for `run`.
        store: As for `run`.
        docker: As for `run`.
        secrets_file: As for `run`.
        fail_fast: As for `run`.
        cores: As for `run`.
        memory_limit: As for `run`.
        measure_memory: As for `run`.
        listener: As for `run`.

    Raises:
        PipelineError: There is no such run, it is still running, or it cannot be run.
        ParameterError: A secret is not given.
        StoreError: The run has succeeded, or the lineage store cannot be opened or written.
    """
    home = home_of(root)
    folder = kept.find(home, run_id)
    loaded, request = kept.load(folder, values or {})
    check(loaded)
    settings = Settings(
        home,
        request.root,
        request.runner,
        docker or Options(),
        request.caching,
        select(loaded),
        fail_fast,
        cores,
        memory_limit,
        measure_memory,
        values=cluster_values.read(secrets_file),
    )
    where = store or str(home / STORE)
    result = _result(loaded, folder.name, folder, where, dict(request.values))
    Session(loaded, result, settings, listener).resume()
    return result


def home_of(root: str | Path | None) -> Path:
    """Returns the absolute path of the folder for runs; for a remote root, the default one.

    It holds the logs, the lineage store and copies of what is remote.
    """
    if remote_of(root):
        root = os.environ.get(HOME_VARIABLE) or ROOT
    return paths.absolute(paths.local(str(root or os.environ.get(ROOT_VARIABLE) or ROOT)))


def _store_of(source: str | Path) -> str:
    """Returns the lineage store of another root, or the store that is named directly."""
    if "://" in str(source) or paths.is_file(paths.absolute(source)):
        return str(source)
    return str(paths.absolute(source) / STORE)


def remote_of(root: str | Path | None) -> str:
    """Returns the root if it is a URI of an object store, or else empty text."""
    text = str(root or os.environ.get(ROOT_VARIABLE) or "")
    if "://" not in paths.local(text):
        return ""
    location.scheme(text)  # raises if it cannot be used
    return text.rstrip("/")


def _result(
    pipeline: ir.Pipeline, run_id: str, folder: Path, store: str, values: dict[str, Any]
) -> RunResult:
    tasks = {
        path: TaskResult(path, task.display_name, is_dag=isinstance(task.component.body, ir.Dag))
        for path, task in ir.walk(pipeline.dag, loops=False)
    }
    return RunResult(run_id, pipeline.name, folder, store, values, tasks)


def _located(
    pipeline: ir.Pipeline, checked: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Makes paths absolute: the user's relative to here, the pipeline's to its own folder."""
    here = Path.cwd()
    folders = {name: (here,) if name in given else (pipeline.path.parent, here) for name in checked}
    return external.absolute(external.root_parameters(pipeline), checked, folders)
