"""BUILD.lock written: what is new resolved, pins moved, another tool's lock imported; exports."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
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
    return read_settings(config.root, config.environ)


def url_cache(config: Config) -> UrlCache:
    """Where files were last seen; kept in the store's folder."""
    return UrlCache(config.store / "urls.json")


def brought(
    path: Path, source: Path, asked: Mapping[Request, str], found: Lock, config: Config
) -> Lock:
    """The lock of `asked` with the pins of another tool's lock `source`, written to `path`."""
    from mfbuild.python.import_lock import imported_lock

    answered = imported_lock(
        source, asked, config.platforms, settings=settings_of(config), cache=url_cache(config)
    )
    whole = Lock({**found.environments, **answered.environments})
    write_lock(path, whole)
    return whole


def differences(old: Lock, new: Lock) -> list[str]:
    """What moved between two locks: `pandas 2.2.2 -> 2.2.3`, `numpy 2.2.6 added`."""
    before, after = _versions(old), _versions(new)
    lines = []
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name), after.get(name)
        if was != now:
            lines.append(f"{name} {was} -> {now}" if was and now else f"{name} {_moved(was, now)}")
    return lines


def _versions(lock: Lock) -> dict[str, str]:
    """The versions of each package, several where environments differ."""
    found: dict[str, set[str]] = {}
    for wheel in lock.wheels():
        found.setdefault(wheel.name, set()).add(wheel.version)
    return {name: ", ".join(sorted(versions)) for name, versions in found.items()}


def _moved(was: str | None, now: str | None) -> str:
    return f"{now} added" if was is None else f"{was} removed"


def exported(lock: Lock, asked: Mapping[Request, str], config: Config) -> dict[str, str]:
    """A PEP 751 file for each environment, by the name of the first step that asks for it.

    Where steps of several flows have that name, by its whole label.
    """
    from mfbuild.python.pylock import export_pylock
    from mfbuild.python.urls import known_urls

    urls = known_urls(lock, settings_of(config), url_cache(config))
    labels = [steps.split(",")[0] for steps in asked.values()]
    short = [label.rpartition(":")[2] for label in labels]
    names = [
        name
        if short.count(name) == 1
        else re.sub(r"\W+", "-", label.replace(".py:", ":")).strip("-")
        for name, label in zip(short, labels, strict=True)
    ]
    texts = [export_pylock(lock, request, urls) for request in asked]
    return dict(zip(names, texts, strict=True))


def image_names(config: Config) -> tuple[str, ...]:
    """The base images of the workspace that are folders: its own default's and its targets'."""
    named = {config.base, *(t.base for t in config.targets.values() if t.base)}
    own = {p.parent.name for p in (config.root / "images").glob("*/image.toml")}
    return tuple(sorted(n for n in named | own if "@sha256:" not in n))


def lock_base_images(
    names: Sequence[str], config: Config, note: Callable[[str], None], *, allow_older: bool
) -> tuple[Path, ...]:
    """Renew the locks of base images from the machine's Debian mirrors and registries.

    What is odd about a mirror is said by `note`; `allow_older` lets a lock go back in time.
    """
    from mfbuild.bases.lock import lock_images
    from mfbuild.debian.apt import mirrors
    from mfbuild.debian.index import latest
    from mfbuild.http.client import HttpClient
    from mfbuild.http.trust import Trust
    from mfbuild.oci.foreign import foreign_resolver

    http = HttpClient(Trust(config.environ))
    return lock_images(
        names,
        config.root,
        config.platforms,
        latest=partial(latest, http, mirrors(config.environ), note=note),
        foreign=foreign_resolver(config.environ),
        allow_older=allow_older,
    )
