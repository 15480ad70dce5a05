"""The one HTTP client: redirects that never carry credentials, answers that are final or pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urljoin, urlsplit

from mfbuild.http.addresses import Login, origin
from mfbuild.http.errors import Passing, RequestError, StatusError
from mfbuild.http.limits import Deadline, limits_of
from mfbuild.http.parallel import Tick
from mfbuild.http.retry import persist
from mfbuild.http.trust import Trust

if TYPE_CHECKING:
    import requests
    from requests.adapters import HTTPAdapter

T = TypeVar("T")
Body = bytes | Iterable[bytes]
"""What a request sends. An iterable has a length, and begins anew whenever it is iterated."""

PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Answers after which the same request is worth sending again."""

REDIRECTS = 10

_HEADERS = {"User-Agent": "mfbuild", "Accept": "*/*", "Accept-Encoding": "identity"}
_PIECE = 1 << 17  # as much is lost where a connection breaks
_REST = 1 << 16  # bytes of an answer that are worth reading for the sake of its connection
_MOVED = (301, 302, 303, 307, 308)


class HttpClient:
    """Requests over HTTP; it may be shared between threads, and keeps its connections open.

    UsageError where the environment's limits are none.
    """

    def __init__(self, trust: Trust, sleep: Callable[[float], None] = time.sleep) -> None:
        self.environ = trust.environ
        self.limits = limits_of(trust.environ)
        self._trust, self._sleep = trust, sleep
        self._lock = threading.Lock()
        self._adapter: HTTPAdapter | None = None

    def persist(self, attempt: Callable[[], T], tick: Tick) -> T:
        """What `attempt` gives, made again as `retry.persist` says."""
        return persist(attempt, tick, self._sleep, self.limits.seconds)

    def open(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body = b"",
        login: Login | None = None,
        follow: bool = True,
    ) -> Response:
        """The answer (2xx) to a request, not read yet; the caller closes it.

        Redirects are followed, from https to https alone. Passing where the same may work later,
        because of the StatusError that caused it if there was an answer; StatusError after another
        answer; RequestError; UsageError where there are no certificates to trust.
        """
        from mfbuild.http.connections import as_sent

        url, deadline = as_sent(url), Deadline(self.limits)
        for _ in range(REDIRECTS + 1):
            seen = login and origin(url) == origin(login.of)
            allowed = {"Authorization": login.value} if login and seen else {}
            sent = {**_HEADERS, **(headers or {}), **allowed}
            response = self._send(method, url, sent, body, deadline)
            if not (follow and response.is_redirect):
                return _successful(response)
            with response:
                target = as_sent(response.target())
            if urlsplit(target).scheme not in ("https", urlsplit(url).scheme):
                raise RequestError("redirects to an address that is not https")
            url = target
        raise RequestError(f"redirects more than {REDIRECTS} times")

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: Body, deadline: Deadline
    ) -> Response:
        from mfbuild.http.connections import prepared, proxies, translated

        verify = self._trust.verify() if url.startswith("https:") else True
        request = prepared(method, url, headers, _Sent(body, deadline) if body else b"")
        with translated():
            answer = self._connections().send(
                request,
                stream=True,
                timeout=self.limits.timeout(sends=bool(body)),
                verify=verify,
                proxies=proxies(url),
            )
        return Response(answer, deadline)

    def _connections(self) -> HTTPAdapter:
        from mfbuild.http.connections import new_adapter

        with self._lock:
            if self._adapter is None:
                self._adapter = new_adapter(self.limits, warns=not self._trust.anybody)
            return self._adapter


@dataclass(frozen=True, slots=True)
class _Sent:
    """A body in pieces, each as small as the slowest connection takes in the time it has."""

    body: Body
    deadline: Deadline

    def __len__(self) -> int:
        return len(self.body)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[bytes]:
        limits = self.deadline.limits
        size = max(1, int(limits.speed * limits.window))
        for whole in [self.body] if isinstance(self.body, bytes) else self.body:
            for start in range(0, len(whole), size):
                self.deadline.check()
                yield whole[start : start + size]


class Response:
    """An answer, not read yet; what is left of a short one is read where it is closed in order.

    `deadline` is when the transfer that it is of is to have ended.
    """

    def __init__(self, answer: requests.Response, deadline: Deadline) -> None:
        self._answer, self.deadline = answer, deadline
        self.status, self.headers, self.url = answer.status_code, answer.headers, answer.url

    def __enter__(self) -> Response:
        return self

    def __exit__(self, kind: type[BaseException] | None, *more: TracebackType | object) -> None:
        if kind is None:
            self._drain()
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._answer.close()

    @property
    def host(self) -> str:
        """Who answered, as `host[:port]`."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def is_redirect(self) -> bool:
        """Whether it leads to another address."""
        return self.status in _MOVED and "Location" in self.headers

    def target(self) -> str:
        """Where it redirects to. RequestError."""
        if target := self.location():
            return target
        raise RequestError("redirects to no address")

    def location(self) -> str | None:
        """Where it says to go on, which may be anywhere; None if it does not say. RequestError."""
        header = self.headers.get("Location")
        if not header:
            return None
        with suppress(UnicodeError):  # http.client takes every header for Latin 1
            header = header.encode("latin-1").decode()
        try:
            return urljoin(self.url, header)
        except ValueError:
            raise RequestError("gives an address that cannot be read") from None

    def pieces(self) -> Iterator[bytes]:
        """The content as it was sent, in pieces; Passing, or RequestError over the deadline."""
        from mfbuild.http.connections import translated

        with translated():
            for piece in self._answer.raw.stream(_PIECE, decode_content=False):
                self.deadline.check()
                yield piece

    def read(self, most: int) -> bytes:
        """The first `most` bytes of the content; Passing."""
        data = bytearray()
        for piece in self.pieces():
            data += piece
            if len(data) >= most:
                break
        return bytes(data[:most])

    def _drain(self) -> None:
        """Read what is left, so that the connection can be used again."""
        left = self._answer.raw.length_remaining
        if left is not None and left <= _REST:
            self._answer.raw.drain_conn()


def _successful(response: Response) -> Response:
    """`response` if it is 2xx, else what it means."""
    if 200 <= response.status < 300:
        return response
    with response:
        failure = _failure(response)
    raise failure


def _failure(response: Response) -> Passing | StatusError:
    body = response.read(_REST)
    error = StatusError(response.status, response.headers, response.url, body)
    if response.status not in PASSING:
        return error
    passing = Passing(f"answered `{response.status}`", _retry_after(response.headers))
    passing.__cause__ = error
    return passing


def _retry_after(headers: Mapping[str, str]) -> float:
    """The seconds of a Retry-After header (RFC 9110 section 10.2.3); a date is by its clock."""
    value = headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    now = _date(headers.get("Date", "")) or datetime.now(timezone.utc)
    then = _date(value)
    return max(0.0, (then - now).total_seconds()) if then else 0.0


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)
