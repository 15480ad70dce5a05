"""A proxy in front of a real registry that breaks the requests it is told to break."""

from __future__ import annotations

import http.client
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

from tests.registry import Answer
from tests.servers import Handler, serving


@dataclass(frozen=True)
class Seen:
    """A request as it arrived; `number` counts those of its kind."""

    kind: str
    number: int
    method: str
    path: str
    size: int


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request.

    `cut`: the connection breaks before anything is passed on, in the middle of the body, or after
    the registry has answered. `stall`: nobody ever answers. `answer`: instead of the registry.
    `headers`: what the registry's answer says otherwise.
    """

    cut: Literal["before", "middle", "after"] | None = None
    stall: bool = False
    answer: Answer | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    then: Callable[[], None] = lambda: None
    """Called when the fault has taken its effect, while the client still waits."""


Rule = Callable[[Seen], Fault | None]

_KINDS = (
    ("tag", r"(HEAD|GET|PUT) /v2/.+/manifests/(?!sha256:).+"),
    ("manifest", r"(HEAD|GET|PUT) /v2/.+/manifests/sha256:.+"),
    ("mount", r"(POST) /v2/.+/blobs/uploads/\?mount=.+"),
    ("upload", r"(POST) /v2/.+/blobs/uploads/"),
    ("upload", r"(GET|PATCH|PUT|DELETE) /v2/.+/blobs/uploads/.+"),
    ("blob", r"(HEAD|GET) /v2/.+/blobs/sha256:.+"),
)


def kind(method: str, path: str) -> str:
    """What a request is: `HEAD blob`, `PUT upload`, …"""
    for name, pattern in _KINDS:
        if re.fullmatch(pattern, f"{method} {path}"):
            return f"{method} {name}"
    return f"{method} other"


@dataclass
class Proxy:
    """A running proxy; `seen` has every request, in order."""

    host: str
    rule: Rule
    seen: list[Seen] = field(default_factory=list)

    def disturb(self, kind: str, fault: Fault, often: int = 1000) -> None:
        """Let `fault` befall the first requests of a kind."""
        self.rule = lambda seen: fault if seen.kind == kind and seen.number < often else None

    def count(self, kind: str) -> int:
        return sum(one.kind == kind for one in self.seen)


@contextmanager
def proxied(upstream: str, rule: Rule = lambda seen: None) -> Iterator[Proxy]:
    """Run a proxy on the loopback in front of the registry `upstream`."""
    lock = threading.Lock()

    class Connection(Handler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            with lock:
                named = kind(self.command, self.path)
                seen = Seen(named, proxy.count(named), self.command, self.path, size)
                proxy.seen.append(seen)
            fault = proxy.rule(seen) or Fault()
            # As far as it comes: the client may be killed, or end its request early.
            with suppress(OSError, http.client.HTTPException):
                self.carry_out(fault, size)

        do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

        def carry_out(self, fault: Fault, size: int) -> None:
            if fault.cut == "before":
                return self.hang_up(fault)
            if fault.cut == "middle":
                self.forward(self.rfile.read(size // 2))
                return self.hang_up(fault)
            body = self.rfile.read(size)
            if fault.stall:
                fault.then()
                self.rfile.read(1)  # nothing comes but the client's end
                return self.hang_up(Fault())
            answer = fault.answer or self.forward(body)
            if fault.cut == "after":
                return self.hang_up(fault)
            fault.then()
            self.answer(answer, fault.headers)

        def forward(self, body: bytes) -> Answer:
            """Pass the request on; where the body is too short, until the registry gives it up."""
            host, _, port = upstream.partition(":")
            connection = http.client.HTTPConnection(host, int(port))
            try:
                connection.putrequest(
                    self.command, self.path, skip_host=True, skip_accept_encoding=True
                )
                for name, value in self.headers.items():
                    connection.putheader(name, value)
                connection.endheaders(body)
                if len(body) < int(self.headers.get("Content-Length", 0)):
                    connection.sock.shutdown(socket.SHUT_WR)
                response = connection.getresponse()
                return Answer(response.status, response.read(), dict(response.getheaders()))
            finally:
                connection.close()

        def answer(self, answer: Answer, changed: Mapping[str, str]) -> None:
            headers = {name.title(): value for name, value in answer.headers.items()}
            headers = {"Content-Length": str(len(answer.body)), **headers, **changed}
            self.send_response(answer.status)
            for name, value in headers.items():
                if name != "Transfer-Encoding":
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def hang_up(self, fault: Fault) -> None:
            fault.then()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    with serving(Connection) as host:
        proxy = Proxy(host, rule)
        yield proxy
