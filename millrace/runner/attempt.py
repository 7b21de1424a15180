"""One attempt at a container task: its folder, its ExecutorInput, its run, and what it made."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millrace.artifacts import Artifact
from millrace.backends.base import Backend, Ended, Stop, Work
from millrace.entrypoint import INTERNAL_ERROR, TERMINATION_LOG, USER_ERROR
from millrace.errors import StepError
from millrace.ir import placeholders
from millrace.ir import spec as ir
from millrace.lineage import redact
from millrace.lineage.nodes import ArtifactRecord
from millrace.runner import external
from millrace.runner.inputs import Inputs, read_text, typed
from millrace.storage import digest

LOG = "log.txt"
_ENDINGS = {"system.HTML": ".html", "system.Markdown": ".md"}
_NEEDED = 1 << 20  # bytes of disk
_SIGNALS = {number.value: number.name for number in signal.Signals}
# Beside the outputs: dsl.get_uri() gives what lies beside it.
_EXECUTOR_OUTPUT = "executor_output.json"
_OWN = ".step"  # beside the outputs: what is between runner and step only


class AttemptError(StepError):
    """An attempt that failed.

    Attributes:
        final: Whether trying again cannot help: the mistake is the user's.
        peak_memory: The most bytes the process held.
    """

    def __init__(self, message: str, final: bool = False, peak_memory: int = 0) -> None:
        super().__init__(redact.message(message))
        self.final = final
        self.peak_memory = peak_memory


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What an attempt made."""

    parameters: dict[str, Any]
    artifacts: dict[str, ArtifactRecord]
    peak_memory: int


@dataclasses.dataclass(frozen=True)
class Attempt:
    """An attempt at a container task.

    Attributes:
        name: The task's path in the pipeline.
        component: What it runs.
        inputs: What it is given.
        folder: Where its outputs go.
        facts: What placeholders say about run and task.
        ours: Whether our entrypoint runs it: then exit code 1 is a user's mistake, and what it
            says of the content of its outputs is so.
    """

    name: str
    component: ir.Component
    inputs: Inputs
    folder: Path
    facts: Mapping[str, str]
    ours: bool

    def run(self, backend: Backend, stop: Stop) -> Outputs:
        """Runs the container once, in a folder with nothing of an earlier attempt.

        Raises:
            AttemptError: It failed.
        """
        container = self.component.body
        assert isinstance(container, ir.Container)
        self._clean()
        message = self.executor_input()
        line = placeholders.command((*container.command, *container.args), message, self.facts)
        places = list(external.mounts(self.inputs.parameters))
        artifacts = [Artifact(record.uri).path for record in self.inputs.artifacts.values()]
        ended = backend.run(
            Work(
                name=self.name,
                container=container,
                command=line,
                env={**container.env, TERMINATION_LOG: str(self._own("termination"))},
                folder=self.folder,
                log=self.folder / LOG,
                reads=[*artifacts, *(path for path, written in places if not written)],
                writes=[path for path, written in places if written],
                stop=stop,
            )
        )
        if ended.exit_code or ended.reason or stop.asked:
            raise self._failure(ended)
        outputs = self._collect(ended.peak_memory)
        shutil.rmtree(self._own())
        _remove(self.folder / _EXECUTOR_OUTPUT)
        return outputs

    def executor_input(self) -> dict[str, Any]:
        """Returns KFP's ExecutorInput message."""
        component, inputs = self.component, self.inputs
        return {
            "inputs": {
                "parameterValues": dict(inputs.parameters),
                "artifacts": {
                    name: {"artifacts": [_message(record)]}
                    for name, record in inputs.artifacts.items()
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
                "outputFile": str(self.folder / _EXECUTOR_OUTPUT),
            },
        }

    def _output(self, port: ir.ArtifactPort) -> Path:
        """Returns where an output lies: browsers know a page by the ending of its name only."""
        return self.folder / (port.name + _ENDINGS.get(port.schema_title, ""))

    def _own(self, *parts: str) -> Path:
        return self.folder.joinpath(_OWN, *parts)

    def _clean(self) -> None:
        """Removes what an earlier attempt left, except its log."""
        for port in self.component.output_artifacts.values():
            _remove(self._output(port))
        _remove(self._own())
        _remove(self.folder / _EXECUTOR_OUTPUT)
        self._own("parameters").mkdir(parents=True)

    def _failure(self, ended: Ended) -> AttemptError:
        if shutil.disk_usage(self.folder).free < _NEEDED:
            self._clean()  # the store must be able to record the failure
            return AttemptError(f"No space is left on the disk of {self.folder}.", final=True)
        message = ended.reason
        written = self._own("termination")
        if not message and written.is_file():
            message = written.read_text(encoding="utf-8", errors="replace").strip()
        if not message:
            message = _of_exit_code(ended.exit_code, self.folder / LOG)
        final = self.ours and ended.exit_code == USER_ERROR and not ended.reason
        return AttemptError(message, final, ended.peak_memory)

    def _collect(self, peak_memory: int) -> Outputs:
        path = self.folder / _EXECUTOR_OUTPUT
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
                    name: self._artifact(port, (said.get(name) or {}).get("artifacts") or [{}])
                    for name, port in self.component.output_artifacts.items()
                },
                peak_memory,
            )
        except (ValueError, AttributeError, TypeError) as error:
            raise AttemptError(f"its output is not KFP's ExecutorOutput: {error}") from error

    def _parameters(self, said: Mapping[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, parameter in self.component.output_parameters.items():
            file = self._own("parameters", name)
            if file.is_file():
                values[name] = read_text(parameter, file.read_text(encoding="utf-8"))
            elif name in said:
                values[name] = typed(parameter, said[name])
            elif not parameter.optional:
                raise AttemptError(f'it did not write its output parameter "{name}"')
        return values

    def _artifact(self, port: ir.ArtifactPort, said: list[dict[str, Any]]) -> ArtifactRecord:
        uri = said[0].get("uri") or str(self._output(port))
        metadata = dict(said[0].get("metadata") or {})
        if not self.ours:  # our entrypoint has computed the digest; others may mean anything by it
            metadata = {key: value for key, value in metadata.items() if key not in digest.METADATA}
            path = Artifact(uri).path
            if "://" not in uri and path.exists():
                metadata |= digest.of(path).metadata()
        return ArtifactRecord(port.name, uri, port.schema_title, port.schema_version, metadata)


def _message(record: ArtifactRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "uri": record.uri,
        "metadata": record.metadata,
        "type": _type(record.schema_title, record.schema_version),
    }


def _type(title: str, version: str) -> dict[str, str]:
    return {"schemaTitle": title, "schemaVersion": version}


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _of_exit_code(code: int, log: Path) -> str:
    if code == -signal.SIGKILL:
        return "it was killed, as the system does when memory runs out"
    if -code in _SIGNALS:
        return f"it was ended by {_SIGNALS[-code]}"
    if code < 0:  # no signal: a container has ended with 255, say, of its own will
        code = 128 - code
    last = ""
    if log.is_file():
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = f": {lines[-1].strip()}" if lines else ""
    kind = " (an error of its own)" if code == INTERNAL_ERROR else ""
    return f"it ended with exit code {code}{kind}{last}"
