"""The fetcher of locked wheels: downloaded from whatever index is configured, or built."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from mfbuild.engine.model import Digest, Fetcher, Source
from mfbuild.errors import FetchError, MfbuildError
from mfbuild.python.download import Downloader, GoneError
from mfbuild.python.index import IndexSettings
from mfbuild.python.model import Lock, LockedWheel
from mfbuild.python.sdist import build_wheel
from mfbuild.python.urls import UrlCache, known_urls, source_sha256


def wheel_fetcher(lock: Lock, settings: IndexSettings, cache: UrlCache) -> Fetcher:
    """The fetcher for `wheel:<file name>` sources, which are wheels of `lock`; for any thread."""
    wheels = {wheel.sha256: wheel for wheel in lock.wheels()}
    addresses = _Addresses(lock, settings, cache)
    downloader = Downloader(settings)

    def fetch(source: Source, destination: Path, tick: Callable[[int], None]) -> None:
        wheel = wheels.get(source.blob.digest.hex)
        if wheel is None:
            raise FetchError(f"`{source.locator}` is not in the lock", hint="run `mfbuild lock`")
        if wheel.sdist is None:
            _download(wheel, destination, wheel.size, addresses, downloader, tick)
        else:
            _rebuild(wheel, destination, addresses, downloader, tick)

    return fetch


class _Addresses:
    """The address of each file, asked of the indexes at most once anew."""

    def __init__(self, lock: Lock, settings: IndexSettings, cache: UrlCache) -> None:
        self._lock, self._settings, self._cache = lock, settings, cache
        self._mutex = threading.Lock()
        self._urls: Mapping[str, str] | None = None
        self._renewed = False

    def of(self, wheel: LockedWheel, *, stale: str | None = None) -> str:
        """Where the file for `wheel` is; `stale` is an address that no longer has it."""
        sha256 = source_sha256(wheel)
        with self._mutex:
            if self._urls is None:
                self._urls = known_urls(self._lock, self._settings, self._cache)
            if stale is not None and self._urls.get(sha256) == stale and not self._renewed:
                self._renewed = True
                self._urls = known_urls(self._lock, self._settings, self._cache, refresh=True)
            url = self._urls.get(sha256)
        if url is None:
            raise FetchError(
                f"no configured index has `{wheel.sdist or wheel.filename}` as it is locked",
                hint=f"`mfbuild lock --upgrade {wheel.name}` locks what there is now",
            )
        return url


def _download(
    wheel: LockedWheel,
    destination: Path,
    size: int | None,
    addresses: _Addresses,
    downloader: Downloader,
    tick: Callable[[int], None],
) -> None:
    sha256 = source_sha256(wheel)
    url = addresses.of(wheel)
    try:
        downloader.fetch(url, destination, sha256=sha256, size=size, tick=tick)
    except GoneError:
        renewed = addresses.of(wheel, stale=url)
        if renewed == url:
            raise
        downloader.fetch(renewed, destination, sha256=sha256, size=size, tick=tick)


def _rebuild(
    wheel: LockedWheel,
    destination: Path,
    addresses: _Addresses,
    downloader: Downloader,
    tick: Callable[[int], None],
) -> None:
    with tempfile.TemporaryDirectory(prefix="mfbuild-sdist-") as scratch:
        sdist = Path(scratch, wheel.sdist or "")
        _download(wheel, sdist, None, addresses, downloader, tick)
        try:
            built = build_wheel(sdist, downloader.settings, Path(scratch))
        except MfbuildError as error:
            raise FetchError.all_of(error.problems) from error
        actual = Digest.of(built.read_bytes()).hex
        if actual != wheel.sha256:
            raise FetchError(
                f"`{wheel.filename}`, built again from `{wheel.sdist}`, has the sha256 `{actual}`, "
                f"not `{wheel.sha256}` as locked: what it is built with has changed",
                hint=f"`mfbuild lock --upgrade {wheel.name}` locks what is built now",
            )
        shutil.copyfile(built, destination)
