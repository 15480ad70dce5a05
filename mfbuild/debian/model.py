"""One locked Debian package, and Debian's names of architectures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

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
    name of one, or `all`. ValueError for what no mirror can have.
    """

    package: str
    version: str
    architecture: str
    archive: str
    path: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        parts = self.path.split("/")
        if (
            self.archive not in ARCHIVES
            or ".." in parts
            or "" in parts
            or type(self.size) is not int
        ):
            raise ValueError(f"`{self.path}` is not a file of a Debian mirror")
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError(f"`{self.sha256}` is not a sha256 in hex")


@dataclass(frozen=True, slots=True)
class FoundDebs:
    """The newest packages, and of when each suite is that says so (in UTC)."""

    debs: tuple[LockedDeb, ...]
    releases: Mapping[str, datetime]
