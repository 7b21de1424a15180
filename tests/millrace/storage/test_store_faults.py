"""Slow stores, broken connections, forbidden or late listings do no harm.

A proxy of our own stands between the driver and a real S3 server.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from millrace.errors import StorageError
from millrace.storage import digest, drivers, failures, location, staging, store

SLOW_DOWN = (503, b"<Error><Code>SlowDown</Code><Message>Reduce your rate.</Message></Error>")
DENIED = (403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")
CUT = (0, b"")
HOP_HEADERS = {"connection", "transfer-encoding", "keep-alive"}
# What the proxy does with a request (method, path with query): nothing, an answer, or a cut.
Fault = Callable[[str, str], "tuple[int, bytes] | tuple[int, bytes, dict[str, str]] | None"]


class Proxy(ThreadingHTTPServer):
    """Hands requests on to the server, unless `fault` says otherwise."""

    daemon_threads = True

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(endpoint).netloc
        self.fault: Fault = lambda method, path: None
        self.requests: list[tuple[str, str]] = []
        self.lose_answer = False  # of the next PUT, which is carried out
        self.damage = 0  # requests whose body is altered, of those with one that is not small
        self.received = 0  # bytes of bodies
        self.lock = threading.Lock()

    @property
    def netloc(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    @property
    def endpoint(self) -> str:
        return f"http://{self.netloc}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing: clients hang up on purpose here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def handle_any(self) -> None:
        body = self._body()
        with self.server.lock:
            self.server.requests.append((self.command, self.path))
            self.server.received += len(body)
            fault = self.server.fault(self.command, self.path)
            if self.server.damage and len(body) > 1000:
                self.server.damage -= 1
                body = body[:500] + bytes([body[500] ^ 1]) + body[501:]
        if fault and fault is not CUT:
            headers = {"Content-Type": "application/xml"} | dict(*fault[2:])
            self._answer(fault[0], headers, fault[1])
            return
        if fault is CUT and self.command in ("PUT", "POST"):
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
        elif "content-length" not in map(str.lower, headers):
            self.send_header("Content-Length", "0")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:cut])
            self.wfile.flush()

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def kind() -> str:
    """The store behind the proxy; a test may take others."""
    return "s3"


@pytest.fixture
def proxy(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, kind: str
) -> Iterator[Proxy]:
    server = request.getfixturevalue(kind)
    proxy = Proxy(server.endpoint)
    for name, value in server.env.items():
        monkeypatch.setenv(name, value.replace(urlsplit(server.endpoint).netloc, proxy.netloc))
    drivers.forget()
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield proxy
    proxy.shutdown()
    proxy.server_close()
    thread.join()
    drivers.forget()


@pytest.fixture
def uri(request: pytest.FixtureRequest, proxy: Proxy, kind: str) -> str:
    return f"{request.getfixturevalue(kind).uri}/{uuid.uuid4().hex}"


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


def from_nth(start: int, count: int, answer: tuple[int, bytes]) -> Fault:
    """Spoils some of the requests that write."""
    seen = [0]

    def fault(method: str, path: str) -> tuple[int, bytes] | None:
        if method not in ("PUT", "POST"):
            return None
        seen[0] += 1
        return answer if start <= seen[0] < start + count else None

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


# Not Azure: its client waits 15 seconds before it tries again.
EVERY_KIND = pytest.mark.parametrize("kind", ["s3", "gs"])


@pytest.mark.slow
@EVERY_KIND
def test_a_part_whose_transfer_breaks_is_sent_again_and_no_other(
    proxy: Proxy, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drivers, "BLOCK", 5 << 20)
    monkeypatch.setattr(drivers, "_FIRST_WAIT", 0.01)
    content = random.Random(0).randbytes((5 << 20) * 4 + 1)
    (tmp_path / "large").write_bytes(content)
    proxy.fault = from_nth(4, 2, CUT)
    staging.stage_out(tmp_path / "large", uri)
    assert len(content) < proxy.received < len(content) + 2.5 * (5 << 20)
    assert store.digest(uri) == digest.of(tmp_path / "large")


UPLOAD = """
import sys
from pathlib import Path
from millrace.storage import drivers, staging
drivers.BLOCK = 5 << 20
staging.stage_out(Path(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["s3", "az"])
@pytest.mark.parametrize("is_same", [True, False])
def test_an_upload_that_was_killed_is_resumed(
    proxy: Proxy, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_same: bool
) -> None:
    """Parts that had arrived are not sent again, unless the file has other content now."""
    file, size, count = tmp_path / "large", 5 << 20, 8
    file.write_bytes(random.Random(0).randbytes(size * (count - 1) + 1))
    parts: list[str] = []

    def kill(method: str, path: str) -> tuple[int, bytes] | None:
        if method == "PUT" and ("partNumber=" in path or "comp=block&" in path):
            parts.append(path)
            if len(parts) == 6:  # four go side by side, so that two have arrived
                killed.kill()
        return CUT if len(parts) >= 6 else None

    proxy.fault = kill
    killed = subprocess.Popen([sys.executable, "-c", UPLOAD, str(file), uri])
    assert killed.wait(timeout=60) == -signal.SIGKILL
    proxy.fault, proxy.received = lambda method, path: None, 0
    assert not store.exists(uri)
    if not is_same:
        file.write_bytes(random.Random(1).randbytes(size * (count - 1) + 1))
    monkeypatch.setattr(drivers, "BLOCK", size)
    staging.stage_out(file, uri)
    assert store.digest(uri) == digest.of(file)
    whole = file.stat().st_size
    if is_same:
        assert proxy.received < whole - 2 * size + 10_000
    else:
        assert whole <= proxy.received < whole + 10_000


@pytest.mark.slow
@EVERY_KIND
@pytest.mark.parametrize("size", [5_000, (5 << 20) + 5_000])
def test_what_is_damaged_on_its_way_is_sent_again(
    proxy: Proxy, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(drivers, "BLOCK", 5 << 20)
    monkeypatch.setattr(drivers, "_FIRST_WAIT", 0.01)
    (tmp_path / "file").write_bytes(random.Random(0).randbytes(size))
    proxy.damage = 1
    if uri.startswith("gs") and size > drivers.BLOCK:  # GCS knows the digest of the whole only
        with pytest.raises(StorageError, match="damaged on its way"):
            staging.stage_out(tmp_path / "file", uri)
        assert not store.exists(uri)
    staging.stage_out(tmp_path / "file", uri)
    assert not proxy.damage
    assert store.digest(uri) == digest.of(tmp_path / "file")


@EVERY_KIND
def test_large_files_that_arrived_are_not_read_back(
    proxy: Proxy, uri: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drivers, "BLOCK", 5 << 20)
    (model / "large").write_bytes(bytes(11 << 20))
    staging.stage_out(model, uri)
    names = ("saved_model.pb", "large")
    read = [
        (method, path)
        for method, path in proxy.requests
        if method == "GET" and urlsplit(path).path.endswith(names)
    ]
    assert not [path for _, path in read if "alt=media" in path or "/storage/v1/" not in path]


def test_a_store_that_keeps_the_former_content_is_found_out(
    proxy: Proxy, uri: str, model: Path
) -> None:
    """It answers as if it had written the new one, which has the same size."""
    staging.stage_out(model, uri)
    (model / "variables" / "index").write_bytes(b"WEIGHTS")
    tag = hashlib.md5(b"WEIGHTS").hexdigest()
    proxy.fault = lambda method, path: (
        (200, b"", {"ETag": f'"{tag}"'}) if method == "PUT" and path.endswith("/index") else None
    )
    with pytest.raises(StorageError, match="variables/index is of other content after 7 bytes"):
        staging.stage_out(model, uri)
    assert not store.exists(uri)


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


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (
            403,
            "RequestTimeTooSkewed",
            r"The clock of this machine says 20\d\d-.* UTC: set it right",
        ),
        (403, "AccessDenied", r"what they may do in s3://millrace-tests: list, read, write and"),
        (403, "InvalidAccessKeyId", "Check the credentials: the store's usual environment"),
        (403, "SignatureDoesNotMatch", "Check the credentials: the store's usual environment"),
        (400, "ExpiredToken", "Check the credentials: the store's usual environment"),
        (404, "NoSuchBucket", "Check that s3://millrace-tests exists"),
    ],
)
def test_each_fault_is_one_line_that_says_what_to_do(
    proxy: Proxy, uri: str, model: Path, status: int, code: str, advice: str
) -> None:
    body = f"<Error><Code>{code}</Code><Message>What {code} is.</Message></Error>".encode()
    proxy.fault = lambda method, path: (status, b"" if method == "HEAD" else body)
    acts: list[Callable[[], object]] = [
        lambda: staging.stage_out(model, uri),
        lambda: staging.stage_out(model / "saved_model.pb", uri),
        lambda: store.write_bytes(uri, b"x"),
        lambda: store.claim(uri, b"x"),
        lambda: store.read_bytes(uri),
    ]
    if status == 403:  # the answer to HEAD has no body, and no code
        acts += [lambda: store.exists(uri), lambda: store.digest(uri)]
    for act in acts:
        with pytest.raises(StorageError, match=advice) as raised:
            act()
        assert str(raised.value).startswith(f"{uri} cannot be ")
        assert f"What {code} is" in str(raised.value)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["gs"])
@pytest.mark.parametrize(
    ("status", "message", "advice"),
    [
        (403, "No storage.objects.list", "what they may do in gs://millrace-tests"),
        (401, "Anonymous caller", "Check the credentials: the store's usual environment"),
        (404, "The specified bucket does not exist.", "Check that gs://millrace-tests exists"),
    ],
)
def test_faults_of_gcs_are_as_clear(
    proxy: Proxy, uri: str, model: Path, status: int, message: str, advice: str
) -> None:
    error = json.dumps({"error": {"code": status, "message": message}}).encode()
    proxy.fault = lambda method, path: (status, error, {"Content-Type": "application/json"})
    for act in (lambda: staging.stage_out(model, uri), lambda: store.write_bytes(uri, b"x")):
        with pytest.raises(StorageError, match=advice) as raised:
            act()
        assert "\n" not in str(raised.value)


def test_azure_without_its_container_is_as_clear(
    request: pytest.FixtureRequest, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in request.getfixturevalue("az").env.items():
        monkeypatch.setenv(name, value)
    drivers.forget()
    with pytest.raises(StorageError, match="Check that az://missing exists") as raised:
        staging.stage_out(model / "saved_model.pb", "az://missing/model")
    assert "\n" not in str(raised.value)


def test_no_secret_of_azure_in_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "AccountName=a;AccountKey=c2VjcmV0;BlobEndpoint=http://x/?sig=signed1&se=1"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    told = str(failures.failure("az://b/x", "cannot be read", OSError(f"c2VjcmV0 signed1 {text}")))
    assert "c2VjcmV0" not in told
    assert "signed1" not in told


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
    monkeypatch.setenv(failures.OPTIONS_FILE, str(options))
    with pytest.raises(StorageError, match="Check the credentials") as raised:
        store.write_bytes(uri, b"x")
    assert "wrong-and-hidden" not in str(raised.value)
    with pytest.raises(StorageError, match="cannot be looked up"):
        store.exists(uri)
    options.write_text('{"s3": {"secret": "wrong-and-hidden"')
    with pytest.raises(StorageError, match="it is not JSON") as raised:
        store.exists(uri)
    assert "wrong-and-hidden" not in str(raised.value)
