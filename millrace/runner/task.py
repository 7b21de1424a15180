"""Does what a task is about: takes a result from the cache, imports, or runs a container."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millrace import redact
from millrace.artifacts import Artifact
from millrace.backends.base import Backend, Stop
from millrace.backends.process import step_of
from millrace.backends.sources import Sources
from millrace.errors import MillraceError
from millrace.ir import placeholders
from millrace.ir import spec as ir
from millrace.lineage.nodes import ArtifactRecord, CachedTask
from millrace.runner import cache, external
from millrace.runner.attempt import LOG, Attempt, AttemptError, Outputs
from millrace.runner.graph import Node, Outcome, Scope
from millrace.runner.result import State, TaskResult
from millrace.storage.digest_cache import DigestCache

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
        folders: Where relative paths are looked for: beside the pipeline, then with the caller.
    """

    run_id: str
    display_name: str
    folder: Path
    root: Path
    started: datetime
    caching: bool
    folders: tuple[Path, ...]


class TaskRunner:
    """Does what tasks are about, each in the thread that calls; records it in the lineage store."""

    def __init__(
        self,
        pipeline: ir.Pipeline,
        job: Job,
        backend: Backend,
        recorder: Recorder,
        memo: DigestCache,
        sources: Sources,
        retrying: Callable[[TaskResult, str, float], None],
    ) -> None:
        self.stop = Stop()
        self.folders = job.folders
        self._pipeline = pipeline
        self._job = job
        self._backend = backend
        self._recorder = recorder
        self._memo = memo
        self._sources = sources
        self._retrying = retrying
        self._prepared = threading.Lock()

    def look_up(self, node: Node) -> Outcome | None:
        """Returns what a task came to if it need not run; None if it must."""
        body = node.task.component.body
        if isinstance(body, ir.Importer):
            return self._import(node, body)
        assert isinstance(body, ir.Container)
        assert node.inputs is not None
        node.code = self._backend.code(body)
        node.contents = self._contents(node)
        node.read = external.datasets(node.contents)
        if node.task.cache:
            node.fingerprint = self._fingerprint(node)
        if self._job.caching and node.fingerprint:
            cached = self._recorder.find(node.fingerprint)
            if cached is not None and cache.is_whole(cached, self._memo):
                return self._take(node, cached)
        self.prepare()
        return None

    def prepare(self) -> None:
        """Warms up for the tasks, once: when one must run, those after it will as well."""
        if self._prepared.acquire(blocking=False):
            self._backend.prepare(containers(self._pipeline))

    def run(self, node: Node) -> Outcome:
        """Runs a container, again if it fails and may be tried again."""
        assert node.inputs is not None
        body = node.task.component.body
        assert isinstance(body, ir.Container)
        attempt = Attempt(
            node.result.path,
            node.task.component,
            node.inputs,
            self._job.folder / node.result.path,
            self.facts(node),
            step_of(body) is not None,
        )
        node.result.log = attempt.folder / LOG
        execution = self._recorder.start(node)
        try:
            outputs = self._attempts(attempt, node)
            node.result.peak_memory = outputs.peak_memory
            self._check_contents(node, "while it ran", code=False)  # that may be edited meanwhile
        except AttemptError as error:
            failed = Outcome(State.FAILED, error=str(error))
            outcome = Outcome(State.CANCELED) if self.stop.asked else failed
            return self._recorder.finish(execution, node, outcome)
        made = Outcome(State.COMPLETE, outputs.artifacts, outputs.parameters)
        return self._recorder.finish(execution, node, made)

    def broken(self, node: Node, error: BaseException) -> Outcome:
        """Records a task that cannot be started, or that a full disk or a lost store has ended."""
        outcome = Outcome(State.FAILED, error=reason(error, self._job.root))
        with contextlib.suppress(Exception):  # it may be what cannot be recorded
            self._recorder.give_up(node, outcome)
        return outcome

    def start_dag(self, node: Node) -> int:
        """Records that a DAG within the pipeline has started, and returns its execution."""
        return self._recorder.start(node)

    def finish_dag(self, scope: Scope, outcome: Outcome) -> None:
        """Records how a DAG within the pipeline ended."""
        assert scope.owner is not None
        assert scope.execution is not None
        self._recorder.finish(scope.execution, scope.owner, outcome)

    def cancel_dags(self) -> None:
        """Records that the DAGs within the pipeline that have not ended were stopped."""
        self._recorder.cancel_open()

    def facts(self, node: Node) -> dict[str, str]:
        """Returns what placeholders say about run and task."""
        job, now = self._job, self._job.started.strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "pipeline_job_name": job.display_name,
            "pipeline_job_resource_name": job.run_id,
            "pipeline_job_uuid": job.run_id,
            "pipeline_job_create_time_utc": now,
            "pipeline_job_schedule_time_utc": now,
            "pipeline_root": str(job.folder),
            "pipeline_task_name": node.task.name,
            "pipeline_task_uuid": f"{job.run_id}/{node.result.path}",
        }

    def final_status(self, result: TaskResult) -> dict[str, Any]:
        """Returns KFP's message of how a task ended, which an exit handler may ask for."""
        states = {State.COMPLETE: "SUCCEEDED", State.CACHED: "SUCCEEDED", State.FAILED: "FAILED"}
        return {
            "state": states.get(result.state, "CANCELLED"),
            "pipelineJobResourceName": self._job.run_id,
            "pipelineTaskName": result.path,
            "error": {"message": result.error} if result.error else {},
        }

    def _attempts(self, attempt: Attempt, node: Node) -> Outputs:
        retry = node.task.retry
        while True:
            self._check_contents(node, "before it began", code=True)
            number = node.result.attempts
            node.result.attempts += 1
            try:
                return attempt.run(self._backend, self.stop)
            except AttemptError as error:
                node.result.peak_memory = error.peak_memory
                if error.final or number >= retry.count or self.stop.asked:
                    raise
                seconds = retry.wait(number)
                self._retrying(node.result, str(error), seconds)
                if self.stop.wait(seconds):
                    raise

    def _take(self, node: Node, cached: CachedTask) -> Outcome:
        artifacts = {name: records[0] for name, records in cached.outputs.items()}
        outcome = Outcome(State.CACHED, artifacts, cached.parameters)
        self._recorder.cached(node, cached)
        return outcome

    def _fingerprint(self, node: Node) -> str:
        if node.task.cache_key:
            return cache.of_key(node.task.cache_key)
        assert node.inputs is not None
        return cache.fingerprint(
            node.task.component,
            node.code,
            node.inputs.parameters,
            node.contents,
            node.inputs.artifacts,
        )

    def _contents(self, node: Node) -> external.Contents:
        body = node.task.component.body
        assert node.inputs is not None
        assert isinstance(body, ir.Container)
        return external.contents(
            node.inputs.parameters, self._memo, self._sources, self._backend.imports_here(body)
        )

    def _check_contents(self, node: Node, when: str, code: bool) -> None:
        """Checks that what a step reads is what the cache and the record take it for.

        Raises:
            AttemptError: It was changed after it had been looked at.
        """
        assert node.inputs is not None
        parameters = node.inputs.parameters
        changed = external.changed(node.contents, self._contents(node), parameters, code)
        if changed:
            what = ", ".join(f"{name}={parameters[name]}" for name in changed)
            raise AttemptError(f"What it reads has changed {when}: {what}. Run again.", final=True)

    def _import(self, node: Node, importer: ir.Importer) -> Outcome:
        """Records an artifact that exists already; one that is known from before keeps its id."""
        assert node.inputs is not None
        record = self._imported(node, importer, node.inputs.parameters)
        node.fingerprint = cache.of_import(record)
        known = None if importer.reimport else self._recorder.find(node.fingerprint)
        if known is not None and known.outputs:
            record = next(iter(known.outputs.values()))[0]
        port = next(iter(node.task.component.output_artifacts))
        execution = self._recorder.start(node)
        return self._recorder.finish(execution, node, Outcome(State.COMPLETE, {port: record}))

    def _imported(
        self, node: Node, importer: ir.Importer, parameters: Mapping[str, Any]
    ) -> ArtifactRecord:
        uri = importer.uri
        where = str(uri.value if isinstance(uri, ir.Constant) else parameters[uri.name])
        message = {"inputs": {"parameterValues": dict(parameters)}, "outputs": {}}
        metadata = placeholders.fill_value(importer.metadata, message, self.facts(node))
        if "://" not in where or where.startswith("file://"):
            path = Artifact(where).path
            path = path if path.is_absolute() else self.folders[-1] / path
            if not path.exists():
                raise AttemptError(f"There is no {path} to import.", final=True)
            where = str(path)
            metadata |= self._memo.artifact(path)
        return ArtifactRecord(
            path_name(where), where, importer.schema_title, importer.schema_version, metadata
        )


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
