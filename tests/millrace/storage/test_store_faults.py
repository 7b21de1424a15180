"""Slow stores, broken connections, forbidden or late listings do no harm.

A proxy of our own stands between the driver and a real S3 server.
"""

from __future__ import annotations

import http.client
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from millrace.errors import StorageError
from millrace.storage import digest, drivers, location, staging, store

SLOW_DOWN = (503, b"<Error><Code>SlowDown</Code><Message>Reduce your rate.</Message></Error>")
DENIED = (403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")
CUT = (0, b"")
HOP_HEADERS = {"connection", "transfer-encoding", "keep-alive"}
# What the proxy does with a request (method, path with query): nothing, an answer, or a cut.
Fault = Callable[[str, str], "tuple[int, bytes] | None"]


class Proxy(ThreadingHTTPServer):
    """Hands requests on to the server, unless `fault` says otherwise."""

    daemon_threads = True

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(endpoint).netloc
        self.fault: Fault = lambda method, path: None
        self.requests: list[tuple[str, str]] = []
        self.lose_answer = False  # of the next PUT, which is carried out
        self.lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing: clients hang up on purpose here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def handle_any(self) -> None:
        body = self._body()
        with self.server.lock:
            self.server.requests.append((self.command, self.path))
            fault = self.server.fault(self.command, self.path)
        if fault and fault is not CUT:
            self._answer(fault[0], {"Content-Type": "application/xml"}, fault[1])
            return
        if fault is CUT and self.command == "PUT":
            self.close_connection = True
            self.connection.close()
            return
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=60)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_HEADERS}
        upstream.request(self.command, self.path, body, headers)
        response = upstream.getresponse()
        content = response.read()
        answer = {k: v for k, v in response.getheaders() if k.lower() not in HOP_HEADERS}
        if self.command == "PUT" and self.server.lose_answer:
            self.server.lose_answer = False
            self._answer(SLOW_DOWN[0], {}, SLOW_DOWN[1])
        elif fault is CUT:
            self._answer(response.status, answer, content, cut=len(content) // 2)
            self.close_connection = True
            self.connection.close()
        else:
            self._answer(response.status, answer, content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815

    def _body(self) -> bytes:
        assert "Transfer-Encoding" not in self.headers
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(
        self, status: int, headers: dict[str, str], content: bytes, cut: int | None = None
    ) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() != "content-length" or self.command == "HEAD":
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        elif "Content-Length" not in headers:
            self.send_header("Content-Length", "0")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:cut])
            self.wfile.flush()

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def proxy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    server = request.getfixturevalue("s3")
    proxy = Proxy(server.endpoint)
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    drivers.forget()
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield proxy
    proxy.shutdown()
    proxy.server_close()
    thread.join()
    drivers.forget()


@pytest.fixture
def uri(request: pytest.FixtureRequest, proxy: Proxy) -> str:
    return f"s3://{request.getfixturevalue('s3').bucket}/{uuid.uuid4().hex}"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model" / "variables").mkdir(parents=True)
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"graph" * 50_000)
    (tmp_path / "model" / "variables" / "index").write_bytes(b"weights")
    return tmp_path / "model"


def first(count: int, answer: tuple[int, bytes], *methods: str) -> Fault:
    """Spoils the first requests of some methods."""
    left = [count]

    def fault(method: str, path: str) -> tuple[int, bytes] | None:
        if method not in methods or left[0] == 0:
            return None
        left[0] -= 1
        return answer

    return fault


def is_list(method: str, path: str) -> bool:
    return method == "GET" and "list-type=2" in path


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda: first(4, SLOW_DOWN, "PUT", "GET", "HEAD"), id="slow-down"),
        pytest.param(lambda: first(3, (500, b""), "PUT", "GET", "HEAD"), id="500"),
        pytest.param(lambda: first(3, CUT, "PUT"), id="cut-uploads"),
    ],
)
def test_passing_faults_are_passed_over(
    proxy: Proxy, uri: str, model: Path, tmp_path: Path, fault: Callable[[], Fault]
) -> None:
    proxy.fault = fault()
    staging.stage_out(model, uri)
    assert store.digest(uri) == digest.of(model)
    proxy.fault = fault()
    staging.stage_in(uri, tmp_path / "back", digest.of(model).hexdigest)


def test_a_download_that_breaks_goes_on(
    proxy: Proxy, uri: str, model: Path, tmp_path: Path
) -> None:
    staging.stage_out(model, uri)
    left = [3]

    def fault(method: str, path: str) -> tuple[int, bytes] | None:
        if method != "GET" or "saved_model.pb" not in path or left[0] == 0:
            return None
        left[0] -= 1
        return CUT

    proxy.fault = fault
    staging.stage_in(uri, tmp_path / "back")
    assert left[0] == 0
    assert digest.of(tmp_path / "back") == digest.of(model)
    left[0] = 2
    assert store.digest(uri) == digest.of(model)


def test_a_store_that_stays_down_is_one_error(
    proxy: Proxy, uri: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(drivers, "_FIRST_WAIT", 0.01)
    drivers.forget()
    proxy.fault = lambda method, path: SLOW_DOWN
    with pytest.raises(StorageError, match="Try again later") as raised:
        staging.stage_out(model, uri)
    assert str(raised.value).startswith(f"{uri} cannot be written: ")
    assert "\n" not in str(raised.value)


def test_who_may_not_list_can_still_use_files(proxy: Proxy, uri: str, tmp_path: Path) -> None:
    proxy.fault = lambda method, path: DENIED if is_list(method, path) else None
    (tmp_path / "data.csv").write_bytes(b"a\n1\n")
    staging.stage_out(tmp_path / "data.csv", uri)
    staging.stage_in(uri, tmp_path / "back.csv")
    assert (tmp_path / "back.csv").read_bytes() == b"a\n1\n"
    with pytest.raises(StorageError, match=r"Access Denied\. Check the credentials"):
        store.exists(location.join(uri, "missing"))


def test_who_may_not_list_can_still_upload_folders(proxy: Proxy, uri: str, model: Path) -> None:
    proxy.fault = lambda method, path: DENIED if is_list(method, path) else None
    staging.stage_out(model, uri)
    proxy.fault = lambda method, path: None
    assert store.digest(uri) == digest.of(model)


def test_a_listing_that_lags_is_waited_for(
    proxy: Proxy, uri: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a while, the store lists the folder as it was before its last file was written."""
    monkeypatch.setattr(staging, "_LAG_WAITS", (0.05, 0.05, 0.05, 0.05))
    staging.stage_out(model, uri)
    key = uri.removeprefix("s3://").partition("/")[2]
    old = (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><IsTruncated>false</IsTruncated>'
        f"<Contents><Key>{key}/saved_model.pb</Key><Size>250000</Size><ETag>x</ETag>"
        "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents><KeyCount>1</KeyCount>"
        "</ListBucketResult>"
    ).encode()
    left = [3]

    def fault(method: str, path: str) -> tuple[int, bytes] | None:
        if not is_list(method, path) or left[0] == 0:
            return None
        left[0] -= 1
        return 200, old

    proxy.fault = fault
    staging.stage_in(uri, tmp_path / "back", digest.of(model).hexdigest)
    assert digest.of(tmp_path / "back") == digest.of(model)
    left[0] = 100
    staging.stage_out(model, uri)  # the missing file is looked up by its name


def test_a_claim_whose_answer_is_lost_is_still_ours(proxy: Proxy, uri: str) -> None:
    proxy.lose_answer = True
    assert store.claim(uri, b"ours")
    assert not proxy.lose_answer
    assert not store.claim(uri, b"theirs")


@pytest.mark.parametrize("keys", [["../../escaped"], ["a", "a/b"]])
def test_objects_that_cannot_be_files_are_refused(
    proxy: Proxy, uri: str, tmp_path: Path, keys: list[str]
) -> None:
    prefix = uri.removeprefix("s3://").partition("/")[2]
    rows = "".join(
        f"<Contents><Key>{prefix}/{key}</Key><Size>1</Size><ETag>x</ETag>"
        "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
        for key in keys
    )
    body = f"<ListBucketResult>{rows}<KeyCount>{len(keys)}</KeyCount></ListBucketResult>".encode()
    proxy.fault = lambda method, path: (
        (200, body) if is_list(method, path) else (200, b"x") if method == "GET" else None
    )
    with pytest.raises(StorageError):
        staging.stage_in(uri, tmp_path / "in" / "model")
    assert list(tmp_path.rglob("*")) == [tmp_path / "in"]


def test_no_secret_in_a_message(
    proxy: Proxy, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = tmp_path / "options.json"
    options.write_text(
        '{"s3": {"key": "millrace-tests", "secret": "wrong-and-hidden",'
        f' "endpoint_url": "{proxy.endpoint}"}}}}'
    )
    monkeypatch.setenv(drivers.OPTIONS_FILE, str(options))
    with pytest.raises(StorageError, match="Check the credentials") as raised:
        store.write_bytes(uri, b"x")
    assert "wrong-and-hidden" not in str(raised.value)
    with pytest.raises(StorageError, match="cannot be looked up"):
        store.exists(uri)
    options.write_text('{"s3": {"secret": "wrong-and-hidden"')
    with pytest.raises(StorageError, match="it is not JSON") as raised:
        store.exists(uri)
    assert "wrong-and-hidden" not in str(raised.value)
