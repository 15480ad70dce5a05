"""Downloads from a Debian mirror: the Fetcher of `deb:<archive>/<path>`, and its index files."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from mfbuild.debian.apt import Mirror, mirrors
from mfbuild.engine.model import Source
from mfbuild.errors import FetchError
from mfbuild.http.parallel import Tick
from mfbuild.oci.access import Passing, ca_bundle, pause

if TYPE_CHECKING:
    from requests import Response, Session

_TIMEOUT = (15, 60)
_WAITS = (0.2, 1.0, 4.0)
_PIECE = 1 << 18
_connections = threading.local()


class Missing(FetchError):
    """The mirror does not have the file (404 or 410)."""


def fetch(source: Source, destination: Path, tick: Tick) -> None:
    """The Fetcher of `deb:<archive>/<path>`; FetchError names the package's file."""
    archive, _, path = source.locator.removeprefix("deb:").partition("/")
    mirror = mirrors(os.environ)[archive]
    try:
        download(mirror, path, destination, tick, limit=source.blob.size)
    except Missing as error:
        raise FetchError(
            f"`{path.rpartition('/')[2]}` is no longer on the Debian mirror",
            hint="run `mfbuild lock --images`: newer versions take the place of locked ones",
        ) from error


def download(
    mirror: Mirror,
    path: str,
    destination: Path,
    tick: Tick,
    *,
    limit: int,
    waits: Sequence[float] = _WAITS,
) -> None:
    """Write the file at `path` of `mirror`, at most `limit` bytes, to `destination`.

    A connection that breaks and an answer of 5xx or 429 are tried again after each of `waits`
    seconds. Raises Missing, FetchError, or UsageError where there are no certificates to trust.
    """
    for wait in (*waits, None):
        try:
            return _attempt(mirror, path, destination, tick, limit)
        except Passing as error:
            if wait is None:
                name = path.rpartition("/")[2]
                raise FetchError(f"downloading `{name}` from the Debian mirror: {error}") from error
        pause(wait, tick)


def _attempt(mirror: Mirror, path: str, destination: Path, tick: Tick, limit: int) -> None:
    import requests

    url = f"{mirror.url}/{quote(path, safe='/+~:=@!$,')}"
    # The transfer must not be decoded on the way: digests are of the bytes as they are stored.
    headers = {"Accept-Encoding": "identity"}
    verify = ca_bundle(os.environ)
    try:
        with _session().get(
            url, stream=True, timeout=_TIMEOUT, headers=headers, verify=verify
        ) as response:
            _check(response, path)
            _save(response, path, destination, tick, limit)
    except requests.exceptions.RequestException as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise FetchError("the certificate of the Debian mirror cannot be verified") from error
        # The text of these errors holds the URL, and that may hold a password.
        raise Passing(f"the connection failed ({type(error).__name__})") from error


def _session() -> Session:
    """This thread's connections: a lock has a hundred packages, and mirrors are slow to greet."""
    import requests

    if not hasattr(_connections, "session"):
        _connections.session = requests.Session()
    session: Session = _connections.session
    return session


def _check(response: Response, path: str) -> None:
    hops = [urlsplit(r.url).scheme for r in (*response.history, response)]
    if hops[0] == "https" and set(hops) != {"https"}:
        raise FetchError("the Debian mirror redirects from https to http")
    if response.status_code in (404, 410):
        raise Missing(f"`{path}` is not on the Debian mirror")
    if response.status_code == 429 or response.status_code >= 500:
        raise Passing(f"the server answered {response.status_code}")
    if response.status_code != 200:
        raise FetchError(f"the Debian mirror answered {response.status_code} for `{path}`")


def _save(response: Response, path: str, destination: Path, tick: Tick, limit: int) -> None:
    done = 0
    with destination.open("wb") as out:
        for piece in response.iter_content(_PIECE):
            done += len(piece)
            if done > limit:
                raise FetchError(f"`{path}` on the Debian mirror is larger than {limit} bytes")
            out.write(piece)
            tick(len(piece))
    expected = response.headers.get("Content-Length")
    if expected and expected.isdigit() and done != int(expected):
        raise Passing(f"the connection ended after {done} of {expected} bytes")
