"""What is used of requests: how it reads addresses and proxies, and its connections.

Its sessions are not: they read ~/.netrc and the environment, keep cookies, and read the whole
content of a redirect, however long, to see where it leads.
"""

from __future__ import annotations

import http.client
import io
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection

from mfbuild.files import words_of
from mfbuild.http.addresses import is_local, origin
from mfbuild.http.errors import CertificateError, Passing, RequestError
from mfbuild.http.limits import Limits

T = TypeVar("T")

_CONNECTIONS = 32  # that are kept open
_BROKEN = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
"""What TLS says of a connection that ended, where nothing is wrong with a certificate."""


class _TooSlow(TimeoutError):
    """Less arrives than is to be had patience with."""


def new_adapter(limits: Limits, warns: bool) -> HTTPAdapter:
    """Connections for any number of threads; `warns` of certificates that are not verified."""
    if not warns:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return _Adapter(limits)


def prepared(
    method: str, url: str, headers: Mapping[str, str], body: Any
) -> requests.PreparedRequest:
    """A request that an adapter can send; RequestError if there is no way to."""
    with translated():
        # An authentication of its own keeps requests from reading logins out of addresses.
        return requests.Request(method, url, headers, data=body, auth=_as_it_is).prepare()


def proxies(url: str) -> dict[str, str]:
    """The proxies on the way to `url`, as variables and the system name them."""
    return {} if is_local(url) else get_environ_proxies(url)


def as_sent(url: str) -> str:
    """`url` as requests reads it: `http://a\\@b/` is at `a` for it, and at `b` for urlsplit.

    RequestError if there is no way to read it.
    """
    with translated():
        url = prepared("GET", url, {}, b"").url or ""
        origin(url)
        return url


@contextmanager
def translated() -> Iterator[None]:
    """Exceptions of requests become Passing, or RequestError if they would come again.

    Their messages are left out: they hold whole addresses, which may be signed.
    """
    try:
        yield
    except (requests.exceptions.SSLError, urllib3.exceptions.SSLError) as error:
        if isinstance(_root_of(error), _BROKEN):
            raise _broken(error) from None
        raise CertificateError from None
    except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
        raise _late(error) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
        if _is_about_address(error):
            raise RequestError(f"cannot be asked: {type(error).__name__}") from None
        raise _broken(error) from None


def _is_about_address(error: Exception) -> bool:
    """Whether an address or a header cannot be sent at all; ValueErrors are of nothing else."""
    broken = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)
    return isinstance(error, ValueError) or (
        isinstance(error, requests.RequestException) and not isinstance(error, broken)
    )


def _late(error: Exception) -> Passing:
    slow = isinstance(_root_of(error), _TooSlow)
    return Passing("sends too little for too long" if slow else "did not answer in time")


def _broken(error: Exception) -> Passing:
    if isinstance(_root_of(error), TimeoutError):
        return _late(error)
    root = _root_of(error)  # others than the system's may quote an address
    why = words_of(root) if isinstance(root, OSError) and root.strerror else ""
    return Passing("could not be reached, or broke the connection", why=why)


def _root_of(error: BaseException) -> BaseException:
    """What `error` came of in the end."""
    while below := error.__cause__ or error.__context__:
        error = below
    return error


def _as_it_is(request: T) -> T:
    return request


class _Adapter(HTTPAdapter):
    """requests' own, but for connections that are watched."""

    def __init__(self, limits: Limits) -> None:
        self._watched = {
            plain: _watched(plain, limits) for plain in (HTTPConnection, HTTPSConnection)
        }
        super().__init__(pool_maxsize=_CONNECTIONS)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = self._watched.get(pool.ConnectionCls, pool.ConnectionCls)
        return pool


def _watched(plain: Any, limits: Limits) -> Any:
    """A class of connections that end where bytes move too slowly, either way."""

    class Response(http.client.HTTPResponse):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.fp = io.BufferedReader(_Arriving(self.fp.detach(), limits))

    class Connection(plain):  # type: ignore[misc]
        response_class = Response

        def send(self, data: Any) -> None:
            if self.sock is not None:
                self.sock.settimeout(limits.window)
            super().send(data)

    return Connection


class _Arriving(io.RawIOBase):
    """What a socket receives; only the time counts in which it was waited for more."""

    def __init__(self, socket: io.RawIOBase, limits: Limits) -> None:
        self._socket, self._limits = socket, limits
        self._begun, self._waited, self._count = False, 0.0, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._waited >= self._limits.window:
            if self._count < self._limits.speed * self._waited:
                raise _TooSlow
            self._waited, self._count = 0.0, 0
        began = time.monotonic()
        count = self._socket.readinto(buffer)
        if self._begun:
            self._waited += time.monotonic() - began
        self._begun = True  # a server may think before it answers
        self._count += count or 0
        return count

    def close(self) -> None:
        self._socket.close()
        super().close()
