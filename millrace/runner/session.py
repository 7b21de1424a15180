"""One run: its backend, its record and its end."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import logging
import os
import socket
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millrace import redact
from millrace.backends.base import Backend
from millrace.backends.docker import DockerBackend, Options
from millrace.backends.process import ProcessBackend
from millrace.backends.sources import Sources
from millrace.errors import ParameterError, PipelineError, StoreError
from millrace.ir import spec as ir
from millrace.lineage import STORE
from millrace.runner import imports, kept, memory
from millrace.runner.cluster_values import ClusterValues
from millrace.runner.engine import Engine, Events
from millrace.runner.graph import Outcome
from millrace.runner.inputs import Inputs
from millrace.runner.kept import Request
from millrace.runner.listener import Listener, Listeners
from millrace.runner.placement import Placement
from millrace.runner.pod import Pods
from millrace.runner.resources import ResourcePool
from millrace.runner.result import RunResult, State
from millrace.runner.selection import Selection
from millrace.runner.signals import Signals, interrupt, interruptible
from millrace.runner.task import WORKSPACE, Job, Observers, TaskRunner, containers, reason
from millrace.runner.tracing import Tracer, tracer
from millrace.runner.volumes import Volumes
from millrace.runner.watch import ProgressWatcher
from millrace.storage import location, paths
from millrace.storage.digest_cache import FILE, DigestCache
from millrace.version import __version__

if TYPE_CHECKING:
    from millrace.lineage.record import RunRecord
    from millrace.lineage.resume import Previous
    from millrace.lineage.store import Store
    from millrace.runner.dry import DryRecorder
    from millrace.runner.recorder import Recorder

logger = logging.getLogger(__name__)
RUNNERS = ("process", "docker")
ENVIRONMENTS = "envs"  # virtual environments of lightweight components, in the folder of the runs


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a pipeline is run; see `millrace.runner.run.run`."""

    home: Path
    root: str
    runner: str
    docker: Options
    caching: bool
    selection: Selection
    fail_fast: bool
    cores: float
    memory_limit: int
    measure_memory: bool
    cache_from: tuple[str, ...] = ()
    values: ClusterValues = dataclasses.field(default_factory=ClusterValues)


class Session:
    """One run, from creating its folder to recording its end."""

    def __init__(
        self,
        pipeline: ir.Pipeline,
        result: RunResult,
        settings: Settings,
        listener: Listener | None = None,
    ) -> None:
        redact.learn(result.parameters)
        self._pipeline = pipeline
        self._result = result
        self._settings = settings
        self._listener = Listeners(*filter(None, [listener]))
        self._tracer = Tracer()
        self._events = Events()
        self._watcher = ProgressWatcher(
            lambda task: self._events.put(lambda: self._listener.progressed(task))
        )
        self._job = Job(
            result.run_id,
            result.run_id,
            result.folder,
            settings.home,
            datetime.now(timezone.utc),
            settings.caching,
            settings.selection,
            (pipeline.path.parent, Path.cwd()),
        )
        own_store = settings.home / STORE
        self._is_new = not paths.exists(own_store) and result.store == str(own_store)
        self._is_recorded = False
        self._clock = time.monotonic()
        self._digests = DigestCache(settings.home / FILE)
        self._sources = Sources(self._digests, pipeline.path.parent)
        target = location.join(settings.root, pipeline.name, result.run_id) if settings.root else ""
        self._placement = Placement(result.folder, target, settings.home, self._digests)
        result.target = target
        self._pods = Pods(settings.values, Volumes(settings.home), result.run_id)

    def start(self, request: Request) -> None:
        """Runs the pipeline to its end."""
        folder = self._result.folder
        with interruptible() as signals, self._backend(is_new=True) as backend:
            kept.keep(folder, self._pipeline, request)
            try:
                self._run(backend, signals, is_resumed=False)
            except BaseException:
                if not self._is_recorded:
                    kept.forget(folder)
                raise

    def plan(self) -> None:
        """Finds out what would run, and runs nothing."""
        from millrace.lineage.store import Store
        from millrace.runner.dry import DryRecorder

        with (
            interruptible(),
            self._backend(is_new=False) as backend,
            contextlib.ExitStack() as stack,
        ):
            store = None
            if not self._is_new:
                store = stack.enter_context(Store.open(self._result.store, create=False))
            sources = [stack.enter_context(one) for one in self._others()]
            recorder = DryRecorder(store, self._result.pipeline, sources)
            engine = self._engine(backend, recorder)
            outcome = engine.run(self._pipeline.root, root_inputs(self._pipeline, self._result))
            self._result.state, self._result.error = outcome.state, outcome.error
        self._result.seconds = time.monotonic() - self._clock

    def resume(self) -> None:
        """Resumes the run."""
        with interruptible() as signals, self._backend(is_new=False) as backend:
            self._run(backend, signals, is_resumed=True)

    @contextlib.contextmanager
    def _backend(self, is_new: bool) -> Iterator[Backend]:
        """Yields what runs the containers, and closes it afterwards."""
        kind = self._settings.runner
        docker = DockerBackend(self._result.run_id, self._settings.docker)
        kinds: dict[str, Backend] = {
            "docker": docker,
            "process": ProcessBackend(
                self._result.folder,
                self._sources,
                docker,
                self._settings.home / ENVIRONMENTS,
                self._pipeline.path.parent.absolute(),
            ),
        }
        if kind not in kinds:
            raise ParameterError(f"There is no runner {kind!r}: take {' or '.join(RUNNERS)}.")
        backend = kinds[kind]
        for problem in self._pods.missing(self._pipeline):
            logger.warning("%s", problem)
        imports.check(self._pipeline, self._result.parameters, Path.cwd())
        backend.check(containers(self._pipeline))
        if is_new:
            _make(self._result.folder)
        try:
            yield backend
        finally:
            backend.close()
            self._watcher.close()
            self._placement.close()
            self._digests.save()

    def _run(self, backend: Backend, signals: Signals, is_resumed: bool) -> None:
        """Runs the pipeline, and records how it ended."""
        from millrace.lineage.store import Store

        self._tracer = tracer()
        self._listener = Listeners(self._listener, self._tracer)
        with (
            contextlib.closing(self._tracer),
            kept.lock(self._result.folder),
            _measured(self._settings.measure_memory, backend, self._result),
        ):
            if self._pipeline.uses_workspace:
                (self._result.folder / WORKSPACE).mkdir(exist_ok=True)
            if self._is_new:  # nothing can be cached, so imports may begin at once
                backend.prepare(containers(self._pipeline))
            with contextlib.ExitStack() as stack:
                store = stack.enter_context(Store.open(self._result.store, write_ahead=True))
                sources = [stack.enter_context(one) for one in self._others()]
                self._record(store, sources, backend, signals, is_resumed)
            self._result.seconds = time.monotonic() - self._clock

    def _others(self) -> Iterator[Store]:
        """Opens the lineage stores of other roots whose results may be reused."""
        from millrace.lineage.store import Store

        for where in self._settings.cache_from:
            yield Store.open(where, create=False)

    def _record(
        self,
        store: Store,
        sources: Sequence[Store],
        backend: Backend,
        signals: Signals,
        is_resumed: bool,
    ) -> None:
        from millrace.runner.recorder import Recorder

        result = self._result
        signals.act = lambda: self._events.put(interrupt)
        record, previous = self._open(store, backend, is_resumed)
        self._is_recorded = True
        recorder = Recorder(store, record, result.pipeline, previous, sources)
        engine = self._engine(backend, recorder)
        try:
            self._listener.started(result)
            outcome = engine.run(self._pipeline.root, root_inputs(self._pipeline, result))
            result.state, result.error = outcome.state, outcome.error
            result.outputs, result.artifacts = dict(outcome.parameters), dict(outcome.artifacts)
        except KeyboardInterrupt:
            result.state, result.error = State.CANCELED, "the run was stopped"
        except BaseException as error:
            result.state, result.error = State.FAILED, reason(error, self._job.root)
            raise
        finally:
            try:
                recorder.end(Outcome(result.state, {}, result.outputs, result.error))
            except StoreError as error:  # the results are still worth showing
                result.state, result.error = State.FAILED, result.error or str(error)
            self._listener.ended(result)

    def _engine(self, backend: Backend, recorder: Recorder | DryRecorder) -> Engine:
        runner = TaskRunner(
            self._pipeline,
            self._job,
            backend,
            recorder,
            self._digests,
            self._sources,
            self._placement,
            self._pods,
            Observers(
                lambda *arguments: self._events.put(lambda: self._listener.retrying(*arguments)),
                self._watcher,
                self._tracer,
            ),
        )
        settings = self._settings
        return Engine(
            runner,
            ResourcePool(settings.cores, settings.memory_limit),
            self._result.tasks,
            self._listener.changed,
            self._events,
            settings.selection,
            settings.fail_fast,
        )

    def _open(
        self, store: Store, backend: Backend, is_resumed: bool
    ) -> tuple[RunRecord, Previous | None]:
        """Starts the run's record, or reopens it; a run that was killed early has none."""
        from millrace.lineage import query, resume
        from millrace.lineage.record import RunRecord

        result = self._result
        if is_resumed and result.run_id in query.run_ids(store, result.run_id):
            return resume.reopen(store, result.pipeline, result.run_id, self._properties(backend))
        record = RunRecord.start(
            store,
            result.pipeline,
            result.run_id,
            result.target or str(result.folder),
            result.run_id,
            result.parameters,
            self._properties(backend),
        )
        return record, None

    def _properties(self, backend: Backend) -> dict[str, Any]:
        """Returns the run's properties for auditors: who ran it, where, with which code."""
        return {
            "code_version": __version__,
            "libraries": self._sources.environment(),
            "pipeline_digest": self._pipeline.digest,
            "pipeline_file": str(self._pipeline.path),
            "runner": backend.name,
            "user": user(),
            "host": socket.gethostname(),
            "process": os.getpid(),
        }


def root_inputs(pipeline: ir.Pipeline, result: RunResult) -> Inputs:
    """Returns the inputs of the root; defaults count as given, as when KFP submits a run."""
    optional = {name: None for name, one in pipeline.root.parameters.items() if one.optional}
    given = optional | result.parameters
    present = frozenset(name for name, value in given.items() if value is not None)
    return Inputs(given, {}, present)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        if not kept.was_killed_at_once(folder):
            raise PipelineError(f"There is a run in {folder} already.") from None
    except OSError as error:
        raise PipelineError(
            f"Cannot make {folder}: {error.strerror}. Name another folder with --root."
        ) from error


def user() -> str:
    """Returns who runs this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())


@contextlib.contextmanager
def _measured(wanted: bool, backend: Backend, result: RunResult) -> Iterator[None]:
    if not wanted:
        yield
        return
    with memory.measured(backend.pids) as peak:
        yield
    result.peak_memory = peak()
