"""Downloads of files whose sha256 is known: resumed, tried again, and never kept when wrong."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from mfbuild.errors import FetchError
from mfbuild.oci.access import Passing, ca_bundle, pause, root_of
from mfbuild.python.index import IndexSettings, is_url, redact, without_credentials

if TYPE_CHECKING:
    import requests

ATTEMPTS = 5
_CHUNK = 1 << 18
_TIMEOUT = (15.0, 60.0)
_LONGEST_WAIT = 30.0
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_GONE = {401, 403, 404, 410}
# The bytes as they are stored: an archive that is "Content-Encoding: gzip" is not unpacked.
_HEADERS = {"Accept-Encoding": "identity"}


class GoneError(FetchError):
    """The address holds no such file, or not for the credentials that there are."""


class _Partial:
    """The file under way: its hash, how much there is, and the most there ever was."""

    def __init__(self, path: Path, size: int | None, tick: Callable[[int], None]) -> None:
        self._path, self._file = path, path.open("wb")
        self._size, self._tick = size, tick
        self._hash = hashlib.sha256()
        self.received = self.most = 0

    def write(self, chunk: bytes) -> None:
        self.received += len(chunk)
        if self._size is not None and self.received > self._size:
            raise FetchError(f"is longer than the {self._size} bytes that are locked")
        self._file.write(chunk)
        self._hash.update(chunk)
        self._tick(max(0, self.received - self.most))
        self.most = max(self.most, self.received)

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._hash = hashlib.sha256()
        self.received = 0

    def complete(self) -> bool:
        return self._size is None or self.received == self._size

    def finish(self) -> str:
        """The sha256 of all that was written."""
        self._file.close()
        return self._hash.hexdigest()

    def discard(self) -> None:
        with suppress(OSError):
            self._file.close()
        self._path.unlink(missing_ok=True)


class Downloader:
    """Downloads with the credentials, certificates and proxies of `settings`, in any thread.

    Credentials go to the host that they belong to and are not carried over a redirect.
    """

    def __init__(
        self, settings: IndexSettings, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.settings = settings
        self._sleep = sleep
        self._local = threading.local()

    def fetch(
        self,
        url: str,
        destination: Path,
        *,
        sha256: str,
        size: int | None = None,
        tick: Callable[[int], None] = lambda n: None,
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
            raise FetchError(f"`{destination.name}` cannot be written: {error.strerror}") from error

    def _fetch(
        self,
        url: str,
        destination: Path,
        sha256: str,
        size: int | None,
        tick: Callable[[int], None],
    ) -> int:
        partial = _Partial(destination, size, tick)
        kept = False
        try:
            self._receive_all(url, partial, tick)
            actual = partial.finish()
            if actual != sha256:
                raise FetchError(f"has the sha256 `{actual}`, not `{sha256}` as locked")
            kept = True
        finally:
            if not kept:
                partial.discard()
        return partial.received

    def size(self, url: str) -> int | None:
        """The size in bytes of what `url` holds, as the server tells it; None if it does not."""
        try:
            if urlsplit(url).scheme == "file":
                return _local_file(url).stat().st_size
            with self._request("HEAD", url, _HEADERS) as response:
                length = response.headers.get("Content-Length", "")
                return int(length) if response.ok and length.isdecimal() else None
        except OSError:
            return None

    def _receive_all(self, url: str, partial: _Partial, tick: Callable[[int], None]) -> None:
        failures = 0
        while True:
            before = partial.most
            try:
                self._receive(url, partial)
                if partial.complete():
                    return
                raise Passing(f"it ends after {partial.received} bytes")
            except Passing as again:
                # Whoever gets further each time is not stopped by a count.
                failures = 1 if partial.most > before else failures + 1
                if failures >= ATTEMPTS:
                    raise FetchError(f"cannot be downloaded: {again}") from again
                wait = max(0.5 * 2 ** (failures - 1) * random.uniform(0.5, 1.5), again.after or 0.0)
                pause(min(wait, _LONGEST_WAIT), tick, self._sleep)

    def _receive(self, url: str, partial: _Partial) -> None:
        """One try, going on from what `partial` has."""
        import requests
        from urllib3.exceptions import HTTPError

        if urlsplit(url).scheme == "file":
            _copy(url, partial)
            return
        resume = {"Range": f"bytes={partial.received}-"} if partial.received else {}
        try:
            with self._request("GET", url, {**_HEADERS, **resume}) as response:
                _check(response, partial)
                for chunk in response.raw.stream(_CHUNK, decode_content=False):
                    partial.write(chunk)
        except requests.exceptions.SSLError as error:
            hint = "set SSL_CERT_FILE to the certificates that your network uses"
            message = "cannot be downloaded: the server's certificate is not trusted"
            raise FetchError(message, hint=hint) from error
        except (requests.RequestException, HTTPError) as error:
            raise Passing(_reason(error)) from error

    def _request(self, method: str, url: str, headers: dict[str, str]) -> requests.Response:
        """`requests` drops the credentials when a redirect leaves the host (rebuild_auth)."""
        import requests

        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        session: requests.Session = self._local.session
        return session.request(
            method,
            url,
            headers=headers,
            auth=self.settings.credentials(url),
            verify=ca_bundle(self.settings.environ) or self.settings.ca_bundle() or True,
            timeout=_TIMEOUT,
            stream=True,
            allow_redirects=True,
        )


def _copy(url: str, partial: _Partial) -> None:
    try:
        file = _local_file(url).open("rb")
    except FileNotFoundError as error:
        raise GoneError("is not there any more") from error
    with file:
        while chunk := file.read(_CHUNK):
            partial.write(chunk)
    if not partial.complete():
        raise FetchError("is shorter than it is locked")


def _local_file(url: str) -> Path:
    return Path(url2pathname(urlsplit(url).path))


def _check(response: requests.Response, partial: _Partial) -> None:
    """Whether the body that follows is what `partial` needs next."""
    status = response.status_code
    if status in _PASSING:
        wait = response.headers.get("Retry-After", "")
        raise Passing(f"the server answers {status}", float(wait) if wait.isdecimal() else None)
    if status in _GONE:
        hint = "check the credentials of the index" if status in (401, 403) else None
        raise GoneError(f"cannot be downloaded: the server answers {status}", hint=hint)
    begins = response.headers.get("Content-Range", "").startswith(f"bytes {partial.received}-")
    if partial.received and not (status == 206 and begins):
        partial.restart()
        if status in (206, 416):
            raise Passing("the server does not go on where it stopped")
    if status not in (200, 206):
        raise FetchError(f"cannot be downloaded: the server answers {status}")


def _reason(error: BaseException) -> str:
    lowest = root_of(error)
    return redact(str(lowest) or type(lowest).__name__)


def _shown(url: str) -> str:
    return without_credentials(url).partition("?")[0]
