"""Downloads from a Debian mirror: the Fetcher of `deb:<archive>/<path>`, and its index files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from mfbuild.debian.apt import Mirror, mirrors
from mfbuild.engine.model import Fetcher, Source
from mfbuild.errors import FetchError
from mfbuild.http.addresses import Login, basic, login_in, netrc_login
from mfbuild.http.client import HttpClient, Response
from mfbuild.http.errors import Passing, RequestError, StatusError
from mfbuild.http.parallel import Tick
from mfbuild.http.stream import received
from mfbuild.http.trust import Trust


class Missing(FetchError):
    """The mirror does not have the file (404 or 410)."""


def deb_fetcher(environ: Mapping[str, str]) -> Fetcher:
    """The fetcher of `deb:<archive>/<path>`, from the mirrors of `environ` or of apt's own files.

    For any thread. FetchError names the package's file.
    """
    http, known = HttpClient(Trust(environ)), mirrors(environ)

    def fetch(source: Source, destination: Path, tick: Tick) -> None:
        archive, _, path = source.locator.removeprefix("deb:").partition("/")
        try:
            download(http, known[archive], path, destination, tick, limit=source.blob.size)
        except Missing as error:
            raise FetchError(
                f"`{path.rpartition('/')[2]}` is no longer on the Debian mirror",
                hint="run `mfbuild lock --images`: newer versions take the place of locked ones",
            ) from error

    return fetch


def download(
    http: HttpClient, mirror: Mirror, path: str, destination: Path, tick: Tick, *, limit: int
) -> None:
    """Write the file at `path` of `mirror`, at most `limit` bytes, to `destination`.

    It goes on where a connection broke, so the caller checks its digest. Raises Missing,
    FetchError, or UsageError where there are no certificates to trust.
    """
    done = 0
    arriving = received(
        lambda headers: _open(http, mirror, path, headers),
        None,
        lambda attempt: http.persist(attempt, tick),
    )
    with _told(path), destination.open("wb") as out, closing(arriving) as pieces:
        for piece in pieces:
            done += len(piece)
            if done > limit:
                raise _too_large(path, limit)
            out.write(piece)
            tick(len(piece))


def document(http: HttpClient, mirror: Mirror, path: str, tick: Tick, *, limit: int) -> bytes:
    """What `path` has now, read in one go: it may be another file at any time. Raises the same."""

    def read() -> bytes:
        with _open(http, mirror, path, {}) as response:
            return response.read(limit + 1)

    with _told(path):
        data = http.persist(read, tick)
    if len(data) > limit:
        raise _too_large(path, limit)
    return data


def _open(http: HttpClient, mirror: Mirror, path: str, headers: Mapping[str, str]) -> Response:
    url = f"{mirror.url}/{quote(path, safe='/+~:=@!$,')}"
    login = login_in(url)
    if login is None and (known := netrc_login(http.environ, url)):
        login = Login(url, basic(*known))
    return http.open("GET", url, headers=headers, login=login)


def _too_large(path: str, limit: int) -> FetchError:
    return FetchError(f"`{path}` on the Debian mirror is larger than {limit} bytes")


@contextmanager
def _told(path: str) -> Iterator[None]:
    """What goes wrong is told of the mirror, without its address, which may hold a password."""
    name = path.rpartition("/")[2]
    try:
        yield
    except Passing as failure:
        message = f"downloading `{name}` from the Debian mirror: the server {failure}"
        raise FetchError(message) from None
    except StatusError as error:
        if error.status in (404, 410):
            raise Missing(f"`{path}` is not on the Debian mirror") from None
        raise FetchError(f"the Debian mirror answered {error.status} for `{path}`") from None
    except RequestError as error:
        raise FetchError(f"the Debian mirror {error.reason}", hint=error.hint) from None
