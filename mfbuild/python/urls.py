"""Where the files of a lock are: hints of earlier runs, and the index when they do not do."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from mfbuild.engine.kept import read_kept, write_kept
from mfbuild.errors import FetchError, Problem
from mfbuild.oci.types import Platform
from mfbuild.python.index import IndexSettings, is_url, without_credentials
from mfbuild.python.model import Lock, LockedWheel, Request
from mfbuild.python.uv import UvFailure, compile_pins


class UrlCache:
    """Where files were last seen, by sha256: hints in a JSON file that no result depends on.

    An address with credentials or a query (which may be a token) is kept in memory alone. A file
    that cannot be read or written is as good as an empty one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[str, str] | None = None

    def get(self, sha256: str) -> str | None:
        """The address of the file with this hash, if one is known."""
        with self._lock:
            return self._loaded().get(sha256)

    def add(self, urls: Mapping[str, str]) -> None:
        """Remember these addresses, by sha256."""
        with self._lock:
            known = self._loaded()
            if any(known.get(sha256) != url for sha256, url in urls.items()):
                known.update(urls)
                self._save()

    def _loaded(self) -> dict[str, str]:
        if self._known is None:
            self._known = self._read()
        return self._known

    def _read(self) -> dict[str, str]:
        try:
            found = json.loads(read_kept(self._path))
        except (OSError, ValueError):
            return {}
        if not isinstance(found, dict):
            return {}
        return {k: url for k, url in found.items() if isinstance(url, str) and is_url(url)}

    def _save(self) -> None:
        # Read again: another run may have added to it.
        urls = {**self._read(), **self._loaded()}
        plain = {k: u for k, u in urls.items() if u == without_credentials(u) and "?" not in u}
        with suppress(OSError):
            text = json.dumps(plain, indent=0, sort_keys=True)
            write_kept(self._path, text.encode(), mode=None)


def source_sha256(wheel: LockedWheel) -> str:
    """The hash of the file to download: the wheel's own, or that of the sdist it is built from."""
    return wheel.sdist_sha256 or wheel.sha256


def known_urls(
    lock: Lock, settings: IndexSettings, cache: UrlCache, *, refresh: bool = False
) -> Mapping[str, str]:
    """The address of every file that `lock` needs, by its sha256.

    What `cache` does not know is asked of the indexes, in one go for each environment; with
    `refresh`, everything is. FetchError with uv's reason when an index lacks a pin.
    """
    found: dict[str, str] = {}
    problems = []
    for request, platform, wheels in _environments(lock):
        hints = {} if refresh else {sha256: cache.get(sha256) for sha256 in wheels}
        found |= {sha256: url for sha256, url in hints.items() if url}
        missing = [wheel for sha256, wheel in wheels.items() if sha256 not in found]
        try:
            found |= _ask(request, platform, missing, settings, refresh=refresh)
        except UvFailure as failure:
            problems.append(Problem(f"locked packages cannot be found: {failure.reason}"))
    cache.add(found)
    FetchError.raise_for(dict.fromkeys(problems))
    return found


def _environments(lock: Lock) -> Iterator[tuple[Request, Platform, dict[str, LockedWheel]]]:
    for environment in lock.environments.values():
        for platform, wheels in environment.wheels.items():
            yield environment.request, platform, {source_sha256(w): w for w in wheels}


def _ask(
    request: Request,
    platform: Platform,
    wheels: Collection[LockedWheel],
    settings: IndexSettings,
    *,
    refresh: bool,
) -> dict[str, str]:
    if not wheels:
        return {}
    pins = compile_pins(
        [f"{wheel.name}=={wheel.version}" for wheel in wheels],
        request,
        platform,
        settings,
        sources=[wheel.name for wheel in wheels if wheel.sdist],
        flags=["--no-deps", *(["--refresh"] if refresh else [])],
    )
    locked = {source_sha256(wheel) for wheel in wheels}
    files = (file for files in pins.values() for file in files)
    return {f.sha256: f.url for f in files if f.url and f.sha256 in locked}
