"""Looks a task up in the cache, runs or imports what it must, and records the result."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import re
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millrace import redact
from millrace.artifacts import Artifact
from millrace.backends.base import Backend, Stop
from millrace.backends.process import step_of
from millrace.backends.sources import Sources
from millrace.errors import MillraceError, StorageError
from millrace.ir import placeholders
from millrace.ir import spec as ir
from millrace.ir.platform import CLAIM
from millrace.lineage.nodes import ArtifactRecord, CachedTask
from millrace.lineage.secret_key import SecretKey
from millrace.runner import cache, external
from millrace.runner.attempt import LOG, Attempt, AttemptError, Outputs
from millrace.runner.dry import DryRecorder
from millrace.runner.graph import Outcome, TaskInstance
from millrace.runner.inputs import Inputs
from millrace.runner.placement import Placement
from millrace.runner.pod import Pods
from millrace.runner.result import State, TaskResult
from millrace.runner.selection import Selection
from millrace.runner.tracing import Tracer
from millrace.runner.volumes import Volumes
from millrace.runner.watch import ProgressWatcher
from millrace.storage import durable
from millrace.storage.digest_cache import DigestCache

WORKSPACE = "workspace"

if TYPE_CHECKING:  # imports ml_metadata, which the runner loads in parallel
    from millrace.runner.recorder import Recorder


@dataclasses.dataclass(frozen=True)
class Job:
    """The settings that all tasks of a run share.

    Attributes:
        run_id: The run's id.
        display_name: The run's name for people.
        folder: Where the run's outputs go.
        root: The folder with the runs of all pipelines.
        started: When the run started.
        caching: Whether earlier results may be reused.
        selection: The tasks that the user asked for.
        folders: Where relative paths are searched: beside the pipeline, then where the caller is.
    """

    run_id: str
    display_name: str
    folder: Path
    root: Path
    started: datetime
    caching: bool
    selection: Selection
    folders: tuple[Path, ...]


@dataclasses.dataclass(frozen=True)
class Observers:
    """Who is told how tasks go on, by the threads that run them.

    Attributes:
        retrying: Is told which task failed, why, and after how many seconds it is tried again.
        watcher: Watches what steps report of their progress.
        tracer: Traces attempts and staging.
    """

    retrying: Callable[[TaskResult, str, float], None]
    watcher: ProgressWatcher
    tracer: Tracer


class TaskRunner:
    """Looks up, runs and records tasks, each in the calling thread."""

    def __init__(
        self,
        pipeline: ir.Pipeline,
        job: Job,
        backend: Backend,
        recorder: Recorder | DryRecorder,
        digests: DigestCache,
        sources: Sources,
        placement: Placement,
        pods: Pods,
        observers: Observers,
    ) -> None:
        self.stop = Stop()
        self.stop.register(backend.cancel)
        self.folders = job.folders
        self._pipeline = pipeline
        self._job = job
        self._backend = backend
        self._recorder = recorder
        self._digests = digests
        self._sources = sources
        self._placement = placement
        self._pods = pods
        self._volumes = Volumes(job.root)
        self._observers = observers
        self._prepared = threading.Lock()
        self._key = SecretKey(job.root, create=not isinstance(recorder, DryRecorder))

    def look_up(self, one: TaskInstance) -> Outcome | None:
        """Returns a task's outcome if it need not run; None if it must."""
        body = one.task.component.body
        if isinstance(body, ir.Importer):
            return self._import(one, body)
        if isinstance(body, ir.VolumeTask):
            return self._volume(one, body)
        assert one.container is not None
        assert one.inputs is not None
        if one.container.settings.mounts:
            settings = self._pods.present(one.container.settings)
            one.container = dataclasses.replace(one.container, settings=settings)
        one.code = self._backend.code(one.container)
        one.contents = self._contents(one)
        one.external = external.datasets(one.contents)
        self._identify(one)
        is_forced = self._job.selection.is_forced(one.result.path)
        if one.fingerprint and not is_forced:
            before = self._recorder.ended(one.result.path)
            if before is not None and before.fingerprint == one.fingerprint:
                made = self._whole(before.result)
                if made is not None:
                    return Outcome(State(before.state), made.outputs, made.parameters)
            if self._job.caching and one.task.cache and not _has_volume(one.container):
                for cached in self._recorder.find(one.fingerprint):
                    made = self._whole(cached)
                    if made is not None and (taken := self._take(one, made)) is not None:
                        return taken
        if isinstance(self._recorder, DryRecorder):
            return Outcome(State.PLANNED, error=self._why(one, self._recorder, is_forced))
        self.prepare()
        return None

    def _why(self, one: TaskInstance, recorder: DryRecorder, is_forced: bool) -> str:
        """Returns why a task would run."""
        if is_forced:
            return f"asked for: {self._job.selection.why}"
        if not self._job.caching or not one.task.cache:
            return "caching is off"
        if one.container is not None and _has_volume(one.container):
            return "it has a volume, whose content is not known"
        return recorder.why_not(one)

    def _whole(self, cached: CachedTask) -> CachedTask | None:
        """Returns a result if all of it is still as it was recorded."""
        return cache.whole_result(cached, self._job.root, self._digests)

    def prepare(self) -> None:
        """Warms up once, for all tasks: when one must run, those after it will run too."""
        if self._prepared.acquire(blocking=False):
            self._backend.prepare(containers(self._pipeline))

    def run(self, one: TaskInstance, release: Callable[[], None]) -> Outcome:
        """Runs a container, and retries it as often as the task allows.

        Args:
            one: The task.
            release: Called when it needs its cores and memory no longer.
        """
        assert one.inputs is not None
        assert one.container is not None
        folder = folder_of(self._job.folder, one.result.path)
        ours = step_of(one.container) is not None
        one.result.log = folder / LOG
        self._recorder.start(one)
        try:
            attempt = Attempt(
                one.result.path,
                one.task.component,
                one.container,
                self._stage(one, ours),
                folder,
                self.placeholders(one),
                ours,
                self._pods,
                self._job.folder / WORKSPACE if self._pipeline.uses_workspace else None,
            )
            outputs = self._attempts(attempt, one)
            release()
            one.result.peak_memory = outputs.peak_memory
            self._check_contents(one, "while it ran", code=False)  # that may be edited meanwhile
            artifacts = self._publish(one, outputs)
        except (AttemptError, StorageError) as error:
            failed = Outcome(State.FAILED, error=str(error))
            outcome = Outcome(State.CANCELED) if self.stop.asked else failed
            return self._recorder.finish(one, outcome)
        return self._recorder.finish(one, Outcome(State.COMPLETE, artifacts, outputs.parameters))

    def broken(self, one: TaskInstance, error: BaseException) -> Outcome:
        """Records a task that cannot start, or that a full disk or an unreachable store ended."""
        outcome = Outcome(State.FAILED, error=reason(error, self._job.root))
        with contextlib.suppress(Exception):  # recording may be what fails
            self._recorder.give_up(one, outcome)
        return outcome

    def start_dag(self, one: TaskInstance) -> None:
        """Records that a DAG within the pipeline, or a loop, has started."""
        self._recorder.start(one)

    def finish_dag(self, one: TaskInstance, outcome: Outcome) -> None:
        """Records how a DAG within the pipeline, or a loop, ended."""
        self._recorder.finish(one, outcome)

    def cancel_dags(self) -> None:
        """Records that the DAGs within the pipeline that have not ended were stopped."""
        self._recorder.cancel_open()

    def placeholders(self, one: TaskInstance) -> dict[str, str]:
        """Returns the values of placeholders for the run and the task."""
        job, now = self._job, self._job.started.strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "pipeline_job_name": job.display_name,
            "pipeline_job_resource_name": job.run_id,
            "pipeline_job_uuid": job.run_id,
            "pipeline_job_create_time_utc": now,
            "pipeline_job_schedule_time_utc": now,
            "pipeline_root": str(job.folder),
            "pipeline_task_name": one.task.name,
            "pipeline_task_uuid": f"{job.run_id}/{one.result.path}",
            "workspace_path": str(job.folder / WORKSPACE),
        }

    def final_status(self, one: TaskInstance) -> dict[str, Any]:
        """Returns KFP's final status of a task, which an exit handler may take.

        It has the backend's values (COMPLETE, and no error), not those of the SDK's docstring.
        """
        states = {State.COMPLETE: "COMPLETE", State.CACHED: "COMPLETE", State.FAILED: "FAILED"}
        return {
            "state": states.get(one.result.state, "CANCELED"),
            "pipelineJobResourceName": self._job.run_id,
            "pipelineTaskName": one.task.name,
            "error": {},
        }

    def _attempts(self, attempt: Attempt, one: TaskInstance) -> Outputs:
        retry, begun = one.task.retry, time.monotonic()
        while True:
            self._check_contents(one, "before it started", code=True)
            number = one.result.attempts
            one.result.attempts += 1
            try:
                with (
                    self._observers.watcher.watching(one.result, attempt.progress_file),
                    self._observers.tracer.attempt(one.result) as env,
                ):
                    return attempt.run(self._backend, self.stop, env)
            except AttemptError as error:
                one.result.peak_memory = error.peak_memory
                if error.final or number >= retry.count or self.stop.asked:
                    raise
                seconds = retry.wait(number)
                if time.monotonic() - begun + seconds > retry.longest:
                    raise
                self._observers.retrying(one.result, str(error), seconds)
                if self.stop.wait(seconds):
                    raise

    def _stage(self, one: TaskInstance, ours: bool) -> Inputs:
        assert one.inputs is not None
        assert one.container is not None
        if not self._placement.is_staged(one.inputs, one.contents):
            return one.inputs
        command = (*one.container.command, *one.container.args)
        reads = functools.partial(placeholders.gives_path, command)
        with self._observers.tracer.staging(one.result, "in"):
            return self._placement.stage(one.inputs, one.contents, ours, reads)

    def _publish(self, one: TaskInstance, outputs: Outputs) -> dict[str, list[ArtifactRecord]]:
        if not self._placement.is_remote:
            made = [Artifact(one.uri).path for each in outputs.artifacts.values() for one in each]
            durable.flush(
                (path for path in made if path.is_relative_to(self._job.root)), self._job.root
            )
            return outputs.artifacts
        with self._observers.tracer.staging(one.result, "out"):
            return self._placement.publish(outputs.artifacts)

    def _take(self, one: TaskInstance, cached: CachedTask) -> Outcome | None:
        """Records an earlier result as this task's, unless it is being deleted."""
        artifacts = self._recorder.cached(one, cached)
        if artifacts is None:
            return None
        return Outcome(State.CACHED, artifacts, cached.parameters)

    def _identify(self, one: TaskInstance) -> None:
        """Computes the parts of a task's fingerprint, and the fingerprint."""
        component = one.task.component
        assert one.inputs is not None
        assert one.container is not None
        platform = self._pods.identity(one.container.settings)
        one.parts = cache.parts(
            component, one.container, one.code, one.inputs, one.contents, platform, self._key
        )
        key = one.task.cache_key if one.task.cache else ""
        one.fingerprint = cache.of_key(component.name, key) if key else cache.fingerprint(one.parts)

    def _contents(self, one: TaskInstance) -> external.Contents:
        assert one.inputs is not None
        assert one.container is not None
        return external.contents(
            external.of(one.task.component),
            one.inputs.parameters,
            self._digests,
            self._sources,
            self._backend.imports_here(one.container),
        )

    def _check_contents(self, one: TaskInstance, when: str, code: bool) -> None:
        """Checks that external inputs are still those that were fingerprinted.

        Raises:
            AttemptError: One has changed since.
        """
        assert one.inputs is not None
        parameters = one.inputs.parameters
        declared = external.of(one.task.component)
        changed = external.changed(declared, one.contents, self._contents(one), parameters, code)
        if changed:
            what = ", ".join(f"{name}={parameters[name]}" for name in changed)
            raise AttemptError(f"What it reads has changed {when}: {what}. Run again.", final=True)

    def _volume(self, one: TaskInstance, task: ir.VolumeTask) -> Outcome:
        """Makes or delete the volume of a claim."""
        assert one.inputs is not None
        if isinstance(self._recorder, DryRecorder):
            return Outcome(State.PLANNED, error="it makes or deletes a volume")
        given = one.inputs.parameters
        name = given.get("pvc_name") or f"{self._job.run_id}{given.get('pvc_name_suffix') or ''}"
        self._recorder.start(one)
        if task.deletes:
            self._volumes.delete(str(name))
            return self._recorder.finish(one, Outcome(State.COMPLETE))
        self._volumes.make(str(name))
        outputs = {output: str(name) for output in one.task.component.output_parameters}
        return self._recorder.finish(one, Outcome(State.COMPLETE, {}, outputs))

    def _import(self, one: TaskInstance, importer: ir.Importer) -> Outcome:
        """Records an artifact that exists already; one that is in the store keeps its id."""
        assert one.inputs is not None
        record = self._imported(one, importer, one.inputs.parameters)
        one.fingerprint = cache.of_import(record, self._key)
        if not importer.reimport:
            for known in self._recorder.find(one.fingerprint):
                for records in known.outputs.values():
                    record = records[0]
        port = next(iter(one.task.component.output_artifacts))
        self._recorder.start(one)
        return self._recorder.finish(one, Outcome(State.COMPLETE, {port: [record]}))

    def _imported(
        self, one: TaskInstance, importer: ir.Importer, parameters: Mapping[str, Any]
    ) -> ArtifactRecord:
        uri = importer.uri
        where = uri.value if isinstance(uri, ir.Constant) else parameters.get(uri.name)
        if not where:
            raise AttemptError("The address of what to import is empty.", final=True)
        where = str(where)
        message = {"inputs": {"parameterValues": dict(parameters)}, "outputs": {}}
        metadata = placeholders.fill_value(importer.metadata, message, self.placeholders(one))
        if "://" not in where or where.startswith("file://"):
            path = Artifact(where).path
            path = path if path.is_absolute() else self.folders[-1] / path
            if not path.exists():
                raise AttemptError(f"There is no {path} to import.", final=True)
            where = str(path)
            metadata |= self._digests.artifact(path)
        return ArtifactRecord(
            path_name(where), where, importer.schema_title, importer.schema_version, metadata
        )


def _has_volume(container: ir.Container) -> bool:
    return any(one.kind == CLAIM for one in container.settings.mounts)


def folder_of(run: Path, path: str) -> Path:
    """Returns the folder of a task instance; iterations are numbered, as `for-loop-1/0/task`."""
    return run / re.sub(r"\[(\d+)\]", r"/\1", path)


def path_of(run: Path, folder: Path) -> str:
    """Returns the path of the task instance whose folder this is."""
    return re.sub(r"/(\d+)(?=/|$)", r"[\1]", folder.relative_to(run).as_posix())


def reason(error: BaseException, root: Path) -> str:
    """Returns in one line why a task or run has failed."""
    line = str(error) if isinstance(error, MillraceError) else f"{type(error).__name__}: {error}"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        line = f"No space is left on the disk of {root}."
    return redact.message(line)


def path_name(uri: str) -> str:
    """Returns the last part of a URI, for people to recognise."""
    return uri.rstrip("/").rpartition("/")[2]


def containers(pipeline: ir.Pipeline) -> list[ir.Container]:
    """Returns the containers of a pipeline's tasks, in their order."""
    bodies = [task.component.body for _, task in pipeline.walk()]
    return [body for body in bodies if isinstance(body, ir.Container)]
