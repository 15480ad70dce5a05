"""One registry over HTTP: authorization, retries, and redirects that never carry credentials."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

from mfbuild.errors import FetchError, UsageError
from mfbuild.http.parallel import Tick
from mfbuild.oci.auth import Challenge, Credentials, Lookup, docker_credentials

if TYPE_CHECKING:
    import requests

T = TypeVar("T")
Body = bytes | Iterable[bytes]
"""What a request sends. An iterable has a length, and begins anew whenever it is iterated."""

ATTEMPTS = 5
PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Answers after which the same request is worth sending again."""

REFUSALS = (401, 403)

REDIRECTS = 5
TIMEOUT = (15.0, 60.0)
"""Seconds to connect, and to wait for more bytes."""

STORING = (15.0, 300.0)
"""The same for a request with content: registries may copy it before they answer."""

LOCAL = ("localhost", "127.0.0.1", "::1")
_CONNECTIONS = 32  # that are kept open
_REST = 1 << 16  # bytes of an answer that are worth reading for the sake of its connection


class Passing(Exception):
    """A failure that may pass; `after` are the seconds that the server wants us to wait.

    `why` is what this machine says of it, if anything.
    """

    def __init__(self, reason: str, after: float | None = None, why: str = "") -> None:
        super().__init__(reason)
        self.reason, self.after, self.why = reason, after, why


class AnswerError(FetchError):
    """A final answer that is not 2xx: of which `host`, for which `path`, and the host's `words`."""

    status = 0
    host = path = words = ""

    @classmethod
    def of(cls, host: str, path: str, status: int, words: str) -> AnswerError:
        """The error for an answer of `host`."""
        hint = None
        if status in REFUSALS:
            message = f"`{host}` refuses access to `{path}`"
            hint = f"log in first, for example with `docker login {host}`"
        elif status == 404:
            message = f"`{host}` does not have `{path}`"
        else:
            message = f"`{host}` answered `{status}` for `{path}`{words and ': '}{words}"
        error = cls(message, hint=hint)
        error.host, error.path, error.status, error.words = host, path, status, words
        return error

    def passing(self) -> Passing:
        """The same, where it is worth another try."""
        return Passing(f"answered `{self.status}`{self.words and ': '}{self.words}")


class Registry:
    """One registry, by its `host[:port]`; it may be shared between threads.

    It is spoken to by https, by http only on this machine. `lookup` gives the credentials for a
    host; they go to that host and to the token server that it names, and never along a redirect
    or to an upload's address elsewhere.
    """

    def __init__(
        self, host: str, lookup: Lookup | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.host = host
        self._url = f"{'http' if _is_local(host) else 'https'}://{host}"
        self._lookup = lookup or partial(docker_credentials, environ=os.environ)
        self._sleep = sleep
        self._lock = threading.Lock()
        self._authorizations: dict[str, str] = {}
        self._connections: requests.Session | None = None

    def persist(self, path: str, attempt: Callable[[], T], tick: Tick) -> T:
        """What `attempt` gives; it is made again while it fails with Passing.

        FetchError, which names `path`, when it stays so. `tick` may end the waiting.
        """
        for number in range(1, ATTEMPTS + 1):
            try:
                return attempt()
            except Passing as error:
                failure = error
            if number < ATTEMPTS:
                wait = failure.after or 0.25 * 2**number * random.uniform(0.5, 1.5)
                pause(wait, tick, self._sleep)
        why = f": {failure.why}" if failure.why else ""
        said = f"the registry {failure.reason}, {ATTEMPTS} times{why}"
        raise FetchError(f"`{self.host}{path}`: {said}")

    def ask(
        self,
        method: str,
        url: str,
        *,
        scope: str,
        read: Callable[[requests.Response], T],
        headers: Mapping[str, str] | None = None,
        body: Body = b"",
    ) -> T:
        """What `read` makes of the answer (2xx) to a request.

        `url` is a path, or a whole address that the registry gave. `scope` is what a bearer token
        is asked for. Passing where the same may work later (a connection that breaks, also inside
        `read`; an answer of `PASSING`); AnswerError after another answer; FetchError.
        """
        with (
            self.translated(),
            self.open(method, url, scope=scope, headers=headers, body=body) as response,
        ):
            found = read(response)
            _drain(response)
            return found

    def open(
        self,
        method: str,
        url: str,
        *,
        scope: str,
        headers: Mapping[str, str] | None = None,
        body: Body = b"",
    ) -> requests.Response:
        """The answer to a request as `ask` sends it, not read yet; the caller closes it.

        To be called, and read from, inside `translated`.
        """
        address = url if "://" in url else self._url + url
        response = self._authorized(method, address, scope, headers or {}, body)
        if 200 <= response.status_code < 300:
            return response
        with response:
            failure = self._failure(response, url)
            _drain(response)
            raise failure

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Exceptions of requests become Passing, or FetchError if they would come again.

        Their messages are left out: they hold whole addresses, and those of redirects are signed.
        """
        import requests

        try:
            yield
        except requests.exceptions.SSLError:
            hint = "trust its authority through REQUESTS_CA_BUNDLE if the registry is your own"
            message = f"the TLS certificate of `{self.host}` is not accepted"
            raise FetchError(message, hint=hint) from None
        except requests.Timeout:
            raise Passing("did not answer in time") from None
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            reason = "could not be reached, or broke the connection"
            raise Passing(reason, why=_why(error)) from None
        except (requests.RequestException, UnicodeError) as error:
            # Addresses that lead nowhere, mostly; UnicodeError is how requests fails over some.
            raise FetchError(f"`{self.host}` cannot be asked: {type(error).__name__}") from None

    def _authorized(
        self, method: str, url: str, scope: str, headers: Mapping[str, str], body: Body
    ) -> requests.Response:
        """Send a request, authorized as far as the registry itself asks for it."""
        used = self._authorizations.get(scope)
        response = self._follow(method, url, headers, used, body)
        if response.status_code != 401 or _origin(response.url) != _origin(self._url):
            return response
        with response, self._lock:
            renewed = self._authorizations.get(scope)
            if renewed == used:
                header = response.headers.get("WWW-Authenticate", "")
                renewed = self._authorize(Challenge.parse(header), scope)
                if renewed is None:
                    raise self._failure(response, url)
                self._authorizations[scope] = renewed
            _drain(response)
        return self._follow(method, url, headers, renewed, body)

    def _follow(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        authorization: str | None,
        body: Body = b"",
        *,
        own: str | None = None,
    ) -> requests.Response:
        """Send a request and follow its redirects; only the origin of `own` sees `authorization`.

        `own` is an address at the registry, unless said otherwise.
        """
        own = own or self._url
        for _ in range(REDIRECTS):
            url = _as_sent(url)
            if urlsplit(url).scheme not in ("https", urlsplit(own).scheme):
                raise FetchError(f"`{self.host}` redirects to an address that is not https")
            secret = authorization if _origin(url) == _origin(own) else None
            allowed = {"Authorization": secret} if secret else {}
            response = self._send(method, url, {**headers, **allowed}, body)
            if not response.is_redirect:
                return response
            with response:
                _drain(response)
            url = location(response) or ""
        raise FetchError(f"`{self.host}` redirects more than {REDIRECTS} times")

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | Mapping[str, str]
    ) -> requests.Response:
        local = urlsplit(url).hostname in LOCAL
        return self._session().request(
            method,
            url,
            headers=headers,
            data=body,
            allow_redirects=False,
            stream=True,
            timeout=STORING if body else TIMEOUT,
            proxies={"no_proxy": ",".join(LOCAL)} if local else None,
            verify=ca_bundle(os.environ) if url.startswith("https:") else None,
        )

    def _authorize(self, challenge: Challenge | None, scope: str) -> str | None:
        """The Authorization that `challenge` asks for; None if nobody is logged in."""
        if challenge is None:
            return None
        known = self._lookup(self.host)
        if challenge.scheme == "basic":
            return known.basic() if known else None
        named = challenge.parameters.get("realm", "")
        realm = _as_sent(named) if "://" in named else ""
        where = urlsplit(realm)
        if where.scheme != "https" and not (where.scheme == "http" and where.hostname in LOCAL):
            raise FetchError(f"`{self.host}` names a token server that is not https: `{named}`")
        service = challenge.parameters.get("service")
        return self._token(realm, scope, {"service": service} if service else {}, known)

    def _token(
        self, realm: str, scope: str, asked: Mapping[str, str], known: Credentials | None
    ) -> str | None:
        """A bearer token from the server `realm` (distribution's token and oauth2 documents)."""
        if known and known.identity_token:
            grant = {"grant_type": "refresh_token", "client_id": "mfbuild", "scope": scope}
            # Not along a redirect: the content is the secret.
            form = {**asked, **grant, "refresh_token": known.identity_token}
            response = self._send("POST", realm, {}, form)
        else:
            query = urlencode({**asked, "scope": scope.split()}, doseq=True)
            url = f"{realm}{'&' if '?' in realm else '?'}{query}"
            response = self._follow("GET", url, {}, known.basic() if known else None, own=realm)
        with response:
            if response.status_code in PASSING:
                raise Passing("has a token server that is busy", _retry_after(response))
            if response.status_code in (400, 401, 403):
                return None
            try:
                answer = response.json()
                return f"Bearer {answer.get('token') or answer['access_token']}"
            except (ValueError, KeyError, AttributeError):
                raise FetchError(f"`{self.host}` has a token server without tokens") from None

    def _session(self) -> requests.Session:
        import requests

        if self._connections is None:
            session = requests.Session()
            session.headers.update({"User-Agent": "mfbuild", "Accept-Encoding": "identity"})
            # An authentication of its own keeps requests from looking into ~/.netrc.
            session.auth = _as_it_is
            for scheme in ("http://", "https://"):
                session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=_CONNECTIONS))
            self._connections = session
        return self._connections

    def _failure(self, response: requests.Response, url: str) -> Passing | AnswerError:
        """What an answer that is not 2xx means."""
        if response.status_code in PASSING:
            return Passing(f"answered `{response.status_code}`", _retry_after(response))
        path = urlsplit(url).path  # queries hold the state of uploads
        return AnswerError.of(self.host, path, response.status_code, _words(response))


def _why(error: BaseException) -> str:
    """The system's words for what lies below `error`, which hold no address; "" without any."""
    return str(getattr(root_of(error), "strerror", None) or "").lower()


def root_of(error: BaseException) -> BaseException:
    """What `error` came of in the end."""
    while below := error.__cause__ or error.__context__:
        error = below
    return error


def pause(seconds: float, tick: Tick, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait, in small pieces so that `tick` can end it."""
    while seconds > 0:
        tick(0)
        sleep(min(seconds, 0.25))
        seconds -= 0.25


def ca_bundle(environ: Mapping[str, str]) -> str | None:
    """The file or folder of authorities that requests goes by; None for its own.

    UsageError if it is not there, over which requests would fail with an OSError.
    """
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if path := environ.get(name):
            if not Path(path).exists():
                raise UsageError(f"`{name}` names `{path}`, which is not there")
            return path
    return None


def location(response: requests.Response) -> str | None:
    """Where an answer says to go on, which may be anywhere; None if it does not say."""
    header = response.headers.get("Location")
    try:
        return header and urljoin(response.url, header)
    except ValueError:
        raise FetchError(f"`{host_of(response)}` gives an address that cannot be read") from None


def host_of(response: requests.Response) -> str:
    """Who answered, as `host[:port]`."""
    return urlsplit(response.url).netloc.rpartition("@")[2]


def _is_local(host: str) -> bool:
    return urlsplit(f"//{host}").hostname in LOCAL


def _as_sent(url: str) -> str:
    """`url` as requests reads it: `http://a\\@b/` is at `a` for it, and at `b` for urlsplit."""
    import requests

    return requests.Request("GET", url).prepare().url or ""


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port (RFC 6454)."""
    at = urlsplit(url)
    return at.scheme, at.hostname, at.port or {"https": 443, "http": 80}.get(at.scheme)


def _as_it_is(request: T) -> T:
    return request


def _drain(response: requests.Response) -> None:
    """Read what is left of a short answer, so that its connection can be used again."""
    left = response.raw.length_remaining
    if left is not None and left <= _REST:
        response.raw.drain_conn()


def _retry_after(response: requests.Response) -> float | None:
    """The seconds of a Retry-After header (RFC 9110 section 10.2.3), at most a minute."""
    value = response.headers.get("Retry-After", "")
    return min(float(value), 60.0) if value.isdecimal() else None


def _words(response: requests.Response) -> str:
    """What the registry says of its error (distribution-spec, "Error Codes"), fit to be shown."""
    try:
        first = json.loads(next(response.iter_content(_REST), b""))["errors"][0]
        words = f"{first.get('code')}: {first.get('message')}"
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""
    return "".join(c for c in words[:200] if c.isprintable())
