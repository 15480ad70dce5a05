"""What the tests of the client share: a client that does not wait, and sockets that misbehave."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from mfbuild.http.client import HttpClient
from mfbuild.http.trust import Trust


class Client(HttpClient):
    """A client of nobody's environment; `waited` are the seconds that it would have waited."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self.waited: list[float] = []
        super().__init__(Trust(environ or {}), self.waited.append)


def nothing(count: int) -> None:
    """A tick that ends nothing."""


@contextmanager
def listening(behave: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """Let each connection be a thread of `behave`, until its event is set; `host:port`."""
    ended = threading.Event()
    threads: list[threading.Thread] = []

    def run(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            behave(connection, ended)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.settimeout(10)
                threads.append(threading.Thread(target=run, args=[connection]))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            listener.shutdown(socket.SHUT_RDWR)
            for thread in [accepting, *threads]:
                thread.join()
