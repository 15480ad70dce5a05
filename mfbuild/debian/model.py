"""One locked Debian package, and Debian's names of architectures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DEBIAN, SECURITY = "debian", "debian-security"
ARCHIVES = (DEBIAN, SECURITY)
"""The trees of a Debian mirror."""

ARCHITECTURES: Mapping[str, str] = {
    "386": "i386",
    "amd64": "amd64",
    "arm64": "arm64",
    "ppc64le": "ppc64el",
    "riscv64": "riscv64",
    "s390x": "s390x",
}
"""OCI's name of an architecture -> Debian's."""


@dataclass(frozen=True, slots=True, order=True)
class LockedDeb:
    """A .deb by identity: no mirror address, only its path below one (`pool/main/…`).

    `archive` is one of `ARCHIVES`, the tree of a mirror that holds it; `architecture` is Debian's
    name of one, or `all`.
    """

    package: str
    version: str
    architecture: str
    archive: str
    path: str
    size: int
    sha256: str
