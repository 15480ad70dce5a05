"""Downloads that break: what goes on, what begins anew, and what is given up."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import settings as limited
from hypothesis import strategies as st

from mfbuild.http.errors import Passing, StatusError
from mfbuild.http.retry import ATTEMPTS
from mfbuild.http.stream import after, received
from tests.http.serving import Client, nothing
from tests.registry import Answer, Request, Script, Scripted, scripted

DATA = bytes(range(256)) * 4_000


def content(server: Scripted, size: int | None = len(DATA)) -> bytes:
    client = Client()
    pieces = received(
        lambda headers: client.open("GET", f"http://{server.host}/", headers=headers),
        size,
        lambda attempt: client.persist(attempt, nothing),
    )
    return b"".join(pieces)


def ranged(request: Request, data: bytes = DATA, cut: int | None = None) -> Answer:
    start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    if not start:
        return Answer(200, data, cut=cut)
    told = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
    return Answer(206, data[start:], told, cut=cut)


def breaking(cuts: list[int], otherwise: Callable[[Request, int | None], Answer]) -> Script:
    left = list(cuts)
    return lambda request: otherwise(request, left.pop(0) if left else None)


@limited(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, len(DATA) // 4), max_size=4), st.booleans(), st.booleans())
def test_whatever_breaks_the_content_is_whole(cuts: list[int], ranges: bool, sized: bool) -> None:
    def answer(request: Request, cut: int | None) -> Answer:
        return ranged(request, cut=cut) if ranges else Answer(200, DATA, cut=cut)

    with scripted(breaking(cuts, answer)) as server:
        assert content(server, len(DATA) if sized else None) == DATA
    assert len(server.seen) == len(cuts) + 1


def test_more_breaks_than_attempts() -> None:
    """Whoever gets further is not stopped by a count."""
    with scripted(lambda r: ranged(r, cut=100_000)) as server, pytest.raises(Passing):
        content(server, len(DATA) + 1)
    with scripted(breaking([100_000] * 9, lambda r, cut: ranged(r, cut=cut))) as server:
        assert content(server) == DATA
    assert len(server.seen) == 10 > ATTEMPTS


def test_a_server_that_never_gets_further() -> None:
    with scripted(lambda r: Answer(200, DATA, cut=100_000)) as server, pytest.raises(Passing):
        content(server)
    assert len(server.seen) == ATTEMPTS


def test_an_answer_that_is_shorter_than_what_is_known() -> None:
    with scripted(lambda r: ranged(r, DATA[:-1])) as server, pytest.raises(Passing):
        content(server)


@pytest.mark.parametrize(
    "wrong",
    [
        Answer(206, b"x" * 10, {"Content-Range": "bytes 0-9/10"}),
        Answer(206, b"x" * 10, {"Content-Range": "nonsense"}),
        Answer(416),
    ],
)
def test_a_server_that_does_not_go_on_where_it_stopped(wrong: Answer) -> None:
    """It is asked for the whole once more, of which the beginning is left out."""

    def answer(request: Request) -> Answer:
        if "Range" in request.headers:
            return wrong
        return Answer(200, DATA, cut=300_000 if len(server.seen) == 1 else None)

    with scripted(answer) as server:
        assert content(server) == DATA
    assert ["Range" in request.headers for request in server.seen] == [False, True, False]


def test_a_final_answer_in_between() -> None:
    left = [Answer(200, DATA, cut=1000), Answer(404)]
    with scripted(lambda r: left.pop(0)) as server, pytest.raises(StatusError):
        content(server)


@pytest.mark.parametrize("size", [0, None])
def test_nothing(size: int | None) -> None:
    with scripted(lambda r: Answer(200)) as server:
        assert content(server, size) == b""


def test_more_than_is_known_is_for_the_caller_to_refuse() -> None:
    with scripted(lambda r: Answer(200, DATA + b"more")) as server:
        assert content(server) == DATA + b"more"


@given(st.lists(st.binary(max_size=5)), st.integers(0, 30))
def test_what_is_left_out(pieces: list[bytes], offset: int) -> None:
    assert b"".join(after(pieces, offset)) == b"".join(pieces)[offset:]
