"""Traces a run with OpenTelemetry: a span for the run, each task, each attempt and each staging.

Names follow the conventions for CI/CD pipelines where these have one, and begin with `millrace.`
otherwise: https://opentelemetry.io/docs/specs/semconv/cicd/cicd-spans/. No span holds a parameter.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from millrace import redact
from millrace.errors import MillraceError
from millrace.runner.result import RunResult, State, TaskResult
from millrace.runner.tracing import Tracer
from millrace.version import __version__

_PATIENCE = 5.0  # seconds that a run waits at its end for what has not been sent
_SHORT_PATIENCE = 0.5  # the same, if sending has failed before
_RESULTS = {
    State.COMPLETE: "success",
    State.CACHED: "success",
    State.FAILED: "failure",
    State.SKIPPED: "skip",
}
_PROPAGATOR = TraceContextTextMapPropagator()
_INDEX = re.compile(r"\[(\d+)\]")

logger = logging.getLogger(__name__)


class OpenTelemetryTracer(Tracer):
    """Makes the spans of one run.

    Args:
        exporters: What OTEL_TRACES_EXPORTER names.

    Raises:
        RuntimeError: There is no such exporter.
        ValueError: A variable has a value that it cannot have.
    """

    def __init__(self, exporters: Sequence[str]) -> None:
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        for name in exporters:
            self._provider.add_span_processor(BatchSpanProcessor(_exporter(name)))
        self._failures = _Failures()
        self._tracer = self._provider.get_tracer("millrace", __version__)
        self._root: Span = trace.INVALID_SPAN
        self._run: dict[str, Any] = {}
        self._open: dict[str, tuple[Span, TaskResult]] = {}

    def started(self, run: RunResult) -> None:
        """Begins the span of the run, within the trace that this process is a part of, if any."""
        self._run = {"cicd.pipeline.name": run.pipeline, "cicd.pipeline.run.id": run.run_id}
        around = _PROPAGATOR.extract({key.lower(): one for key, one in os.environ.items()})
        self._root = self._tracer.start_span(
            f"RUN {run.pipeline}", around, SpanKind.SERVER, {"cicd.pipeline.action.name": "RUN"}
        )
        self._root.set_attributes(self._run)

    def changed(self, task: TaskResult) -> None:
        """Begins or end the span of a task."""
        if task.path not in self._open:
            self._begin(task)
        if task.state.ended:
            self._end(task.path)

    def ended(self, run: RunResult) -> None:
        """Ends the span of the run, and those of the tasks that it stopped."""
        for path in sorted(self._open, key=len, reverse=True):
            self._end(path)
        self._root.set_attribute("cicd.pipeline.result", _RESULTS.get(run.state, "cancellation"))
        self._root.set_attribute("millrace.run.state", run.state.value)
        if run.state is State.FAILED:
            _fail(self._root, "RunFailed", run.error)
        self._root.end()

    @contextlib.contextmanager
    def attempt(self, task: TaskResult) -> Iterator[Mapping[str, str]]:
        """Trace an attempt at a task; yields the trace's context as environment variables."""
        with self._span(task, "attempt") as span:
            span.set_attribute("millrace.attempt", task.attempts)
            carrier: dict[str, str] = {}
            _PROPAGATOR.inject(carrier, trace.set_span_in_context(span, Context()))
            yield {key.upper(): value for key, value in carrier.items()}
            span.set_attribute("process.exit.code", 0)

    @contextlib.contextmanager
    def staging(self, task: TaskResult, direction: str) -> Iterator[None]:
        """Trace the copying of a task's inputs or outputs."""
        with self._span(task, f"stage {direction}"):
            yield

    def close(self) -> None:
        """Sends what has not been sent, for a few seconds."""
        settled, sending = self._failures.settled, threading.Thread(target=self._send, daemon=True)
        sending.start()
        if not settled.wait(_PATIENCE):
            self._failures.tell(f"no answer within {_PATIENCE:g} s")
        sending.join(_SHORT_PATIENCE)
        self._failures.close()

    def _send(self) -> None:
        shutdown: Any = self._provider.shutdown  # it has no types in all versions
        shutdown()
        self._failures.settled.set()

    def _begin(self, task: TaskResult) -> None:
        parent, _ = self._open.get(_around(task.path), (self._root, None))
        elapsed = time.monotonic() - task.started if task.started else 0.0
        span = self._tracer.start_span(
            task.display_name,
            trace.set_span_in_context(parent, Context()),
            attributes={
                **self._run,
                "cicd.pipeline.task.name": task.display_name,
                "cicd.pipeline.task.run.id": f"{self._run['cicd.pipeline.run.id']}/{task.path}",
                "millrace.task.path": task.path,
            },
            start_time=time.time_ns() - int(elapsed * 1e9),
        )
        if indices := _INDEX.findall(task.path):
            span.set_attribute("millrace.task.iteration", int(indices[-1]))
        self._open[task.path] = span, task

    def _end(self, path: str) -> None:
        span, task = self._open.pop(path)
        attributes: dict[str, Any] = {
            "cicd.pipeline.task.run.result": _RESULTS.get(task.state, "cancellation"),
            "millrace.task.state": task.state.value,
            "millrace.task.cached": task.state is State.CACHED,
            "millrace.task.attempts": task.attempts or None,
            "millrace.task.iterations": task.iterations,
            "millrace.task.peak_memory": task.peak_memory or None,
            "millrace.task.rows": _rows(task),
        }
        span.set_attributes(
            {name: value for name, value in attributes.items() if value is not None}
        )
        if task.state is State.FAILED:
            _fail(span, "TaskFailed", task.error)
        span.end()

    @contextlib.contextmanager
    def _span(self, task: TaskResult, name: str) -> Iterator[Span]:
        """Makes a span within that of a task, which fails as the body does."""
        parent, _ = self._open.get(task.path, (self._root, None))
        attributes = {**self._run, "millrace.task.path": task.path}
        context = trace.set_span_in_context(parent, Context())
        span = self._tracer.start_span(
            f"{name} {task.display_name}", context, attributes=attributes
        )
        try:
            yield span
        except MillraceError as error:
            if (code := getattr(error, "exit_code", None)) is not None:
                span.set_attribute("process.exit.code", code)
            _fail(span, type(error).__name__, str(error))
            raise
        finally:
            span.end()


class _Failures(logging.Handler):
    """Tells once that traces cannot be sent; the SDK logs every try, some with a traceback.

    Attributes:
        settled: Set when sending has failed, or everything has been sent.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.settled = threading.Event()
        self._told = False
        self._sdk = logging.getLogger("opentelemetry")
        self._before = self._sdk.propagate
        self._sdk.propagate = False
        self._sdk.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Tells what the SDK has logged."""
        error = record.exc_info[1] if record.exc_info else None
        self.tell(str(error or record.getMessage()))

    def tell(self, why: str) -> None:
        """Tells why, unless it has been told."""
        if not self._told:
            self._told = True
            self.settled.set()
            line = redact.message(" ".join(why.split()))
            logger.warning("Traces cannot be sent; the run goes on without them: %s", line)

    def close(self) -> None:
        """Leaves the SDK's messages to others again, unless a thread still tries to send."""
        if self._told:
            return
        self._sdk.removeHandler(self)
        self._sdk.propagate = self._before
        super().close()


def _resource() -> Resource:
    """Returns who makes the spans; what the environment says wins."""
    own = {"service.name": "millrace", "service.version": __version__}
    given = Resource.create()
    named = {key: value for key, value in own.items() if not _is_named(given, key)}
    return given.merge(Resource(named))


def _is_named(resource: Resource, key: str) -> bool:
    value = resource.attributes.get(key)
    return value is not None and not str(value).startswith("unknown_service")


def _exporter(name: str) -> Any:
    """Returns an exporter that is installed, by the name that the SDK's variables have for it."""
    if name == "otlp":
        protocol = (
            os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
            or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
            or "http/protobuf"
        )
        name = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}.get(protocol, "")
        if not name:
            raise ValueError(f"the OTLP protocol {protocol!r} is neither http/protobuf nor grpc")
    found = importlib.metadata.entry_points(group="opentelemetry_traces_exporter", name=name)
    for entry in found:
        return entry.load()()
    raise RuntimeError(f"there is no exporter {name!r} of OpenTelemetry installed")


def _around(path: str) -> str:
    """Returns the path of what a task is in: a DAG, an iteration or a loop."""
    return path[: path.rindex("[")] if path.endswith("]") else path.rpartition("/")[0]


def _rows(task: TaskResult) -> int | None:
    for records in task.artifacts.values():
        for record in records:
            if isinstance(rows := record.metadata.get("rows"), (int, float)):
                return int(rows)
    return None


def _fail(span: Span, kind: str, why: str) -> None:
    why = redact.message(why)
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, why))
    span.add_event("exception", {"exception.type": kind, "exception.message": why})
