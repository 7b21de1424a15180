"""A write whose answer is lost with the connection is done once, on a real MySQL and PostgreSQL."""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from millrace.lineage import query
from millrace.lineage.nodes import ArtifactRecord, State
from millrace.lineage.record import RunRecord
from millrace.lineage.store import Store


class Proxy:
    """Passes bytes on between a client and a server, and hides an answer to a COMMIT if asked.

    It is a process of its own: ML Metadata's calls hold Python's lock while they wait.
    """

    def __init__(self, host: str, port: int) -> None:
        context = multiprocessing.get_context("fork")
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cut = context.Event()  # set: the answer to the next COMMIT is lost
        self._process = context.Process(target=self._accept, daemon=True)
        self._process.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                lose = threading.Event()
                for source, target, is_request in ((client, server, True), (server, client, False)):
                    threading.Thread(
                        target=self._pass, args=(source, target, is_request, lose), daemon=True
                    ).start()

    def _pass(
        self, source: socket.socket, target: socket.socket, is_request: bool, lose: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while part := source.recv(1 << 16):
                if is_request and self.cut.is_set() and b"commit" in part.lower():
                    lose.set()
                    self.cut.clear()
                elif not is_request and lose.is_set():
                    break
                target.sendall(part)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._process.kill()
        self._process.join()
        self._listener.close()


@pytest.fixture(params=["mysql", "postgresql"])
def proxied(request: pytest.FixtureRequest) -> Iterator[tuple[Proxy, str]]:
    """A proxy before a server, and the address of a store behind it."""
    address = request.getfixturevalue(request.param)
    before, _, place = address.rpartition("@")
    host, _, port = place.partition(":")
    proxy = Proxy(host, int(port))
    yield proxy, f"{before}@127.0.0.1:{proxy.port}/mlmd_repeated"
    proxy.close()


def test_nothing_doubles_when_the_answer_to_a_commit_is_lost(proxied) -> None:
    proxy, address = proxied
    with Store.open(address) as store:
        run = RunRecord.start(store, "p", f"r-{time.time_ns()}", "/root")
        proxy.cut.set()
        execution = run.start_task("task", inputs={"data": [ArtifactRecord("a", f"/{unique()}")]})
        assert not proxy.cut.is_set(), "no answer was lost"
        proxy.cut.set()
        record = ArtifactRecord("out", f"/{unique()}", metadata={"digest": "d", "rows": 3})
        made = run.finish_task(execution, State.COMPLETE, outputs={"out": [record]})
        assert not proxy.cut.is_set(), "no answer was lost"
        run.finish(State.COMPLETE)
        (task,) = query.tasks(store, query.find_run(store, "latest"))
        assert task.id == execution
        assert task.state == "COMPLETE"
        assert [one.id for one in task.outputs["out"]] == [made["out"][0].id]
        assert len(task.inputs["data"]) == 1
        assert len(store.artifacts_at(record.uri)) == 1


def unique() -> str:
    """A name that no other test has used in these databases."""
    return str(time.time_ns())


def test_names_of_types_and_ports_with_a_backslash(anywhere) -> None:
    odd = "port \\'); DROP TABLE Event; --"
    with Store.open(anywhere) as store:
        run = RunRecord.start(store, "p", f"r-{time.time_ns()}", "/root")
        task = run.start_task("t", inputs={odd: [ArtifactRecord("a", "/a\\b", "system.\\'x")]})
        run.finish_task(
            task, State.COMPLETE, outputs={odd: [ArtifactRecord("o", "/o", "system.\\'y")]}
        )
        (found,) = query.tasks(store, query.find_run(store, "latest"))
        assert [name.replace("%5C", "\\") for name in (*found.inputs, *found.outputs)] == [odd] * 2


def test_what_a_failed_task_leaves_is_not_live(anywhere) -> None:
    place = f"/left-{time.time_ns()}"
    with Store.open(anywhere) as store:
        run = RunRecord.start(store, "p", f"r-{time.time_ns()}", "/root")
        task = run.start_task("t", fingerprint="f")
        record = ArtifactRecord("o", place, metadata={"digest": "d"})
        run.finish_task(task, State.FAILED, outputs={"o": [record]})
        (left,) = store.artifacts_at(place)
        assert left.State.Name(left.state) == "ABANDONED"
        importer = run.start_task("i", kind="system.ImporterExecution")
        made = run.finish_task(importer, State.COMPLETE, outputs={"artifact": [record]})
        assert made["artifact"][0].id != left.id
