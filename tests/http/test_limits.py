"""Servers that are slow, or never done: a connection on which too little moves is a broken one."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from mfbuild.errors import UsageError
from mfbuild.http import limits
from mfbuild.http.errors import Passing, RequestError
from mfbuild.http.limits import LIMITS, SECONDS, SPEED, Limits, limits_of
from mfbuild.http.retry import ATTEMPTS
from mfbuild.http.stream import received
from tests.http.serving import Client, listening, nothing
from tests.registry import Answer, Request, scripted

DOCS = Path(__file__).parents[2] / "docs/network.md"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LIMITS", Limits(window=0.3))


def dripping(before: bytes, drop: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """Sends `before` at once, then bytes of `drop` one by one, 50 a second, for ever."""

    def behave(connection: socket.socket, ended: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(before)
        drip(connection, ended, drop)

    return behave


def drip(connection: socket.socket, ended: threading.Event, drop: bytes) -> None:
    while not ended.wait(0.02):
        connection.sendall(drop)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("before", "drop"),
    [
        (HEAD, b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"HTTP/1.1 ", b"2"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 60000\r\n\r\n", b"x"),
    ],
    ids=["body", "chunks", "headers", "status", "words"],
)
def test_a_server_that_drips(before: bytes, drop: bytes) -> None:
    """The timeout of a socket never sees it: each byte comes in time."""
    with (
        listening(dripping(before, drop)) as host,
        pytest.raises(Passing) as caught,
        Client().open("GET", f"http://{host}/") as found,
    ):
        found.read(100_000)
    assert caught.value.reason == "sends too little for too long"


@pytest.mark.usefixtures("hasty")
def test_it_is_asked_again() -> None:
    asked = []

    def behave(connection: socket.socket, ended: threading.Event) -> None:
        asked.append(connection.recv(65536))
        connection.sendall(HEAD)
        if len(asked) < 3:
            drip(connection, ended, b"x")
        connection.sendall(b"x" * 100_000)

    with listening(behave) as host:
        client = Client()
        pieces = received(
            lambda headers: client.open("GET", f"http://{host}/"),
            100_000,
            lambda attempt: client.persist(attempt, nothing),
        )
        assert b"".join(pieces) == b"x" * 100_000
    assert len(asked) == 3


@pytest.mark.usefixtures("hasty")
def test_a_reader_that_is_slow_is_not_the_servers_fault() -> None:
    with (
        scripted(lambda request: Answer(200, bytes(4 << 20))) as server,
        Client().open("GET", f"http://{server.host}/") as found,
    ):
        count = 0
        for piece in found.pieces():
            count += len(piece)
            if count in (1 << 17, 1 << 20):
                threading.Event().wait(0.5)
    assert count == 4 << 20


@pytest.mark.usefixtures("hasty")
def test_a_server_may_think_before_it_answers() -> None:
    def think(request: Request) -> Answer:
        threading.Event().wait(0.5)
        return Answer(200, b"x" * 2_000)

    with scripted(think) as server, Client().open("GET", f"http://{server.host}/") as found:
        assert found.read(5_000) == b"x" * 2_000


@pytest.mark.usefixtures("hasty")
def test_a_server_that_does_not_take_what_it_is_sent() -> None:
    def behave(connection: socket.socket, ended: threading.Event) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        while not ended.wait(0.02):
            connection.recv(1)

    with listening(behave) as host, pytest.raises(Passing) as caught:
        Client().open("PUT", f"http://{host}/", body=bytes(64 << 20))
    assert caught.value.reason == "did not answer in time"


def test_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LIMITS", Limits(silence=0.1, storing=0.1))
    client = Client()

    def silent(connection: socket.socket, ended: threading.Event) -> None:
        ended.wait()

    with listening(silent) as host:
        for body in (b"", b"x"):
            ask = partial(client.open, "PUT", f"http://{host}/", body=body)
            with pytest.raises(Passing, match="did not answer in time") as caught:
                client.persist(ask, nothing)
            assert caught.value.times == ATTEMPTS


def test_a_transfer_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LIMITS", Limits(seconds=0))
    message = "the server takes more than the `0` seconds of a transfer"
    with scripted(lambda request: Answer(200, bytes(1 << 20))) as server:
        url = f"http://{server.host}/"
        with Client().open("GET", url) as found, pytest.raises(RequestError) as caught:
            found.read(1)
        assert (str(caught.value), caught.value.hint) == (message, f"`{SECONDS}` allows more")
        with pytest.raises(RequestError) as caught:
            Client().open("PUT", url, body=b"x")
        assert str(caught.value) == message


def test_who_gets_a_little_further_each_time_ends_as_well() -> None:
    """Of a file, all attempts together have the time that there is."""
    client = Client({SECONDS: "1"})

    def endless(request: Request) -> Answer:
        start = int(re.sub(r"\D", "", request.headers.get("Range", "0")))
        told = {"Content-Range": f"bytes {start}-/*"}
        return Answer(206, bytes(300_000), told, cut=200_000)

    with scripted(endless) as server, pytest.raises(RequestError, match="takes more than the `1`"):
        for _ in received(
            lambda headers: client.open("GET", f"http://{server.host}/", headers=headers),
            10**12,
            lambda attempt: client.persist(attempt, nothing),
        ):
            pass
    assert len(server.seen) > ATTEMPTS


def test_they_are_settable() -> None:
    assert limits_of({}) is LIMITS
    assert limits_of({SECONDS: "7200", SPEED: "50"}) == Limits(seconds=7200, speed=50)
    assert Client({SECONDS: "9"}).limits.seconds == 9


@pytest.mark.parametrize("name", [SECONDS, SPEED])
@pytest.mark.parametrize("text", ["0", "-1", "1.5", "soon", "1e3", " 1", "9" * 5000, "\u0663"])
def test_what_is_no_number(name: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        limits_of({name: text})
    assert str(caught.value).startswith(f"`{name}` must be a whole number above 0, not `")


def test_they_are_documented() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", DOCS.read_text(), re.MULTILINE))
    assert rows == {SECONDS: str(LIMITS.seconds), SPEED: str(LIMITS.speed)}
