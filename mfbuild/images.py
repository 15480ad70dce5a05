"""Base images: a folder of images/ (Debian packages, or an OCI image by digest) as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mfbuild.debian.model import LockedDeb
from mfbuild.oci.types import BaseLayer, ForeignBase, Platform

__all__ = ["Base", "BaseLayer", "ForeignBase"]


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
