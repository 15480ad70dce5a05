"""What environments ask for and what a lock answers: requests, locked wheels, the lock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mfbuild.engine.model import Digest, canonical
from mfbuild.oci.types import Platform


@dataclass(frozen=True, slots=True)
class Request:
    """What one distinct environment asks for, on every platform.

    `python` is the image's, `3.11.2` or what is known of it, `3.11`; `glibc` the C library's
    version in the image (`2.36`), which bounds the manylinux tags (PEP 600); `base` are the exact
    pins that every environment carries (metaflow and what it needs), `requirements` the step's own,
    both sorted PEP 508 strings; `without` are packages that are not to be locked since they come
    from source.
    """

    python: str
    glibc: str
    base: tuple[str, ...]
    requirements: tuple[str, ...]
    without: tuple[str, ...] = ()

    def digest(self) -> Digest:
        """The deep checksum of the request: what a locked environment was made from."""
        fields = [self.python, self.glibc, self.base, self.requirements, self.without]
        return Digest.of(canonical(fields).encode())


@dataclass(frozen=True, slots=True, order=True)
class LockedWheel:
    """One wheel by identity; no index address.

    `name` is normalized (PEP 503). For a wheel that was built here from an sdist, `sdist` and
    `sdist_sha256` name what it was built from, and `size`/`sha256` are those of the built wheel.
    """

    filename: str
    name: str
    version: str
    size: int
    sha256: str
    sdist: str | None = None
    sdist_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class LockedEnvironment:
    """The answer to one request: for each platform the wheels, sorted by file name."""

    request: Request
    wheels: Mapping[Platform, tuple[LockedWheel, ...]]


@dataclass(frozen=True, slots=True)
class Lock:
    """BUILD.lock: every environment by the digest of its request."""

    environments: Mapping[Digest, LockedEnvironment]

    def wheels(self) -> Iterator[LockedWheel]:
        """Every wheel, once for each environment and platform that has it, always in one order."""
        for _, environment in sorted(self.environments.items()):
            for platform in sorted(environment.wheels, key=str):
                yield from environment.wheels[platform]

    def missing(
        self, requests: tuple[Request, ...], platforms: tuple[Platform, ...]
    ) -> tuple[Request, ...]:
        """Those of `requests` that this lock does not answer for all of `platforms`."""
        return tuple(r for r in requests if not self._answers(r, platforms))

    def _answers(self, request: Request, platforms: tuple[Platform, ...]) -> bool:
        found = self.environments.get(request.digest())
        return found is not None and all(p in found.wheels for p in platforms)
