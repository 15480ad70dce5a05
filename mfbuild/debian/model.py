"""One locked Debian package."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class LockedDeb:
    """A .deb by identity: no mirror address, only its path below one (`pool/main/…`).

    `archive` is `debian` or `debian-security`: which of the two trees of a mirror holds it.
    """

    package: str
    version: str
    architecture: str
    archive: str
    path: str
    size: int
    sha256: str
