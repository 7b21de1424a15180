"""Traces of runs, sent to a server that parses OTLP's published protobuf."""

import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading

import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from millrace.runner.result import State

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
SECRET = "hunter-2-and-more"


class Collector:
    """An OTLP collector over HTTP.

    Attributes:
        status: What it answers.
    """

    def __init__(self) -> None:
        self.status = 200
        self._received: list[bytes] = []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.path == "/v1/traces"
                assert self.headers["Content-Type"] == "application/x-protobuf"
                if collector.status == 200:
                    collector._received.append(body)
                self.send_response(collector.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def requests(self):
        return list(map(trace_service_pb2.ExportTraceServiceRequest.FromString, self._received))

    def spans(self):
        """What was received, by the name of the span and, of several, in their order."""
        found: dict[str, list] = {}
        for request in self.requests():
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        found.setdefault(span.name, []).append(span)
        return {
            name: sorted(spans, key=lambda one: one.start_time_unix_nano)
            for name, spans in found.items()
        }

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("TRACEPARENT", raising=False)


@pytest.fixture
def collector(monkeypatch):
    found = Collector()
    monkeypatch.setenv(ENDPOINT, found.url)
    yield found
    found.close()


def facts(span):
    """The attributes of a span."""
    values = {}
    for one in span.attributes:
        values[one.key] = getattr(one.value, one.value.WhichOneof("value"))
    return values


def test_a_run_is_a_trace(kit, run, collector):
    dsl = kit.dsl

    def traced():
        first = kit.play(text="first", count=7).set_display_name("The first")
        with dsl.ParallelFor(["a", "b"]) as item:
            kit.play(text=item).after(first)

    result = run(kit.compile(traced))
    spans = collector.spans()
    (root,) = spans["RUN traced"]
    assert root.kind == trace_pb2.Span.SPAN_KIND_SERVER
    assert not root.parent_span_id
    assert facts(root)["cicd.pipeline.result"] == "success"
    (task,) = spans["The first"]
    assert task.parent_span_id == root.span_id
    assert facts(task) == {
        "cicd.pipeline.name": "traced",
        "cicd.pipeline.run.id": result.run_id,
        "cicd.pipeline.task.name": "The first",
        "cicd.pipeline.task.run.id": f"{result.run_id}/play",
        "cicd.pipeline.task.run.result": "success",
        "millrace.task.path": "play",
        "millrace.task.state": "COMPLETE",
        "millrace.task.cached": False,
        "millrace.task.attempts": 1,
        "millrace.task.peak_memory": result.tasks["play"].peak_memory,
        "millrace.task.rows": 7,
    }
    (attempt,) = spans["attempt The first"]
    assert attempt.parent_span_id == task.span_id
    assert facts(attempt)["process.exit.code"] == 0
    assert root.start_time_unix_nano <= task.start_time_unix_nano
    assert task.end_time_unix_nano <= root.end_time_unix_nano
    every = [span for named in spans.values() for span in named]
    by_path = {
        facts(span).get("millrace.task.path"): span
        for span in every
        if not span.name.startswith("attempt")
    }
    second = by_path["for-loop-2[1]/play-2"]
    assert facts(second)["millrace.task.iteration"] == 1
    assert second.parent_span_id == by_path["for-loop-2[1]"].span_id
    assert by_path["for-loop-2[1]"].parent_span_id == by_path["for-loop-2"].span_id
    assert facts(by_path["for-loop-2"])["millrace.task.iterations"] == 2
    assert {span.trace_id for span in every} == {root.trace_id}
    (resource, *_) = [each.resource for each in collector.requests()[0].resource_spans]
    assert facts(resource)["service.name"] == "millrace"


def test_a_steps_own_spans_nest_in_its_attempt(kit, run, collector, monkeypatch):
    outer = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    monkeypatch.setenv("TRACEPARENT", outer)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    result = run(kit.single(do="tell-environment TRACEPARENT"))
    said = result.tasks["play"].parameters["said"]
    spans = collector.spans()
    (root,), (attempt,) = spans["RUN single"], spans["attempt play"]
    assert root.parent_span_id.hex() == "b7ad6b7169203331"
    assert said == f"00-0af7651916cd43dd8448eb211c80319c-{attempt.span_id.hex()}-01"
    assert facts(collector.requests()[0].resource_spans[0].resource)["service.name"] == "mine"


def test_cached_failed_and_skipped_tasks(kit, run, collector):
    def ending(do: str = ""):
        first = kit.play(text="first")
        second = kit.play(do=do, text=SECRET, data=first.outputs["out"])
        kit.play(data=second.outputs["out"])

    pipeline = kit.compile(ending)
    run(pipeline)
    result = run(pipeline, {"do": f"crash password={SECRET}"})
    assert result.state is State.FAILED
    spans = collector.spans()
    assert [facts(span)["millrace.task.cached"] for span in spans["play"]] == [False, True]
    assert len(spans["attempt play"]) == 1
    failed = spans["play-2"][1]
    assert facts(failed)["cicd.pipeline.task.run.result"] == "failure"
    assert failed.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    assert failed.status.message == "RuntimeError: password=***"
    assert failed.events[0].name == "exception"
    attempt = spans["attempt play-2"][1]
    assert facts(attempt)["process.exit.code"] == 70
    assert facts(attempt)["error.type"] == "AttemptError"
    assert facts(spans["play-3"][1])["cicd.pipeline.task.run.result"] == "skip"
    root = spans["RUN ending"][1]
    assert facts(root)["cicd.pipeline.result"] == "failure"
    assert root.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    assert all(SECRET.encode() not in body for body in collector._received)


def test_each_attempt_is_a_span(kit, run, collector, tmp_path):
    def retried(counter: str):
        kit.play(do=f"flaky {counter}").set_retry(2, backoff_duration="0s")

    run(kit.compile(retried), {"counter": str(tmp_path / "counter")})
    spans = collector.spans()
    attempts = spans["attempt play"]
    assert [facts(span)["millrace.attempt"] for span in attempts] == [1, 2, 3]
    assert [facts(span)["process.exit.code"] for span in attempts] == [70, 70, 0]
    assert facts(spans["play"][0])["millrace.task.attempts"] == 3


def test_staging_is_traced(kit, s3, run, collector, tmp_path, monkeypatch):
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))

    def staged():
        kit.play(data=kit.play(text="first").outputs["out"])

    result = run(kit.compile(staged), root=f"s3://{s3.bucket}/{tmp_path.name}")
    assert result.state is State.COMPLETE, result.error
    spans = collector.spans()
    assert spans["stage in play-2"][0].parent_span_id == spans["play-2"][0].span_id
    assert len(spans["stage out play"]) == 1
    assert "stage in play" not in spans


def test_a_collector_that_is_down_costs_one_warning(kit, millrace, tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")  # several tries within the run
    done = millrace("run", kit.single(), "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["state"] == "COMPLETE"
    (line,) = done.stderr.splitlines()
    assert "Traces cannot be sent; the run goes on without them: " in line


def test_a_collector_that_is_busy_holds_nothing_up(kit, run, collector, caplog, monkeypatch):
    from millrace.runner import opentelemetry

    monkeypatch.setattr(opentelemetry, "_PATIENCE", 0.2)
    collector.status = 503
    result = run(kit.single())
    assert result.state is State.COMPLETE
    # pytest listens to the SDK's own logger too, which passes nothing on.
    (record,) = [one for one in caplog.records if one.name.startswith("millrace")]
    assert record.getMessage().startswith("Traces cannot be sent")


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin-of-old"}, "there is no exporter 'zipkin-of-old'"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon"}, "'carrier-pigeon' is neither"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "there is no exporter 'otlp_proto_grpc'"),
    ],
)
def test_what_cannot_be_traced_is_told(kit, run, monkeypatch, caplog, variables, why):
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert run(kit.single()).state is State.COMPLETE
    # The SDK may log in a thread of an earlier run, whose collector was down.
    (record,) = [one for one in caplog.records if one.name.startswith("millrace")]
    assert re.match(rf"The run is not traced: .*{re.escape(why)}", record.getMessage())


OFF = [
    {},
    {ENDPOINT: "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
    {ENDPOINT: "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
]


@pytest.mark.parametrize("variables", OFF)
def test_nothing_is_imported_when_traces_are_off(kit, root, variables):
    program = (
        "import sys; from millrace.runner.run import run;"
        "run(sys.argv[1], root=sys.argv[2]);"
        "sys.exit(' '.join(name for name in sys.modules if name.startswith('opentelemetry')))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, kit.single(), root],
        env=os.environ | variables,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "\n")


def test_a_missing_library_is_told(kit, run, monkeypatch, caplog):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "millrace.runner.opentelemetry", raising=False)
    assert run(kit.single()).state is State.COMPLETE
    assert "pip install 'millrace[otel]'" in caplog.text
