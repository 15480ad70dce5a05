"""The read side of a registry client (OCI distribution-spec) and the fetcher of `oci:` sources."""

from __future__ import annotations

import hashlib
import json
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

from mfbuild.engine.model import Blob, Digest, Source
from mfbuild.errors import FetchError
from mfbuild.oci.auth import Challenge, Credentials, Lookup, docker_credentials
from mfbuild.oci.layout import MAX_DOCUMENT, Extent, blob_name
from mfbuild.oci.reference import Reference
from mfbuild.oci.types import INDEX_TYPES, MANIFEST_TYPES

if TYPE_CHECKING:
    import requests

T = TypeVar("T")
Tick = Callable[[int], None]

ATTEMPTS = 5
PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Answers after which the same request is worth sending again."""

REDIRECTS = 5
TIMEOUT = (15.0, 60.0)
"""Seconds to connect, and to wait for more bytes."""

LOCAL = ("localhost", "127.0.0.1", "::1")
_PIECE = 1 << 20


class Registry:
    """One registry, by its `host[:port]`; it may be shared between threads.

    It is spoken to by https, by http only on this machine. `lookup` gives the credentials for a
    host; they go to that host and to the token server that it names, never along a redirect.
    """

    def __init__(
        self, host: str, lookup: Lookup | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.host = host
        self._lookup = lookup or partial(docker_credentials, environ=os.environ)
        self._sleep = sleep
        self._lock = threading.Lock()
        self._authorizations: dict[str, str] = {}
        self._connections: requests.Session | None = None

    def get(
        self,
        path: str,
        *,
        scope: str,
        headers: Callable[[], Mapping[str, str]],
        read: Callable[[requests.Response], T],
        tick: Tick,
    ) -> T:
        """What `read` makes of the answer to GET `path`.

        After a failure that may pass (a connection that breaks, also inside `read`; an answer of
        `PASSING`) both are done again, with `headers()` asked for anew. `scope` is what a bearer
        token is asked for. FetchError when it stays so, or at any other answer but 2xx.
        """
        import requests

        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._send(path, scope, headers()) as response:
                    if response.ok:
                        return read(response)
                    failure = _Passing(f"answered `{response.status_code}`", _retry_after(response))
                    if response.status_code not in PASSING:
                        raise _refusal(response, self.host, path)
            except _Passing as error:
                failure = error
            except requests.RequestException as error:
                failure = _broken(error, self.host)
            if attempt < ATTEMPTS:
                self._pause(failure.after or 0.25 * 2**attempt * random.uniform(0.5, 1.5), tick)
        raise FetchError(f"`{self.host}{path}`: the registry {failure.reason}, {ATTEMPTS} times")

    def _send(self, path: str, scope: str, headers: Mapping[str, str]) -> requests.Response:
        """GET `path`, authorized as far as the registry asks for it."""
        url = f"{'http' if _is_local(self.host) else 'https'}://{self.host}{path}"
        used = self._authorizations.get(scope)
        response = self._follow("GET", url, headers, used)
        if response.status_code != 401:
            return response
        with response, self._lock:
            renewed = self._authorizations.get(scope)
            if renewed == used:
                header = response.headers.get("WWW-Authenticate", "")
                renewed = self._authorize(Challenge.parse(header), scope)
                if renewed is None:
                    raise _refusal(response, self.host, path)
                self._authorizations[scope] = renewed
        return self._follow("GET", url, headers, renewed)

    def _follow(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        authorization: str | None,
        form: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send a request and follow its redirects; another origin never sees the authorization."""
        start = urlsplit(url)
        for _ in range(REDIRECTS):
            at = urlsplit(url)
            secret = at[:2] == start[:2] and authorization
            response = self._session().request(
                method,
                url,
                headers={**headers, **({"Authorization": authorization} if secret else {})},
                data=form,
                allow_redirects=False,
                stream=True,
                timeout=TIMEOUT,
                proxies={"no_proxy": ",".join(LOCAL)} if at.hostname in LOCAL else None,
            )
            if not response.is_redirect or form is not None:
                return response
            response.close()
            url = urljoin(url, response.headers["Location"])
            if urlsplit(url).scheme not in ("https", start.scheme):
                raise FetchError(f"`{self.host}` redirects to an address that is not https")
        raise FetchError(f"`{self.host}` redirects more than {REDIRECTS} times")

    def _authorize(self, challenge: Challenge | None, scope: str) -> str | None:
        """The Authorization that `challenge` asks for; None if nobody is logged in."""
        if challenge is None:
            return None
        known = self._lookup(self.host)
        if challenge.scheme == "basic":
            return known.basic() if known else None
        realm = challenge.parameters.get("realm", "")
        where = urlsplit(realm)
        if where.scheme != "https" and not (where.scheme == "http" and where.hostname in LOCAL):
            raise FetchError(f"`{self.host}` names a token server that is not https: `{realm}`")
        asked = {"scope": scope, "service": challenge.parameters.get("service", "")}
        return self._token(realm, {name: value for name, value in asked.items() if value}, known)

    def _token(self, realm: str, asked: Mapping[str, str], known: Credentials | None) -> str | None:
        """A bearer token from the server `realm` (distribution's token and oauth2 documents)."""
        if known and known.identity_token:
            grant = {"grant_type": "refresh_token", "client_id": "mfbuild"}
            form = {**asked, **grant, "refresh_token": known.identity_token}
            response = self._follow("POST", realm, {}, None, form)
        else:
            url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(asked)}"
            response = self._follow("GET", url, {}, known.basic() if known else None)
        with response:
            if response.status_code in PASSING:
                raise _Passing("has a token server that is busy", _retry_after(response))
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
            self._connections = session
        return self._connections

    def _pause(self, seconds: float, tick: Tick) -> None:
        """Wait, in small pieces so that ^C ends it."""
        while seconds > 0:
            tick(0)
            self._sleep(min(seconds, 0.25))
            seconds -= 0.25


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of a registry: where images are read from."""

    registry: Registry
    path: str

    def manifest(self, digest: Digest) -> bytes:
        """The manifest or index with this digest; FetchError."""
        accepted = ", ".join((*INDEX_TYPES, *MANIFEST_TYPES))
        return self._document(f"/v2/{self.path}/manifests/{digest}", {"Accept": accepted}, digest)

    def blob(self, digest: Digest) -> bytes:
        """A small blob, like a config; FetchError."""
        return self._document(f"/v2/{self.path}/blobs/{digest}", {}, digest)

    def download(self, blob: Blob, destination: Path, tick: Tick) -> None:
        """Write a blob to `destination`; a connection that breaks is taken up where it broke."""
        with destination.open("wb") as out:
            receiver = _Download(out, blob.size, tick)
            self.registry.get(
                f"/v2/{self.path}/blobs/{blob.digest}",
                scope=self._scope,
                headers=receiver.headers,
                read=receiver.receive,
                tick=tick,
            )
        self._check(receiver.digest.hexdigest(), blob.digest)

    def _document(self, url: str, headers: Mapping[str, str], digest: Digest) -> bytes:
        def receive(response: requests.Response) -> bytes:
            data = bytearray()
            for chunk in response.iter_content(_PIECE):
                data += chunk
                if len(data) > MAX_DOCUMENT:
                    raise FetchError(f"`{self}@{digest}` is larger than `{MAX_DOCUMENT}` bytes")
            return bytes(data)

        data = self.registry.get(
            url, scope=self._scope, headers=lambda: headers, read=receive, tick=lambda n: None
        )
        self._check(Digest.of(data).hex, digest)
        return data

    def _check(self, found: str, digest: Digest) -> None:
        if found != digest.hex:
            raise FetchError(f"`{self}@{digest}` is not what its digest promises")

    @property
    def _scope(self) -> str:
        return f"repository:{self.path}:pull"

    def __str__(self) -> str:
        return f"{self.registry.host}/{self.path}"


class OciFetcher:
    """The fetcher of `oci:<repository>@sha256:…` sources, in a registry or a layout on disk."""

    def __init__(self, open_registry: Callable[[str], Registry] = Registry) -> None:
        self._open = open_registry
        self._lock = threading.Lock()
        self._registries: dict[str, Registry] = {}

    def __call__(self, source: Source, destination: Path, tick: Tick) -> None:
        """Write the bytes of `source` to `destination`; FetchError."""
        reference = Reference.parse(source.locator.removeprefix("oci:"))
        if reference.directory is not None:
            _copy(reference.directory, source.blob, destination, tick)
            return
        with self._lock:
            if reference.host not in self._registries:
                self._registries[reference.host] = self._open(reference.host)
        registry = self._registries[reference.host]
        Repository(registry, reference.path).download(source.blob, destination, tick)


class _Passing(Exception):
    """A failure that may pass; `after` are the seconds that the server wants us to wait."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


class _Download:
    """What has arrived of a blob of `size` bytes."""

    def __init__(self, out: BinaryIO, size: int, tick: Tick) -> None:
        self.digest = hashlib.sha256()
        self._out = out
        self._size = size
        self._tick = tick
        self._done = 0

    def headers(self) -> Mapping[str, str]:
        return {"Range": f"bytes={self._done}-"} if self._done else {}

    def receive(self, response: requests.Response) -> None:
        if response.status_code != 206:
            self._out.seek(0)
            self._out.truncate()
            self._done, self.digest = 0, hashlib.sha256()
        for chunk in response.iter_content(_PIECE):
            self._done += len(chunk)
            if self._done > self._size:
                raise FetchError(f"a blob of `{self._size}` bytes arrived with more")
            self._out.write(chunk)
            self.digest.update(chunk)
            self._tick(len(chunk))
        if self._done < self._size:
            raise _Passing("ended the download too early")


def _copy(directory: Path, blob: Blob, destination: Path, tick: Tick) -> None:
    """Copy a blob out of a layout."""
    digest = hashlib.sha256()
    try:
        with destination.open("wb") as out:
            for chunk in Extent(directory / blob_name(blob.digest), 0, blob.size).chunks():
                digest.update(chunk)
                out.write(chunk)
                tick(len(chunk))
    except FileNotFoundError:
        raise FetchError(f"the layout `{directory}` does not have `{blob.digest}`") from None
    if digest.hexdigest() != blob.digest.hex:
        raise FetchError(f"`{blob.digest}` has changed in the layout `{directory}`")


def _is_local(host: str) -> bool:
    return urlsplit(f"//{host}").hostname in LOCAL


def _as_it_is(request: T) -> T:
    return request


def _broken(error: requests.RequestException, host: str) -> _Passing:
    """What a failed exchange means; FetchError if it would fail again.

    The message of `error` is left out: it holds whole addresses, and those of redirects are signed.
    """
    import requests

    if isinstance(error, requests.exceptions.SSLError):
        hint = "trust its authority through REQUESTS_CA_BUNDLE if the registry is your own"
        raise FetchError(f"the TLS certificate of `{host}` is not accepted", hint=hint) from None
    if isinstance(error, requests.Timeout):
        return _Passing("did not answer in time")
    if isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError):
        return _Passing("could not be reached, or broke the connection")
    raise FetchError(f"`{host}` cannot be asked: {type(error).__name__}") from None


def _retry_after(response: requests.Response) -> float | None:
    """The seconds of a Retry-After header (RFC 9110 section 10.2.3), at most a minute."""
    value = response.headers.get("Retry-After", "")
    return min(float(value), 60.0) if value.isdecimal() else None


def _refusal(response: requests.Response, host: str, path: str) -> FetchError:
    """The error that a final answer means, with the registry's own words where it has some."""
    status = response.status_code
    if status in (401, 403):
        hint = f"log in first, for example with `docker login {host}`"
        return FetchError(f"`{host}` refuses access to `{path}`", hint=hint)
    if status == 404:
        return FetchError(f"`{host}` does not have `{path}`")
    try:
        first = json.loads(next(response.iter_content(_PIECE), b""))["errors"][0]
        words = f": {first.get('code')}: {first.get('message')}"
    except (ValueError, LookupError, TypeError, AttributeError):
        words = ""
    told = "".join(c for c in words[:200] if c.isprintable())
    return FetchError(f"`{host}` answered `{status}` for `{path}`{told}")
