"""Downloads of files whose sha256 is known: resumed, tried again, and never kept when wrong."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from mfbuild.errors import FetchError
from mfbuild.files import disk_error, words_of
from mfbuild.http.addresses import Login, basic, login_in
from mfbuild.http.client import HttpClient
from mfbuild.http.errors import Passing, RequestError, StatusError
from mfbuild.http.parallel import Tick
from mfbuild.http.stream import received
from mfbuild.python.index import IndexSettings, is_url, redact, without_credentials

_CHUNK = 1 << 18
_GONE = (401, 403, 404, 410)


class GoneError(FetchError):
    """The address holds no such file, or not for the credentials that there are."""


class Downloader:
    """Downloads with the credentials, certificates and proxies of `settings`, in any thread.

    Credentials go to the host that they belong to and are not carried over a redirect.
    """

    def __init__(
        self, settings: IndexSettings, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.settings = settings
        self._http = HttpClient(settings.trust(), sleep)

    def fetch(
        self,
        url: str,
        destination: Path,
        *,
        sha256: str,
        size: int | None = None,
        tick: Tick = lambda n: None,
    ) -> int:
        """Write what `url` (http, https, file) holds to `destination`; its size in bytes.

        Broken connections and passing faults are tried again, going on where they stopped.
        FetchError, with nothing left at `destination`, when that does not help or the content is
        not what `sha256` and `size` promise; GoneError when the file is not there, UsageError where
        there are no certificates to trust.
        """
        if not is_url(url):
            raise FetchError(f"`{redact(url)}` is not an address that can be downloaded")
        try:
            return self._fetch(url, destination, sha256, size, tick)
        except FetchError as error:
            name = unquote(urlsplit(url).path.rpartition("/")[2])
            where, hint = _shown(url), error.problems[0].hint
            raise type(error)(f"`{name}` {error}", where=where, hint=hint) from error.__cause__
        except OSError as error:
            what = f"`{destination.name}` cannot be written"
            raise disk_error(FetchError, what, error, destination) from error

    def size(self, url: str) -> int | None:
        """The size in bytes of what `url` holds, as the server tells it; None if it does not."""
        if not is_url(url):
            return None
        try:
            if urlsplit(url).scheme == "file":
                return _local_file(url).stat().st_size
            with self._http.open("HEAD", url, login=self._login(url)) as response:
                length = response.headers.get("Content-Length", "")
                return int(length) if length.isdecimal() else None
        except (OSError, ValueError, Passing, FetchError):
            return None

    def _fetch(self, url: str, destination: Path, sha256: str, size: int | None, tick: Tick) -> int:
        digest, done = hashlib.sha256(), 0
        out = destination.open("wb")
        try:
            with out, closing(self._content(url, size, tick)) as chunks:
                for chunk in chunks:
                    done += len(chunk)
                    if size is not None and done > size:
                        raise FetchError(f"is longer than the {size} bytes that are locked")
                    out.write(chunk)
                    digest.update(chunk)
                    tick(len(chunk))
            if digest.hexdigest() != sha256:
                actual = digest.hexdigest()
                raise FetchError(f"has the sha256 `{actual}`, not `{sha256}` as locked")
        except BaseException:
            destination.unlink(missing_ok=True)
            raise
        return done

    def _content(self, url: str, size: int | None, tick: Tick) -> Generator[bytes, None, None]:
        if urlsplit(url).scheme == "file":
            yield from _copied(url, size)
            return
        login = self._login(url)
        try:
            arriving = received(
                lambda headers: self._http.open("GET", url, headers=headers, login=login),
                size,
                lambda attempt: self._http.persist(attempt, tick),
            )
            with closing(arriving) as pieces:
                yield from pieces
        except Passing as failure:
            raise FetchError(f"cannot be downloaded: the server {failure}") from None
        except StatusError as error:
            status, kind = error.status, GoneError if error.status in _GONE else FetchError
            hint = "check the credentials of the index" if status in (401, 403) else None
            raise kind(f"cannot be downloaded: {error}", hint=hint) from None
        except RequestError as error:
            raise FetchError(f"cannot be downloaded: {error}", hint=error.hint) from None

    def _login(self, url: str) -> Login | None:
        known = self.settings.credentials(url)
        return Login(url, basic(*known)) if known else login_in(url)


def _copied(url: str, size: int | None) -> Iterator[bytes]:
    try:
        file = _local_file(url).open("rb")
    except (FileNotFoundError, ValueError) as error:  # NUL is in no file's name
        raise GoneError("is not there any more") from error
    except OSError as error:
        raise FetchError(f"cannot be read: {words_of(error)}") from error
    done = 0
    with file:
        while chunk := file.read(_CHUNK):
            done += len(chunk)
            yield chunk
    if done < (size or 0):
        raise FetchError("is shorter than it is locked")


def _local_file(url: str) -> Path:
    return Path(url2pathname(urlsplit(url).path))


def _shown(url: str) -> str:
    return without_credentials(url).partition("?")[0]
