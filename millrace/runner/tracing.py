"""Whether a run is traced, and what the runner tells whoever traces it.

OpenTelemetry is imported only if the environment asks for traces, with the variables that its SDKs
share: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping

from millrace.runner.listener import Silent
from millrace.runner.result import TaskResult

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

logger = logging.getLogger(__name__)


class Tracer(Silent):
    """Traces nothing."""

    @contextlib.contextmanager
    def attempt(self, task: TaskResult) -> Iterator[Mapping[str, str]]:
        """Trace an attempt at a task; yields what the step's environment is to have."""
        yield {}

    @contextlib.contextmanager
    def staging(self, task: TaskResult, direction: str) -> Iterator[None]:
        """Trace the copying of a task's inputs (`in`) or outputs (`out`)."""
        yield

    def close(self) -> None:
        """Sends what has not been sent."""


def tracer() -> Tracer:
    """Returns what traces a run as the environment asks for."""
    exporters = _exporters(os.environ)
    if not exporters:
        return Tracer()
    try:
        from millrace.runner.opentelemetry import OpenTelemetryTracer

        return OpenTelemetryTracer(exporters)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        why = "OpenTelemetry is not installed: pip install 'millrace[otel]'"
    except (RuntimeError, ValueError) as error:  # a variable has a value that it cannot have
        why = str(error)
    logger.warning("The run is not traced: %s.", why.rstrip("."))
    return Tracer()


def _exporters(environ: Mapping[str, str]) -> list[str]:
    """Returns the names of the exporters that the environment asks for."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    default = "otlp" if any(environ.get(name) for name in _ENDPOINTS) else ""
    names = (environ.get("OTEL_TRACES_EXPORTER") or default).split(",")
    return [name.strip() for name in names if name.strip() not in ("", "none")]
