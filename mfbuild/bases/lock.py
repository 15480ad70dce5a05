"""Renews the locks of base images: the newest Debian packages, or an OCI image's layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from mfbuild.bases.folder import architecture, find_image, read_image
from mfbuild.bases.lockfile import debian_lock, foreign_lock, locked_releases
from mfbuild.debian.model import FoundDebs
from mfbuild.errors import Problem, ResolveError
from mfbuild.files import write_atomically
from mfbuild.oci.types import Platform, Resolve


class LatestDebs(Protocol):
    """Finds the newest version of each package (`debian.index.latest` on the machine's mirrors)."""

    def __call__(
        self, suites: Sequence[str], packages: Sequence[str], architectures: Sequence[str]
    ) -> FoundDebs: ...


def lock_images(
    names: Sequence[str],
    workspace: Path,
    platforms: Sequence[Platform],
    *,
    latest: LatestDebs,
    foreign: Resolve,
    allow_older: bool = False,
) -> tuple[Path, ...]:
    """Renew the locks of the images `names` for `platforms`; the paths of the locks written.

    They are always written to the workspace's images/: a shipped image is copied there first.
    ResolveError where a mirror has an older release of a suite than is locked, unless
    `allow_older`.
    """
    contents = {}
    for name in sorted(set(names)):
        folder = find_image(name, workspace)
        spec = read_image(folder / "image.toml")
        if spec.origin:
            contents[folder] = foreign_lock(spec.digest, foreign(spec.origin, platforms))
            continue
        found = latest(spec.suites, spec.packages, [architecture(p) for p in platforms])
        if not allow_older:
            _refuse_older(folder / "image.lock", found)
        contents[folder] = debian_lock(spec.digest, found)
    return tuple(_written(folder, workspace, text) for folder, text in contents.items())


def _refuse_older(lock: Path, found: FoundDebs) -> None:
    """Packages that were mended since could come back unseen, by a mirror that lags or lies."""
    known = locked_releases(lock)
    older = [
        Problem(
            f"the Debian mirror has `{suite}` of {date:%Y-%m-%d %H:%M} UTC; "
            f"the lock is of {known[suite]:%Y-%m-%d %H:%M} UTC",
            where=str(lock),
            hint="use another mirror, or go back on purpose: `mfbuild lock --images --allow-older`",
        )
        for suite, date in found.releases.items()
        if suite in known and date < known[suite]
    ]
    ResolveError.raise_for(older)


def _written(source: Path, workspace: Path, lock: str) -> Path:
    folder = workspace / "images" / source.name
    if not (folder / "image.toml").exists():
        write_atomically(folder / "image.toml", (source / "image.toml").read_bytes(), mode=None)
    write_atomically(folder / "image.lock", lock.encode(), mode=None)
    return folder / "image.lock"
