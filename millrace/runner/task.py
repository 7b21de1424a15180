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
from millrace.runner import cache, external
from millrace.runner.attempt import LOG, Attempt, AttemptError, Outputs
from millrace.runner.dry import DryRecorder
from millrace.runner.graph import Outcome, TaskInstance
from millrace.runner.placement import Placement
from millrace.runner.pod import Pods
from millrace.runner.result import State, TaskResult
from millrace.runner.selection import Selection
from millrace.runner.volumes import Volumes
from millrace.storage.digest_cache import DigestCache

WORKSPACE = "workspace"

if TYPE_CHECKING:  # it imports ml_metadata, which the runner does beside other things
    from millrace.runner.recorder import Recorder


@dataclasses.dataclass(frozen=True)
class Job:
    """What all tasks of a run share.

    Attributes:
        run_id: The run's id.
        display_name: What people call the run.
        folder: Where the run's outputs go.
        root: The folder with the runs of all pipelines.
        started: When the run started.
        caching: Whether earlier results may be taken.
        selection: Which tasks are asked for.
        folders: Where relative paths are looked for: beside the pipeline, then with the caller.
    """

    run_id: str
    display_name: str
    folder: Path
    root: Path
    started: datetime
    caching: bool
    selection: Selection
    folders: tuple[Path, ...]


class TaskRunner:
    """Looks tasks up, runs and records them, each in the thread that calls."""

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
        retrying: Callable[[TaskResult, str, float], None],
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
        self._retrying = retrying
        self._prepared = threading.Lock()

    def look_up(self, one: TaskInstance) -> Outcome | None:
        """Return what a task came to if it need not run; None if it must."""
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
                    if made is not None:
                        return self._take(one, made)
        if isinstance(self._recorder, DryRecorder):
            return Outcome(State.PLANNED, error=self._why(one, self._recorder, is_forced))
        self.prepare()
        return None

    def _why(self, one: TaskInstance, recorder: DryRecorder, is_forced: bool) -> str:
        """Return why a task would run."""
        if is_forced:
            return f"asked for: {self._job.selection.why}"
        if not self._job.caching or not one.task.cache:
            return "caching is off"
        if one.container is not None and _has_volume(one.container):
            return "it has a volume, whose content is not known"
        return recorder.why_not(one)

    def _whole(self, cached: CachedTask) -> CachedTask | None:
        """Return a result if it can be used: all of it is still as it was recorded."""
        return cache.whole_result(cached, self._job.root, self._digests)

    def prepare(self) -> None:
        """Warm up for the tasks, once: when one must run, those after it will as well."""
        if self._prepared.acquire(blocking=False):
            self._backend.prepare(containers(self._pipeline))

    def run(self, one: TaskInstance) -> Outcome:
        """Run a container, again if it fails and may be tried again."""
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
                self._placement.stage(
                    one.inputs,
                    one.contents,
                    ours,
                    functools.partial(
                        placeholders.gives_path, (*one.container.command, *one.container.args)
                    ),
                ),
                folder,
                self.placeholders(one),
                ours,
                self._pods,
                self._job.folder / WORKSPACE if self._pipeline.uses_workspace else None,
            )
            outputs = self._attempts(attempt, one)
            one.result.peak_memory = outputs.peak_memory
            self._check_contents(one, "while it ran", code=False)  # that may be edited meanwhile
            artifacts = self._placement.publish(outputs.artifacts)
        except (AttemptError, StorageError) as error:
            failed = Outcome(State.FAILED, error=str(error))
            outcome = Outcome(State.CANCELED) if self.stop.asked else failed
            return self._recorder.finish(one, outcome)
        return self._recorder.finish(one, Outcome(State.COMPLETE, artifacts, outputs.parameters))

    def broken(self, one: TaskInstance, error: BaseException) -> Outcome:
        """Record a task that cannot be started, or that a full disk or a lost store has ended."""
        outcome = Outcome(State.FAILED, error=reason(error, self._job.root))
        with contextlib.suppress(Exception):  # it may be what cannot be recorded
            self._recorder.give_up(one, outcome)
        return outcome

    def start_dag(self, one: TaskInstance) -> None:
        """Record that a DAG within the pipeline, or a loop, has started."""
        self._recorder.start(one)

    def finish_dag(self, one: TaskInstance, outcome: Outcome) -> None:
        """Record how a DAG within the pipeline, or a loop, ended."""
        self._recorder.finish(one, outcome)

    def cancel_dags(self) -> None:
        """Record that the DAGs within the pipeline that have not ended were stopped."""
        self._recorder.cancel_open()

    def placeholders(self, one: TaskInstance) -> dict[str, str]:
        """Return what placeholders say about run and task."""
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
        """Return KFP's message of how a task ended, which an exit handler may ask for.

        It says what the backend says (COMPLETE, and no error), not what the SDK's docstring says.
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
            self._check_contents(one, "before it began", code=True)
            number = one.result.attempts
            one.result.attempts += 1
            try:
                return attempt.run(self._backend, self.stop)
            except AttemptError as error:
                one.result.peak_memory = error.peak_memory
                if error.final or number >= retry.count or self.stop.asked:
                    raise
                seconds = retry.wait(number)
                if time.monotonic() - begun + seconds > retry.longest:
                    raise
                self._retrying(one.result, str(error), seconds)
                if self.stop.wait(seconds):
                    raise

    def _take(self, one: TaskInstance, cached: CachedTask) -> Outcome:
        artifacts = self._recorder.cached(one, cached)
        return Outcome(State.CACHED, artifacts, cached.parameters)

    def _identify(self, one: TaskInstance) -> None:
        """Find what the result of a task follows from, and so what it is known by."""
        component = one.task.component
        assert one.inputs is not None
        assert one.container is not None
        platform = self._pods.identity(one.container.settings)
        one.parts = cache.parts(
            component, one.container, one.code, one.inputs, one.contents, platform
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
        """Check that what a step reads is what the cache and the record take it for.

        Raises:
            AttemptError: It was changed after it had been looked at.
        """
        assert one.inputs is not None
        parameters = one.inputs.parameters
        declared = external.of(one.task.component)
        changed = external.changed(declared, one.contents, self._contents(one), parameters, code)
        if changed:
            what = ", ".join(f"{name}={parameters[name]}" for name in changed)
            raise AttemptError(f"What it reads has changed {when}: {what}. Run again.", final=True)

    def _volume(self, one: TaskInstance, task: ir.VolumeTask) -> Outcome:
        """Make or delete the volume of a claim."""
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
        """Record an artifact that exists already; one that is known from before keeps its id."""
        assert one.inputs is not None
        record = self._imported(one, importer, one.inputs.parameters)
        one.fingerprint = cache.of_import(record)
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
    """Return the folder of a task instance: an iteration's is its index, as `for-loop-1/0/task`."""
    return run / re.sub(r"\[(\d+)\]", r"/\1", path)


def path_of(run: Path, folder: Path) -> str:
    """Return the path of the task instance whose folder this is."""
    return re.sub(r"/(\d+)(?=/|$)", r"[\1]", folder.relative_to(run).as_posix())


def reason(error: BaseException, root: Path) -> str:
    """Returns in one line why a task or run in a folder has ended."""
    line = str(error) if isinstance(error, MillraceError) else f"{type(error).__name__}: {error}"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        line = f"No space is left on the disk of {root}."
    return redact.message(line)


def path_name(uri: str) -> str:
    """Returns the last part of a URI, by which people know what lies there."""
    return uri.rstrip("/").rpartition("/")[2]


def containers(pipeline: ir.Pipeline) -> list[ir.Container]:
    """Returns the containers of a pipeline's tasks, in their order."""
    bodies = [task.component.body for _, task in pipeline.walk()]
    return [body for body in bodies if isinstance(body, ir.Container)]
