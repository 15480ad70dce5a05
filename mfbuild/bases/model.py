"""Base images as values, wherever they come from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mfbuild.debian.model import LockedDeb
from mfbuild.engine.model import Digest, canonical
from mfbuild.oci.foreign_python import describe_foreign
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

    @property
    def python_release(self) -> str:
        """The whole version of its Python (`3.11.2`), as its packages or its variables tell it.

        `python` alone where they do not, or platforms differ.
        """
        found = {_release(debs, self.python) for debs in self.debs.values()}
        found |= {describe_foreign(base).release for base in self.foreign.values()}
        one = found.pop() if len(found) == 1 else None
        return one if one and one.startswith(f"{self.python}.") else self.python


def _release(debs: Iterable[LockedDeb], python: str) -> str | None:
    """Of Debian's `python3.11-minimal 3.11.2-6+deb12u9`: 3.11.2."""
    for deb in debs:
        if deb.package == f"python{python}-minimal":
            found = re.match(r"(?:\d+:)?(\d+\.\d+\.\d+)(?=[-+]|\Z)", deb.version)
            return found[1] if found else None
    return None


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
