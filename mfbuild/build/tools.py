"""The tools and the fetchers by name; a tool is a function that makes bytes, and its version.

A version is raised whenever a tool's bytes change for the same inputs: the tests of each tool pin
them by golden digests.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path

from mfbuild.config import Config
from mfbuild.engine.model import Fetcher, Source, Tool, Work
from mfbuild.python.model import Lock


def tools(config: Config) -> Mapping[str, Tool]:
    """Every tool by name; a compiler is looked for in the environment of the command."""
    return {
        "debian.layer": _tool(3, "mfbuild.debian.layer:run"),
        "flyte.compile": _tool(5, "mfbuild.flyte.tool:run"),
        "oci.copy": _tool(1, "mfbuild.oci.tree:copy"),
        "oci.image": _tool(1, "mfbuild.oci.image:image"),
        "oci.index": _tool(1, "mfbuild.oci.image:index"),
        "oci.tree": _tool(3, "mfbuild.oci.tree:run"),
        "python.pyc": _tool(3, "mfbuild.python.pyc:run", config.environ),
        "wheel.layer": _tool(4, "mfbuild.python.layer:run"),
        "wheel.overlap": _tool(2, "mfbuild.python.overlap:run"),
    }


def _tool(version: int, where: str, *given: object) -> Tool:
    """The function `module:name`, imported when it first runs: a cached build needs none."""
    module, _, name = where.partition(":")

    def run(work: Work) -> None:
        function: Callable[..., None] = getattr(import_module(module), name)
        function(work, *given)

    return Tool(version, run)


def fetchers(lock: Lock, config: Config) -> Mapping[str, Fetcher]:
    """The fetchers by scheme: Debian packages, blobs of registries and layouts, locked wheels.

    Each is set up when it first fetches.
    """

    def wheels() -> Fetcher:
        from mfbuild.build.relock import settings_of, url_cache
        from mfbuild.python.fetch import wheel_fetcher

        return wheel_fetcher(lock, settings_of(config), url_cache(config))

    def debs() -> Fetcher:
        from mfbuild.debian.fetch import deb_fetcher

        return deb_fetcher(config.environ)

    def blobs() -> Fetcher:
        from mfbuild.oci.access import Registry
        from mfbuild.oci.registry import OciFetcher

        return OciFetcher(partial(Registry, environ=config.environ))

    return {"deb": _Lazy(debs), "oci": _Lazy(blobs), "wheel": _Lazy(wheels)}


class _Lazy:
    """A fetcher that is made when it is first used; for any thread."""

    def __init__(self, make: Callable[[], Fetcher]) -> None:
        self._make, self._lock = make, threading.Lock()
        self._made: Fetcher | None = None

    def __call__(self, source: Source, destination: Path, tick: Callable[[int], None]) -> None:
        with self._lock:
            self._made = self._made or self._make()
        self._made(source, destination, tick)
