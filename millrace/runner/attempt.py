"""One attempt at a container task: its folder, its ExecutorInput, its run and its outputs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from millrace import progress, redact
from millrace.artifacts import Artifact
from millrace.backends.base import Backend, Ended, Stop, Work
from millrace.backends.log_reason import last_line, reason_in
from millrace.entrypoint import INTERNAL_ERROR, TERMINATION_LOG, USER_ERROR
from millrace.errors import DataError, ParameterError, StepError
from millrace.ir import placeholders, values
from millrace.ir import spec as ir
from millrace.ir.platform import SECRET
from millrace.lineage.nodes import ArtifactRecord
from millrace.runner import external
from millrace.runner.clean_log import clean_log
from millrace.runner.inputs import Inputs
from millrace.runner.pod import Pods
from millrace.storage import digest
from millrace.storage.digest_cache import stamp
from millrace.values import whole

LOG = "log.txt"
_ENDINGS = {"system.HTML": ".html", "system.Markdown": ".md"}
_NEEDED = 1 << 20  # bytes of disk
_SIGNALS = {number.value: number.name for number in signal.Signals}
_OWN = ".step"  # beside the outputs: the exchange between runner and step


class AttemptError(StepError):
    """An attempt that failed.

    Attributes:
        final: Whether a retry cannot help, because the mistake is the user's.
        peak_memory: The peak memory of the process, in bytes.
        exit_code: The exit code of its process, if it was started.
    """

    def __init__(
        self,
        message: str,
        final: bool = False,
        peak_memory: int = 0,
        exit_code: int | None = None,
    ) -> None:
        super().__init__(redact.message(message))
        self.final = final
        self.peak_memory = peak_memory
        self.exit_code = exit_code


@dataclasses.dataclass(frozen=True)
class Outputs:
    """The outputs of an attempt."""

    parameters: dict[str, Any]
    artifacts: dict[str, list[ArtifactRecord]]
    peak_memory: int


@dataclasses.dataclass(frozen=True)
class Attempt:
    """An attempt at a container task.

    Attributes:
        name: The path of the task instance.
        component: What it runs.
        container: Its container, with image and resources filled in.
        inputs: Its inputs.
        folder: Where its outputs go.
        context: What placeholders say about run and task.
        ours: Whether our entrypoint runs it: then exit code 1 is a user's mistake, and the
            digests that it reports can be trusted.
        pods: Makes what a cluster would put into its pod.
        shared: The workspace that it shares with the other tasks, if the pipeline has one.
    """

    name: str
    component: ir.Component
    container: ir.Container
    inputs: Inputs
    folder: Path
    context: Mapping[str, str]
    ours: bool
    pods: Pods
    shared: Path | None = None

    def run(self, backend: Backend, stop: Stop, env: Mapping[str, str]) -> Outputs:
        """Runs the container once, in a folder with nothing of an earlier attempt.

        Args:
            backend: Runs containers.
            stop: Asked when the run is stopped.
            env: What the container's environment is to have beside its own.

        Raises:
            AttemptError: It failed.
        """
        self._clean()
        declared = external.of(self.component)
        places = list(external.mounts(declared, self.inputs.parameters))
        artifacts = list(self._input_paths())
        before = {path: stamps(path) for path in artifacts}
        reads = [*artifacts, *(path for path, written in places if not written)]
        writes = [path for path, written in places if written]
        writes += filter(None, (self.shared,))
        ended = self._run(backend, stop, env, reads, writes)
        for path, was in before.items():
            if stamps(path) != was:
                raise AttemptError(
                    f"It changed its input {path}: a task may only read its inputs.",
                    final=True,
                    peak_memory=ended.peak_memory,
                )
        if ended.exit_code or ended.reason or stop.asked:
            raise self._failure(ended)
        outputs = self._collect(ended.peak_memory)
        shutil.rmtree(self._own())
        self._output_file.unlink(missing_ok=True)
        return outputs

    def _run(
        self,
        backend: Backend,
        stop: Stop,
        env: Mapping[str, str],
        reads: Sequence[Path],
        writes: Sequence[Path],
    ) -> Ended:
        """Runs the container with what a cluster would put into its pod."""
        container = self.container
        own = {
            TERMINATION_LOG: str(self._own("termination")),
            progress.VARIABLE: str(self.progress_file),
        }
        try:
            with (
                self.pods.provide(container.settings, self.name) as pod,
                self._log() as log,
            ):
                work = Work(
                    name=self.name,
                    container=container,
                    command=self.command(),
                    env={**env, **container.env, **pod.env, **own},
                    folder=self.folder,
                    log=log,
                    reads=reads,
                    writes=writes,
                    stop=stop,
                    secret_env=pod.secret_env,
                    mounts=pod.mounts,
                )
                return backend.run(work)
        except ParameterError as error:
            raise AttemptError(str(error), final=True) from None

    def _log(self) -> contextlib.AbstractContextManager[Path]:
        """Yields the file that takes the container's output."""
        log = self.folder / LOG
        has_secrets = any(one.kind == SECRET for one in self.container.settings.sources)
        return clean_log(log) if has_secrets else contextlib.nullcontext(log)

    def command(self) -> list[str]:
        """Returns the command with its placeholders filled in."""
        parts = (*self.container.command, *self.container.args)
        message = self.executor_input()
        return placeholders.command(
            parts, message, self.context, self.inputs.given | self.inputs.artifacts.keys()
        )

    def executor_input(self) -> dict[str, Any]:
        """Returns KFP's ExecutorInput message."""
        component, inputs = self.component, self.inputs
        return {
            "inputs": {
                "parameterValues": whole(dict(inputs.parameters)),
                "artifacts": {
                    name: {"artifacts": [self._message(record) for record in records]}
                    for name, records in inputs.artifacts.items()
                },
            },
            "outputs": {
                "parameters": {
                    name: {"outputFile": str(self._own("parameters", name))}
                    for name in component.output_parameters
                },
                "artifacts": {
                    name: {
                        "artifacts": [
                            {
                                "name": name,
                                "uri": str(self._output(port)),
                                "metadata": {},
                                "type": _type(port.schema_title, port.schema_version),
                            }
                        ]
                    }
                    for name, port in component.output_artifacts.items()
                },
                "outputFile": str(self._output_file),
            },
        }

    @property
    def progress_file(self) -> Path:
        """Where the step may report how far it is."""
        return self._own("progress.json")

    @property
    def _output_file(self) -> Path:
        """The path of the ExecutorOutput; KFP's `dsl.get_uri()` names paths beside it."""
        return self.folder / "executor_output.json"

    def _input_paths(self) -> Iterator[Path]:
        for records in self.inputs.artifacts.values():
            for record in records:
                yield Artifact(record.uri).path

    def _message(self, record: ArtifactRecord) -> dict[str, Any]:
        metadata = record.metadata
        if not self.ours:  # not the component's own
            metadata = {key: value for key, value in metadata.items() if key not in digest.METADATA}
        return {
            "name": record.name,
            "uri": record.uri,
            "metadata": metadata,
            "type": _type(record.schema_title, record.schema_version),
        }

    def _output(self, port: ir.ArtifactPort) -> Path:
        """Returns the path of an output; browsers recognise a page only by its suffix."""
        return self.folder / (port.name + _ENDINGS.get(port.schema_title, ""))

    def _own(self, *parts: str) -> Path:
        return self.folder.joinpath(_OWN, *parts)

    def _clean(self) -> None:
        """Removes what an earlier attempt left, except its log."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.iterdir():
            if path.name != LOG:
                _remove(path)
        self._own("parameters").mkdir(parents=True)

    def _failure(self, ended: Ended) -> AttemptError:
        if shutil.disk_usage(self.folder).free < _NEEDED:
            self._clean()  # the store must be able to record the failure
            return AttemptError(f"No space is left on the disk of {self.folder}.", final=True)
        message = ended.reason
        if ended.is_told_by_log:
            message += f": {last_line(self.folder / LOG)}"
        written = self._own("termination")
        if not message and written.is_file():
            message = written.read_text(encoding="utf-8", errors="replace").strip()
        if not message:
            message = _of_exit_code(ended.exit_code, self.folder / LOG)
            for why in self.inputs.unread:
                message += f". Its input cannot be read here: {why}"
        final = self.ours and ended.exit_code == USER_ERROR and not ended.reason
        return AttemptError(message, final, ended.peak_memory, ended.exit_code)

    def _collect(self, peak_memory: int) -> Outputs:
        path = self._output_file
        if self.ours and not path.exists():
            raise AttemptError(
                "its code ended the process, with exit code 0, before the step was done",
                peak_memory=peak_memory,
            )
        try:
            output = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            said = output.get("artifacts", {})
            return Outputs(
                self._parameters(output.get("parameterValues", {})),
                {
                    name: self._artifacts(port, (said.get(name) or {}).get("artifacts") or [{}])
                    for name, port in self.component.output_artifacts.items()
                },
                peak_memory,
            )
        except (ValueError, AttributeError, TypeError) as error:
            raise AttemptError(f"its output is not KFP's ExecutorOutput: {error}") from error

    def _parameters(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the output parameters: what the ExecutorOutput says wins over the files."""
        found: dict[str, Any] = {}
        for name, parameter in self.component.output_parameters.items():
            file = self._own("parameters", name)
            if name in said:
                found[name] = values.whole_within(values.typed(parameter, said[name]))
            elif file.is_file():
                found[name] = values.parsed(parameter, file.read_text(encoding="utf-8"))
            elif not parameter.optional:
                raise AttemptError(f'it did not write its output parameter "{name}"')
        return found

    def _artifacts(self, port: ir.ArtifactPort, said: list[dict[str, Any]]) -> list[ArtifactRecord]:
        said = said if port.is_list else said[:1]
        return [self._artifact(port, one) for one in said]

    def _artifact(self, port: ir.ArtifactPort, said: dict[str, Any]) -> ArtifactRecord:
        uri = said.get("uri") or str(self._output(port))
        path = Artifact(uri).path
        custom = said.get("customPath") or said.get("custom_path")
        if custom and Path(custom) != path and Path(custom).exists():
            _remove(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(custom, path)
        metadata = dict(said.get("metadata") or {})
        if not self.ours:  # others may mean anything by it
            metadata = {key: value for key, value in metadata.items() if key not in digest.METADATA}
            if "://" not in uri and path.exists():
                metadata |= digest.of(path).metadata()
        return ArtifactRecord(port.name, uri, port.schema_title, port.schema_version, metadata)


def stamps(path: Path) -> Any:
    """Returns a value that changes when a file, or one in a folder, is written; None if gone."""
    try:
        if not path.is_dir():
            return stamp(path.stat())
        return {found: stamp(found.stat()) for found in digest.files(path)}
    except (OSError, DataError):
        return None


def _type(title: str, version: str) -> dict[str, str]:
    return {"schemaTitle": title, "schemaVersion": version}


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _of_exit_code(code: int, log: Path) -> str:
    if code - 128 in _SIGNALS:  # a shell's way to report that a signal ended its command
        code = 128 - code
    if code == -signal.SIGKILL:
        return "it was killed (SIGKILL), as the system does when memory runs out"
    if -code in _SIGNALS:
        return f"it was ended by {_SIGNALS[-code]}"
    if code < 0:  # not a signal: a container may exit with 255, for example, by itself
        code = 128 - code
    why = reason_in(log) if log.is_file() else ""
    last = f": {why}" if why else ""
    kind = " (an error of its own)" if code == INTERNAL_ERROR else ""
    return f"it ended with exit code {code}{kind}{last}"
