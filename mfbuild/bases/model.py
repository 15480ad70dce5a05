"""Base images as values, wherever they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mfbuild.debian.model import LockedDeb
from mfbuild.engine.model import Digest, canonical
from mfbuild.oci.types import ForeignBase, Platform


@dataclass(frozen=True, slots=True)
class Base:
    """What images are built upon.

    `python` is `major.minor`; `interpreter` its absolute path in the image; `glibc` the C
    library's version; `user` `uid:gid`. Exactly one of `debs` and `foreign` is filled.
    """

    name: str
    python: str
    interpreter: str
    glibc: str
    user: str
    env: Mapping[str, str]
    debs: Mapping[Platform, tuple[LockedDeb, ...]]
    foreign: Mapping[Platform, ForeignBase]


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """What a person wrote in image.toml; `origin` is `from`, or None where `packages` are listed.

    `suites` are Debian's (`bookworm`, `bookworm-security`).
    """

    python: str
    interpreter: str
    glibc: str
    user: str = "65532:65532"
    env: Mapping[str, str] = field(default_factory=dict)
    suites: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    origin: str | None = None

    @property
    def digest(self) -> Digest:
        """The digest of what decides the lock's content."""
        wanted = {
            "from": self.origin,
            "packages": self.packages,
            "suites": self.suites,
        }
        return Digest.of(canonical(wanted).encode())
