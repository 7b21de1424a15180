"""Runs a compiled pipeline on this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import os
import re
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from millrace.authoring.locate import locate
from millrace.backends.base import Backend
from millrace.backends.docker import DockerBackend, Options
from millrace.backends.process import ProcessBackend
from millrace.backends.sources import Sources
from millrace.errors import ParameterError, PipelineError, StoreError
from millrace.ir import parameters
from millrace.ir import spec as ir
from millrace.ir.checks import check
from millrace.ir.reader import read
from millrace.lineage import STORE
from millrace.runner import external, memory
from millrace.runner.engine import Engine, Events
from millrace.runner.inputs import Inputs
from millrace.runner.listener import Listener, ResilientListener, Silent
from millrace.runner.resources import ResourcePool
from millrace.runner.result import RunResult, State, TaskResult
from millrace.runner.task import Job, TaskRunner, containers, reason
from millrace.storage import paths
from millrace.storage.digest_cache import FILE, DigestCache
from millrace.version import __version__

ROOT, ROOT_VARIABLE = ".millrace", "MILLRACE_ROOT"
RUNNERS = ("process", "docker")
ENVIRONMENTS = "envs"
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


def load(pipeline: str) -> ir.Pipeline:
    """Finds, reads and checks a pipeline.

    Raises:
        PipelineError: There is none of that name, or it cannot be run.
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
    caching: bool = True,
    run_id: str = "",
    cores: float = 0,
    memory_limit: int = 0,
    measure_memory: bool = False,
    listener: Listener | None = None,
) -> RunResult:
    """Runs a pipeline to its end; a task that fails makes a FAILED result, not an exception.

    Args:
        pipeline: One of ours by name, a compiled YAML file, a folder with `pipeline.py`; or what
            `load` returned.
        values: Its parameters, as JSON values.
        root: The folder for everything that runs make; MILLRACE_ROOT or `./.millrace` if None.
        store: The lineage store; `<root>/metadata.sqlite` if None.
        runner: `process` runs our steps and lightweight Python components in processes, and takes
            Docker for other containers; `docker` takes it for all.
        docker: How containers are run.
        caching: Whether results of earlier runs may be taken.
        run_id: The run's id; made from the pipeline's name and the time if empty.
        cores: How many cores the tasks may share; 0 takes all.
        memory_limit: How many bytes the tasks may share, by their requests; 0 takes all.
        measure_memory: Whether to sample the memory of all processes while they run.
        listener: Is told how it goes on.

    Raises:
        PipelineError: The pipeline cannot be run, or the root cannot be written.
        ParameterError: A parameter is unknown, missing or of the wrong type, or the id cannot be
            a folder's.
        StoreError: The lineage store cannot be opened or written.
    """
    loaded = load(pipeline) if isinstance(pipeline, str) else pipeline
    here = Path.cwd()
    given = _located(loaded, parameters.checked(loaded, values or {}), values or {}, here)
    where = paths.absolute(root or os.environ.get(ROOT_VARIABLE) or ROOT)
    started = datetime.now(timezone.utc)
    if run_id and not _ID.fullmatch(run_id):
        raise ParameterError(f"{run_id!r} cannot be a run's id: it names a folder.")
    run_id = run_id or f"{loaded.name}-{started:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    result = RunResult(
        run_id,
        loaded.name,
        where / loaded.name / run_id,
        store or str(where / STORE),
        given,
        {
            path: TaskResult(
                path, task.display_name, is_dag=isinstance(task.component.body, ir.Dag)
            )
            for path, task in loaded.walk()
        },
    )
    session = _Session(
        loaded, result, where, started, caching, ResilientListener(listener or Silent())
    )
    with (
        _interruptible() as signals,
        session.backend(runner, docker or Options()) as backend,
        _measured(measure_memory, backend, result),
    ):
        session.run(backend, ResourcePool(cores, memory_limit), signals)
    return result


class _Session:
    """One run, from the first folder it makes to the last line it records."""

    def __init__(
        self,
        pipeline: ir.Pipeline,
        result: RunResult,
        root: Path,
        started: datetime,
        caching: bool,
        listener: Listener,
    ) -> None:
        self._pipeline = pipeline
        self._result = result
        self._listener = listener
        self._job = Job(
            result.run_id,
            result.run_id,
            result.folder,
            root,
            started,
            caching,
            (pipeline.path.parent, Path.cwd()),
        )
        self._is_new = not paths.exists(root / STORE) and result.store == str(root / STORE)
        self._clock = time.monotonic()
        self._memo = DigestCache(root / FILE)
        self._sources = Sources(self._memo)

    @contextlib.contextmanager
    def backend(self, runner: str, options: Options) -> Iterator[Backend]:
        """Makes what runs the containers, and sees that it ends."""
        docker = DockerBackend(self._result.run_id, options)
        kinds: dict[str, Backend] = {
            "docker": docker,
            "process": ProcessBackend(
                self._result.folder, self._sources, docker, self._job.root / ENVIRONMENTS
            ),
        }
        if runner not in kinds:
            raise ParameterError(f"There is no runner {runner!r}: take {' or '.join(RUNNERS)}.")
        backend = kinds[runner]
        backend.check(containers(self._pipeline))
        _make(self._result.folder)
        try:
            if self._is_new:  # nothing can be cached, so the imports may begin before anything else
                backend.prepare(containers(self._pipeline))
            yield backend
        finally:
            backend.close()
            self._memo.save()
            with contextlib.suppress(OSError):
                self._result.folder.rmdir()  # everything was cached: it is empty

    def run(self, backend: Backend, room: ResourcePool, signals: _Signals) -> None:
        """Runs the pipeline and records how it ended."""
        from millrace.lineage.record import RunRecord
        from millrace.lineage.store import Store
        from millrace.runner.recorder import Recorder

        result, job, events = self._result, self._job, Events()
        with Store.open(result.store) as store:
            signals.act = lambda: events.put(_interrupt)
            record = RunRecord.start(
                store,
                result.pipeline,
                result.run_id,
                str(result.folder),
                result.run_id,
                result.parameters,
                self._properties(backend),
            )
            recorder = Recorder(store, record, result.pipeline)
            runner = TaskRunner(
                self._pipeline,
                job,
                backend,
                recorder,
                self._memo,
                self._sources,
                self._listener.retrying,
            )
            engine = Engine(runner, room, result.tasks, self._listener.changed, events)
            try:
                self._listener.started(result)
                outcome = engine.run(self._pipeline.root, Inputs(result.parameters, {}))
                result.state, result.error = outcome.state, outcome.error
            except KeyboardInterrupt:
                result.state, result.error = State.CANCELED, "the run was stopped"
            except BaseException as error:
                result.state, result.error = State.FAILED, reason(error, job.root)
                raise
            finally:
                try:
                    recorder.end(result.state, result.error)
                except StoreError as error:  # what came out is still worth showing
                    result.state, result.error = State.FAILED, result.error or str(error)
                self._listener.ended(result)
        result.seconds = time.monotonic() - self._clock

    def _properties(self, backend: Backend) -> dict[str, Any]:
        """Returns what an auditor asks about a run: whose, where, with which code."""
        return {
            "code_version": __version__,
            "libraries": self._sources.environment(),
            "pipeline_digest": self._pipeline.digest,
            "pipeline_file": str(self._pipeline.path),
            "runner": backend.name,
            "user": _user(),
            "host": socket.gethostname(),
            "process": os.getpid(),
        }


def _located(
    pipeline: ir.Pipeline, checked: Mapping[str, Any], given: Mapping[str, Any], here: Path
) -> dict[str, Any]:
    """Makes paths absolute: the user's by where they are, the pipeline's by where it lies."""
    return {
        name: external.absolute(
            name, value, (here,) if name in given else (pipeline.path.parent, here)
        )
        for name, value in checked.items()
    }


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise PipelineError(f"There is a run in {folder} already.") from None
    except OSError as error:
        raise PipelineError(
            f"Cannot make {folder}: {error.strerror}. Name another folder with --root."
        ) from error


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())


def _interrupt() -> None:
    raise KeyboardInterrupt


@dataclasses.dataclass
class _Signals:
    """What a signal to end does: interrupt at once, until there is something to be recorded."""

    act: Callable[[], None] = _interrupt


@contextlib.contextmanager
def _interruptible() -> Iterator[_Signals]:
    """Makes other signals stop a run as Ctrl-C does, and only once: stopping is not stopped."""
    signals = _Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return

    def handle(*_: Any) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        signals.act()

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup makes it
        numbers.append(signal.SIGHUP)
    before = [signal.signal(number, handle) for number in numbers]
    try:
        yield signals
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextlib.contextmanager
def _measured(wanted: bool, backend: Backend, result: RunResult) -> Iterator[None]:
    if not wanted:
        yield
        return
    with memory.measured(backend.pids) as peak:
        yield
    result.peak_memory = peak()
