"""Runs one step: binds KFP's `executor_input` to the executor's `run`, and writes its outputs.

    python -m millrace.entrypoint example_gen --executor_input '{"inputs": {…}, "outputs": {…}}'

The JSON is KFP's ExecutorInput message, see
https://github.com/kubeflow/pipelines/blob/master/api/v2alpha1/pipeline_spec.proto. A user's mistake
ends the step with one line and exit code 1; a mistake of ours with a traceback and exit code 70.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import inspect
import json
import logging
import os
import sys
import traceback
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from millrace import artifacts, modules, redact
from millrace.errors import DataError, MillraceError, ModuleError, ParameterError, nearest
from millrace.ir import declared
from millrace.storage import digest
from millrace.values import whole

USER_ERROR, INTERNAL_ERROR = 1, 70
# Kubernetes shows the content of this file as the reason why a container ended; our runner names
# another file.
TERMINATION_LOG = "MILLRACE_TERMINATION_LOG"
_KUBERNETES_TERMINATION_LOG = "/dev/termination-log"
# KFP passes the inputs of an f-string along with the resulting parameter.
_PIPELINE_CHANNEL = "pipelinechannel--"
# The extra that installs each optional library.
_EXTRAS = {
    "ai_edge_litert": "train",
    "ai_edge_quantizer": "train",
    "apache_beam": "data",
    "dill": "data",
    "tensorflow": "train",
    "tensorflow_data_validation": "data",
    "tensorflow_metadata": "data",
    "tensorflow_transform": "data",
    "tf_keras": "train",
    "tfx_bsl": "data",
}

logger = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> int:
    """Runs the step that `argv` names and returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    logging.basicConfig(
        level=os.environ.get("MILLRACE_LOG_LEVEL", "INFO"),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
        force=True,
    )
    try:
        arguments = _Parser().parse_args(argv)
        execute(arguments.step, json.loads(arguments.executor_input))
    except (Exception, SystemExit) as error:
        explained = error if isinstance(error, MillraceError) else _explain(error)
        if explained is None:
            _report(f"{type(error).__name__}: {error}", traceback.format_exc())
            return INTERNAL_ERROR
        logger.debug("where it was raised", exc_info=True)
        _report(str(explained))
        return USER_ERROR
    return 0


class _Parser(argparse.ArgumentParser):
    """Parses the arguments of a step's container; declarations are for the runner."""

    def __init__(self) -> None:
        usage = "python -m millrace.entrypoint STEP --executor_input JSON"
        super().__init__(usage=usage, add_help=False, allow_abbrev=False)
        self.add_argument("step")
        self.add_argument("--executor_input", required=True)
        for flag in (declared.READS, declared.MODULES, declared.WRITES, declared.CACHE):
            self.add_argument(flag, nargs="+")

    def error(self, message: str) -> NoReturn:
        """Prints the usage, and raises an error that ends the step with one line."""
        sys.stderr.write(f"usage: {self.usage}\n")
        raise ParameterError(f"{message[:1].upper()}{message[1:]}.")


def _explain(error: BaseException) -> MillraceError | None:
    """Returns the user's error for an error of another library, or None."""
    if isinstance(error, SystemExit):
        last = traceback.extract_tb(error.__traceback__)[-1]
        return ModuleError(
            f"sys.exit({error.code!r}) in {last.filename}, line {last.lineno}: a step returns when"
            " it is done, and raises an error when it cannot go on."
        )
    if isinstance(error, ModuleNotFoundError):
        library = (error.name or "").partition(".")[0]
        if extra := _EXTRAS.get(library):
            return ModuleError(f"{library} is not installed: pip install 'millrace[{extra}]'.")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" at {error.filename}" if error.filename else ""
        return DataError(f"No space is left on the disk{where}.")
    return None


def execute(step: str, executor_input: dict[str, Any]) -> None:
    """Runs a step with an ExecutorInput and writes its ExecutorOutput."""
    run = load_executor(step)
    arguments = bind(run, executor_input)
    outputs = {
        name: value
        for name, value in arguments.items()
        if name in executor_input.get("outputs", {}).get("artifacts", {})
    }
    for artifact in outputs.values():
        artifact.path.parent.mkdir(parents=True, exist_ok=True)
    returned = run(**arguments)
    _write(executor_input, outputs, dict(returned or {}))


def load_executor(step: str) -> Callable[..., dict[str, Any] | None]:
    """Imports the executor of a step and returns its `run`.

    Raises:
        ModuleError: There is no such step, or a user's module cannot be imported.
    """
    if "." in step or "/" in step:
        return modules.function(step, "run")
    name = f"millrace.components.{step}.executor"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            raise ModuleError(f'There is no step "{step}". `millrace steps` lists them.') from None
        raise
    run: Callable[..., dict[str, Any] | None] = module.run
    return run


def bind(run: Callable[..., Any], executor_input: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments in an ExecutorInput; omitted ones keep their defaults."""
    inputs, outputs = executor_input.get("inputs", {}), executor_input.get("outputs", {})
    parameters: dict[str, Any] = inputs.get("parameterValues", {})
    redact.learn(parameters)
    given = {**inputs.get("artifacts", {}), **outputs.get("artifacts", {})}
    hints = typing.get_type_hints(run)
    arguments: dict[str, Any] = {}
    for name, parameter in inspect.signature(run).parameters.items():
        if name in parameters:
            arguments[name] = coerce(name, parameters[name], hints.get(name, str))
        elif name in given and given[name].get("artifacts"):
            listed = [_artifact(one) for one in given[name]["artifacts"]]
            is_list = typing.get_origin(hints.get(name)) is list
            arguments[name] = listed if is_list else listed[0]
        elif parameter.default is inspect.Parameter.empty:
            raise ParameterError(f'The step needs "{name}", and it was not given.')
    for name in parameters:
        if name not in arguments and not name.startswith(_PIPELINE_CHANNEL):
            raise ParameterError(f'The step has no parameter "{name}".{nearest(name, hints)}')
    return arguments


def coerce(name: str, value: Any, hint: Any) -> Any:
    """Returns a JSON value as the type that `run` declares, as protobuf makes all numbers floats.

    Raises:
        ParameterError: The value is not of that type.
    """
    kinds = _kinds(hint)
    if int in kinds and isinstance(value, float) and value.is_integer():
        return int(value)
    if float in kinds and type(value) is int:
        return value if int in kinds else float(value)
    is_flag_for_number = isinstance(value, bool) and not {bool, object}.intersection(kinds)
    if is_flag_for_number or not isinstance(value, kinds):
        wanted = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
        raise ParameterError(
            f'"{name}" must be {wanted}, and is {type(value).__name__}: {value!r}.'
        )
    return whole(value) if isinstance(value, (dict, list)) else value


def _kinds(hint: Any) -> tuple[type, ...]:
    """Returns the classes of the values that a type hint allows."""
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return tuple(
        object if one is Any else typing.get_origin(one) or one
        for one in (typing.get_args(hint) if is_union else (hint,))
    )


def _artifact(message: dict[str, Any]) -> artifacts.Artifact:
    title = message.get("type", {}).get("schemaTitle", "system.Artifact")
    kind = artifacts.TYPES.get(title, artifacts.Artifact)
    return kind(message["uri"], message.get("name", ""), message.get("metadata"))


def _write(
    executor_input: dict[str, Any],
    outputs: dict[str, artifacts.Artifact],
    values: dict[str, Any],
) -> None:
    """Writes the ExecutorOutput message, with the content digest of every artifact."""
    places = executor_input.get("outputs", {})
    message: dict[str, Any] = {"artifacts": {}, "parameterValues": values}
    for name, artifact in outputs.items():
        metadata = {
            key: value
            for key, value in artifact.metadata.items()
            if value is not None and key not in digest.METADATA
        }
        if artifact.path.exists():
            metadata |= digest.of(artifact.path).metadata()
        message["artifacts"][name] = {
            "artifacts": [{"name": artifact.name, "uri": artifact.uri, "metadata": metadata}]
        }
    for name, value in values.items():
        _write_text(Path(places["parameters"][name]["outputFile"]), _parameter_text(value))
    if places.get("outputFile"):
        _write_text(Path(places["outputFile"]), json.dumps(message, allow_nan=False))


def _parameter_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, allow_nan=False)


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _report(line: str, details: str = "") -> None:
    """Prints why a step failed, and writes it to the backend's termination log."""
    line, details = redact.message(line), redact.message(details)
    with contextlib.suppress(OSError):  # the log's disk may be full
        sys.stderr.write(details + f"error: {line}\n")
    where = os.environ.get(TERMINATION_LOG, _KUBERNETES_TERMINATION_LOG)
    try:
        if TERMINATION_LOG in os.environ or Path(where).exists():
            Path(where).write_text(line + "\n", encoding="utf-8")
    except OSError as error:
        logger.debug("no termination message at %s: %s", where, error)


if __name__ == "__main__":
    sys.exit(main())
