"""A proxy for a database that cuts a connection between a COMMIT and its answer.

It is a process of its own, since MLMD's library holds Python's lock while it waits for a server.
Every line on its standard input has the next COMMIT cut off; it answers each with the number of
connections that it has cut until then.

    python cutting_proxy.py PORT
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading


class Proxy:
    """Forwards data between clients and a server."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._is_armed = False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.cuts = 0

    def cut(self) -> None:
        """Cuts the next connection that commits."""
        self._is_armed = True

    def accept(self) -> None:
        """Accepts connections for ever."""
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", self._port))
            is_cut = threading.Event()
            for work in (self._ask, self._answer):
                arguments = (client, server, is_cut)
                threading.Thread(target=work, args=arguments, daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket, is_cut: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while content := client.recv(1 << 16):
                if self._is_armed and b"COMMIT" in content.upper():
                    self._is_armed = False
                    is_cut.set()
                server.sendall(content)
        _close(client, server)

    def _answer(
        self, client: socket.socket, server: socket.socket, is_cut: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while content := server.recv(1 << 16):
                if is_cut.is_set():  # the server has committed, and answers
                    self.cuts += 1
                    break
                client.sendall(content)
        _close(client, server)


def _close(*ends: socket.socket) -> None:
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def main() -> None:
    """Prints the port, and serves until standard input ends."""
    proxy = Proxy(int(sys.argv[1]))
    _say(proxy.listener.getsockname()[1])
    threading.Thread(target=proxy.accept, daemon=True).start()
    for _ in sys.stdin:
        cuts = proxy.cuts
        proxy.cut()
        _say(cuts)


if __name__ == "__main__":
    main()
