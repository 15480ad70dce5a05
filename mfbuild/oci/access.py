"""Access to one registry: who it lets in, by the login or token that it asks for, and its words."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

from mfbuild.engine.foreign import parse_json
from mfbuild.errors import FetchError
from mfbuild.http.addresses import LOCAL, Login, is_local, origin
from mfbuild.http.client import Body, HttpClient, Response
from mfbuild.http.errors import CertificateError, Passing, RequestError, StatusError
from mfbuild.http.parallel import Tick
from mfbuild.http.trust import Trust
from mfbuild.oci.auth import Challenge, Credentials, Lookup, docker_credentials

T = TypeVar("T")

REFUSALS = (401, 403)
_TOKEN = 1 << 16  # bytes of a token server's answer


class AnswerError(StatusError):
    """A final answer that is not 2xx: of which `host`, for which `path`, and the host's `words`."""

    def __init__(self, answer: StatusError, host: str, path: str) -> None:
        self.host, self.path, self.words = host, path, _words(answer.body)
        status, hint = answer.status, None
        if status in REFUSALS:
            message = f"`{host}` refuses access to `{path}`"
            hint = f"log in first, for example with `docker login {host}`"
        elif status == 404:
            message = f"`{host}` does not have `{path}`"
        else:
            words = self.words and f": {self.words}"
            message = f"`{host}` answered `{status}` for `{path}`{words}"
        super().__init__(status, answer.headers, answer.url, answer.body, message, hint)

    def passing(self) -> Passing:
        """The same, where it is worth another try."""
        return Passing(f"answered `{self.status}`{self.words and ': '}{self.words}")


class Registry:
    """One registry, by its `host[:port]`; it may be shared between threads.

    It is spoken to by https, by http only on this machine. `lookup` gives the credentials for
    `host/repository`, by default those that docker has in `environ`; they go to that host and to
    the token server that it names, and never along a redirect or to an upload's address elsewhere.
    """

    def __init__(
        self,
        host: str,
        environ: Mapping[str, str],
        lookup: Lookup | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.host = host
        self._url = f"{'http' if is_local(f'//{host}') else 'https'}://{host}"
        self._lookup = lookup or partial(docker_credentials, environ=environ)
        self._http = HttpClient(Trust(environ), sleep)
        self._lock = threading.Lock()
        self._authorizations: dict[str, Login] = {}

    def persist(self, path: str, attempt: Callable[[], T], tick: Tick) -> T:
        """What `attempt` gives; it is made again while it fails with Passing.

        FetchError, which names `path`, when it stays so. `tick` may end the waiting.
        """
        try:
            return self._http.persist(attempt, tick)
        except CertificateError as error:
            message = f"the TLS certificate of `{self.host}` is not accepted"
            raise FetchError(message, hint=error.hint) from None
        except RequestError as error:
            raise FetchError(f"`{self.host}` {error.reason}", hint=error.hint) from None
        except Passing as failure:
            why = f": {failure.why}" if failure.why else ""
            often = f", {failure.times} times" if failure.times > 1 else ""
            said = f"the registry {failure.reason}{often}{why}"
            raise FetchError(f"`{self.host}{path}`: {said}") from None

    def ask(
        self,
        method: str,
        url: str,
        *,
        scope: str,
        read: Callable[[Response], T],
        headers: Mapping[str, str] | None = None,
        body: Body = b"",
    ) -> T:
        """What `read` makes of the answer (2xx) to a request.

        `url` is a path, or a whole address that the registry gave. `scope` is what a bearer token
        is asked for. Passing where the same may work later (a connection that breaks, also inside
        `read`); AnswerError after another answer; FetchError.
        """
        with self.open(method, url, scope=scope, headers=headers, body=body) as response:
            return read(response)

    def open(
        self,
        method: str,
        url: str,
        *,
        scope: str,
        headers: Mapping[str, str] | None = None,
        body: Body = b"",
    ) -> Response:
        """The answer to a request as `ask` sends it, not read yet; the caller closes it."""
        address = url if "://" in url else self._url + url
        if urlsplit(address).scheme not in ("https", urlsplit(self._url).scheme):
            raise RequestError("leads to an address that is not https")
        send = partial(self._http.open, method, address, headers=headers, body=body)
        try:
            return self._authorized(send, scope)
        except StatusError as error:
            # Without the query, which holds the state of uploads.
            raise AnswerError(error, self.host, urlsplit(url).path) from None

    def _authorized(self, send: Callable[..., Response], scope: str) -> Response:
        """Send a request, authorized as far as the registry itself asks for it."""
        used = self._authorizations.get(scope)
        try:
            return send(login=used)
        except StatusError as error:
            if error.status != 401 or origin(error.url) != origin(self._url):
                raise
            refusal = error
        with self._lock:
            renewed = self._authorizations.get(scope)
            if renewed == used:
                header = refusal.headers.get("WWW-Authenticate", "")
                renewed = self._authorize(Challenge.parse(header), scope)
                if renewed is None:
                    raise refusal
                self._authorizations[scope] = renewed
        return send(login=renewed)

    def _authorize(self, challenge: Challenge | None, scope: str) -> Login | None:
        """What `challenge` asks for; None if nobody is logged in."""
        from mfbuild.http.connections import as_sent

        if challenge is None:
            return None
        known = self._lookup(f"{self.host}/{scope.split(':')[1]}")
        if challenge.scheme == "basic":
            return Login(self._url, known.basic()) if known else None
        named = challenge.parameters.get("realm", "")
        realm = as_sent(named) if "://" in named else ""
        where = urlsplit(realm)
        if where.scheme != "https" and not (where.scheme == "http" and where.hostname in LOCAL):
            raise FetchError(f"`{self.host}` names a token server that is not https: `{named}`")
        service = challenge.parameters.get("service")
        try:
            token = self._token(realm, scope, {"service": service} if service else {}, known)
        except Passing as failure:
            reason = f"has a token server that {failure.reason}"
            raise Passing(reason, failure.after, failure.why) from None
        return Login(self._url, f"Bearer {token}") if token else None

    def _token(
        self, realm: str, scope: str, asked: Mapping[str, str], known: Credentials | None
    ) -> str | None:
        """A bearer token from the server `realm` (distribution's token and oauth2 documents)."""
        try:
            with self._granted(realm, scope, asked, known) as response:
                data = response.read(_TOKEN)
        except StatusError as error:
            if error.status in (400, 401, 403):
                return None
            data = b""
        try:
            answer = parse_json(data)
            return str(answer.get("token") or answer["access_token"])
        except (ValueError, KeyError, AttributeError):
            raise FetchError(f"`{self.host}` has a token server without tokens") from None

    def _granted(
        self, realm: str, scope: str, asked: Mapping[str, str], known: Credentials | None
    ) -> Response:
        if known and known.identity_token:
            grant = {"grant_type": "refresh_token", "client_id": "mfbuild", "scope": scope}
            form = urlencode({**asked, **grant, "refresh_token": known.identity_token}).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            # Not along a redirect: the content is the secret.
            return self._http.open("POST", realm, headers=headers, body=form, follow=False)
        query = urlencode({**asked, "scope": scope.split()}, doseq=True)
        url = f"{realm}{'&' if '?' in realm else '?'}{query}"
        return self._http.open("GET", url, login=Login(realm, known.basic()) if known else None)


def _words(body: bytes) -> str:
    """What the registry says of its error (distribution-spec, "Error Codes"), fit to be shown."""
    try:
        first = parse_json(body)["errors"][0]
        words = f"{first.get('code')}: {first.get('message')}"
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""
    return "".join(c for c in words[:200] if c.isprintable())
