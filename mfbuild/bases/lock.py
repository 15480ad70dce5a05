"""Renews the locks of base images: the newest Debian packages, or an OCI image's layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from mfbuild.bases.folder import architecture, find_image, read_image
from mfbuild.bases.lockfile import debian_lock, foreign_lock
from mfbuild.debian.model import LockedDeb
from mfbuild.files import write_atomically
from mfbuild.oci.types import ForeignBase, Platform


class LatestDebs(Protocol):
    """Finds the newest version of each package (`debian.index.latest` on the machine's mirrors)."""

    def __call__(
        self, suites: Sequence[str], packages: Sequence[str], architectures: Sequence[str]
    ) -> Sequence[LockedDeb]: ...


class ResolveForeign(Protocol):
    """Finds the layers of an OCI image by digest (`oci.foreign.resolve_foreign`)."""

    def __call__(
        self, reference: str, platforms: Sequence[Platform]
    ) -> Mapping[Platform, ForeignBase]: ...


def lock_images(
    names: Sequence[str],
    workspace: Path,
    platforms: Sequence[Platform],
    *,
    latest: LatestDebs,
    foreign: ResolveForeign,
) -> tuple[Path, ...]:
    """Renew the locks of the images `names` for `platforms`; the paths of the locks written.

    They are always written to the workspace's images/: a shipped image is copied there first.
    """
    return tuple(
        _lock_image(name, workspace, platforms, latest, foreign) for name in sorted(set(names))
    )


def _lock_image(
    name: str,
    workspace: Path,
    platforms: Sequence[Platform],
    latest: LatestDebs,
    foreign: ResolveForeign,
) -> Path:
    source = find_image(name, workspace) / "image.toml"
    spec = read_image(source)
    if spec.origin:
        content = foreign_lock(spec.digest, foreign(spec.origin, platforms))
    else:
        architectures = [architecture(p) for p in platforms]
        content = debian_lock(spec.digest, latest(spec.suites, spec.packages, architectures))
    folder = workspace / "images" / name
    if not (folder / "image.toml").exists():
        write_atomically(folder / "image.toml", source.read_bytes(), mode=None)
    write_atomically(folder / "image.lock", content.encode(), mode=None)
    return folder / "image.lock"
