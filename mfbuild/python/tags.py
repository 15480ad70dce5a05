"""What an image can install: wheel tags (PEP 425, PEP 600) and markers of one environment."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from mfbuild.errors import ResolveError
from mfbuild.oci.types import Platform

if TYPE_CHECKING:
    from packaging.markers import Environment
    from packaging.tags import Tag

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
# PEP 513, 571 and 599: the names that manylinux versions had before PEP 600.
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
# The oldest glibc of manylinux for each machine: aarch64 came with manylinux2014.
_OLDEST = {"x86_64": 5, "aarch64": 17}
_UV_GLIBC = (17, 28, *range(31, 41))


def machine(platform: Platform) -> str:
    """The kernel's name of the platform's architecture (`x86_64`); ResolveError if unknown."""
    found = MACHINES.get(platform.architecture)
    if platform.os != "linux" or found is None:
        known = ", ".join(f"`linux/{name}`" for name in MACHINES)
        raise ResolveError(f"platform `{platform}` is not supported", hint=f"use {known}")
    return found


@lru_cache
def wheel_tags(python: str, glibc: str, platform: Platform) -> tuple[Tag, ...]:
    """Every tag that CPython `python` (`3.11`) with `glibc` (`2.36`) installs, best first."""
    from packaging.tags import compatible_tags, cpython_tags

    version = _two(python)
    name = f"cp{version[0]}{version[1]}"
    platforms = _platforms(glibc, machine(platform))
    own = cpython_tags(version, abis=[name], platforms=platforms)
    return (*own, *compatible_tags(version, name, platforms))


def markers(python: str, platform: Platform) -> Environment:
    """The PEP 508 environment of the image.

    Where `python` is only major.minor the patch version is 0, as uv assumes.
    """
    minor = ".".join(map(str, _two(python)))
    full = f"{python}.0" if python == minor else python
    return {
        "implementation_name": "cpython",
        "implementation_version": full,
        "os_name": "posix",
        "platform_machine": machine(platform),
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": full,
        "python_version": minor,
        "sys_platform": "linux",
    }


def uv_platform(glibc: str, platform: Platform) -> str:
    """The newest `--python-platform` of uv that the image satisfies."""
    _, minor = _two(glibc)
    known = [m for m in _UV_GLIBC if m <= minor]
    if not known:
        raise ResolveError(f"glibc `{glibc}` is too old: 2.17 is the oldest that is supported")
    return f"{machine(platform)}-manylinux_2_{known[-1]}"


def _platforms(glibc: str, arch: str) -> list[str]:
    _, newest = _two(glibc)
    found = [f"linux_{arch}"]
    for minor in range(newest, _OLDEST[arch] - 1, -1):
        found.append(f"manylinux_2_{minor}_{arch}")
        if minor in _LEGACY:
            found.append(f"{_LEGACY[minor]}_{arch}")
    return found


def _two(version: str) -> tuple[int, int]:
    major, minor = (*version.split("."), "")[:2]
    if not (major.isdecimal() and minor.isdecimal()):
        raise ResolveError(f"`{version}` is not a version like `3.11`")
    return int(major), int(minor)
