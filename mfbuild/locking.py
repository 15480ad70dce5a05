"""BUILD.lock written: what is new resolved, pins moved, another tool's lock brought."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mfbuild.config import Config
from mfbuild.python.index import IndexSettings, read_settings
from mfbuild.python.lockfile import write_lock
from mfbuild.python.model import Lock, Request
from mfbuild.python.resolve import Upgrade, resolve
from mfbuild.python.urls import UrlCache


def extended(path: Path, missing: Mapping[Request, str], found: Lock, config: Config) -> Lock:
    """`found` with answers to `missing` besides, written to `path`; other flows' answers stay.

    `missing` maps each request to the steps that ask for it.
    """
    added = _resolve(missing, found, Upgrade(), config)
    whole = Lock({**found.environments, **added.environments})
    write_lock(path, whole)
    return whole


def renewed(
    path: Path,
    asked: Mapping[Request, str],
    found: Lock,
    upgrade: Upgrade,
    config: Config,
    *,
    keep: bool,
) -> Lock:
    """The lock of `asked`, written to `path`; with `keep`, what else `found` answers stays."""
    answered = _resolve(asked, found, upgrade, config)
    kept = found.environments if keep else {}
    whole = Lock({**kept, **answered.environments})
    write_lock(path, whole)
    return whole


def _resolve(asked: Mapping[Request, str], found: Lock, upgrade: Upgrade, config: Config) -> Lock:
    return resolve(
        asked,
        config.platforms,
        settings=settings_of(config),
        cache=url_cache(config),
        previous=found,
        upgrade=upgrade,
    )


def settings_of(config: Config) -> IndexSettings:
    """The package indexes as uv and pip are configured for the workspace."""
    return read_settings(config.root, os.environ)


def url_cache(config: Config) -> UrlCache:
    """Where files were last seen; kept in the store's folder."""
    return UrlCache(config.store / "urls.json")
