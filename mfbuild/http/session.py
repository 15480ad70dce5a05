"""requests, as it is used: no cookies, no ~/.netrc, no environment but its proxies."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import DefaultCookiePolicy
from typing import TypeVar

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from mfbuild.errors import FetchError
from mfbuild.files import words_of
from mfbuild.http.addresses import is_local, origin
from mfbuild.http.retry import Passing

T = TypeVar("T")

_CONNECTIONS = 32  # that are kept open
_BROKEN = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
"""What TLS says of a connection that ended, where nothing is wrong with a certificate."""


class RequestError(FetchError):
    """A request that fails however often it is sent; `reason` says what its server does."""

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(f"the server {reason}", hint=hint)
        self.reason, self.hint = reason, hint


class CertificateError(RequestError):
    """The server's certificate is by no authority that is trusted, or not for its name."""

    def __init__(self) -> None:
        hint = "trust its authority through REQUESTS_CA_BUNDLE if the server is your own"
        super().__init__("shows a TLS certificate that is not accepted", hint)


def new_session(warns: bool) -> requests.Session:
    """A session for any number of threads; `warns` of certificates that are not verified."""
    if not warns:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    session = requests.Session()
    session.trust_env = False
    session.headers.update({"User-Agent": "mfbuild", "Accept-Encoding": "identity"})
    # An authentication of its own keeps requests from reading logins out of addresses.
    session.auth = _as_it_is
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))
    return session


def proxies(url: str) -> dict[str, str]:
    """The proxies on the way to `url`, as variables and the system name them."""
    return {} if is_local(url) else get_environ_proxies(url)


def as_sent(url: str) -> str:
    """`url` as requests reads it: `http://a\\@b/` is at `a` for it, and at `b` for urlsplit.

    RequestError if there is no way to read it.
    """
    with translated():
        url = requests.Request("GET", url).prepare().url or ""
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
    except (requests.Timeout, urllib3.exceptions.TimeoutError):
        raise Passing("did not answer in time") from None
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


def _broken(error: Exception) -> Passing:
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
