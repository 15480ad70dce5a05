"""image.lock: what a base image is made of, read and written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mfbuild.debian.model import FoundDebs, LockedDeb
from mfbuild.engine.foreign import parse_json
from mfbuild.engine.model import Digest, canonical
from mfbuild.errors import ResolveError
from mfbuild.flow.decode import of
from mfbuild.oci.types import ForeignBase, Platform

_FORMAT = 1
_UTC, _DATE = timezone.utc, "%Y-%m-%dT%H:%M:%SZ"


def debian_lock(digest: Digest, found: FoundDebs) -> str:
    """One package per line, so that a diff of two locks reads as a list of upgrades."""
    lines = ",\n".join(f"  {canonical(asdict(deb))}" for deb in sorted(set(found.debs)))
    releases = canonical({s: f"{d.astimezone(_UTC):{_DATE}}" for s, d in found.releases.items()})
    return (
        f'{{\n "debian": [\n{lines}\n ],\n "digest": "{digest}",\n "format": {_FORMAT},\n'
        f' "releases": {releases}\n}}\n'
    )


def foreign_lock(digest: Digest, found: Mapping[Platform, ForeignBase]) -> str:
    content = {"digest": str(digest), "format": _FORMAT, "oci": foreign_json(found)}
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def foreign_json(found: Mapping[Platform, ForeignBase]) -> dict[str, Any]:
    """The platforms of an OCI image as a JSON value, which `foreign_of` reads."""
    return {
        str(platform): {
            "env": list(base.env),
            "layers": [
                {"descriptor": layer.descriptor.json(), "diff_id": str(layer.diff_id)}
                for layer in base.layers
            ],
            "repository": base.repository,
        }
        for platform, base in found.items()
    }


foreign_of = of(dict[Platform, ForeignBase])


@dataclass(frozen=True, slots=True)
class ImageLock:
    """The content of an image.lock; `digest` is that of the ImageSpec it was made from.

    `releases` maps Debian's suites to when they were published; older locks do not say.
    """

    digest: Digest
    debs: tuple[LockedDeb, ...]
    releases: Mapping[str, datetime]
    foreign: Mapping[Platform, ForeignBase]


def read_lock(path: Path, digest: Digest) -> ImageLock:
    """The lock at `path` of the image whose spec has `digest`.

    ResolveError if it is missing, damaged, or made from another spec.
    """
    try:
        lock = _read(path)
    except FileNotFoundError:
        raise unusable(path, "does not exist") from None
    except _DAMAGED as error:
        raise unusable(path, f"cannot be read: {error!r}") from error
    if lock.digest != digest:
        raise unusable(path, "is stale")
    return lock


def locked_releases(path: Path) -> Mapping[str, datetime]:
    """Of when the suites are that the lock at `path` was made from; empty where it is no lock."""
    try:
        return _read(path).releases
    except _DAMAGED:
        return {}


def unusable(path: Path, reason: str) -> ResolveError:
    """The error for a lock that cannot be used."""
    problem = f"the lock of the base image `{path.parent.name}` {reason}"
    return ResolveError(problem, where=str(path), hint="run `mfbuild lock --images`")


_DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError)


def _read(path: Path) -> ImageLock:
    content = parse_json(path.read_bytes())
    if content["format"] != _FORMAT:
        raise ValueError(f"`{content['format']}` is not a known format")
    return ImageLock(
        Digest.parse(content["digest"]),
        tuple(LockedDeb(**value) for value in content.get("debian", ())),
        {s: _date(d) for s, d in content.get("releases", {}).items()},
        foreign_of(content.get("oci", {})),
    )


def _date(text: str) -> datetime:
    return datetime.strptime(text, _DATE).replace(tzinfo=_UTC)
