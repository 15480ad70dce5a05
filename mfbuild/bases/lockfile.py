"""image.lock: what a base image is made of, read and written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mfbuild.debian.model import ARCHIVES, LockedDeb
from mfbuild.engine.model import Digest, canonical
from mfbuild.errors import ResolveError
from mfbuild.oci.types import BaseLayer, Descriptor, ForeignBase, Platform

_FORMAT = 1


def debian_lock(digest: Digest, debs: Sequence[LockedDeb]) -> str:
    """One package per line, so that a diff of two locks reads as a list of upgrades."""
    lines = ",\n".join(f"  {canonical(asdict(deb))}" for deb in sorted(set(debs)))
    return f'{{\n "debian": [\n{lines}\n ],\n "digest": "{digest}",\n "format": {_FORMAT}\n}}\n'


def foreign_lock(digest: Digest, found: Mapping[Platform, ForeignBase]) -> str:
    oci = {str(platform): foreign_json(base) for platform, base in found.items()}
    content = {"digest": str(digest), "format": _FORMAT, "oci": oci}
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def foreign_json(base: ForeignBase) -> dict[str, Any]:
    """One platform of an OCI image as a JSON value."""
    layers = [
        {"descriptor": layer.descriptor.json(), "diff_id": str(layer.diff_id)}
        for layer in base.layers
    ]
    return {"env": list(base.env), "layers": layers, "repository": base.repository}


def parse_foreign(value: Mapping[str, Any]) -> ForeignBase:
    """What `foreign_json` wrote; KeyError, TypeError or ValueError for anything else."""
    layers = (
        BaseLayer(Descriptor.parse(v["descriptor"]), Digest.parse(v["diff_id"]))
        for v in value["layers"]
    )
    return ForeignBase(value["repository"], tuple(layers), tuple(value["env"]))


@dataclass(frozen=True, slots=True)
class ImageLock:
    """The content of an image.lock; `digest` is that of the ImageSpec it was made from."""

    digest: Digest
    debs: tuple[LockedDeb, ...]
    foreign: Mapping[Platform, ForeignBase]


def read_lock(path: Path, digest: Digest) -> ImageLock:
    """The lock at `path` of the image whose spec has `digest`.

    ResolveError if it is missing, damaged, or made from another spec.
    """
    try:
        lock = _parse_lock(json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise unusable(path, "does not exist") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise unusable(path, f"cannot be read: {error!r}") from error
    if lock.digest != digest:
        raise unusable(path, "is stale")
    return lock


def unusable(path: Path, reason: str) -> ResolveError:
    """The error for a lock that cannot be used."""
    problem = f"the lock of the base image `{path.parent.name}` {reason}"
    return ResolveError(problem, where=str(path), hint="run `mfbuild lock --images`")


def _parse_lock(content: Mapping[str, Any]) -> ImageLock:
    if content["format"] != _FORMAT:
        raise ValueError(f"`{content['format']}` is not a known format")
    return ImageLock(
        Digest.parse(content["digest"]),
        tuple(_parse_deb(value) for value in content.get("debian", ())),
        {Platform.parse(k): parse_foreign(v) for k, v in content.get("oci", {}).items()},
    )


def _parse_deb(value: Mapping[str, Any]) -> LockedDeb:
    deb = LockedDeb(**value)
    Digest.parse(f"sha256:{deb.sha256}")
    if deb.archive not in ARCHIVES or type(deb.size) is not int or ".." in deb.path.split("/"):
        raise ValueError(f"`{deb.path}` is not a file of a Debian mirror")
    return deb
