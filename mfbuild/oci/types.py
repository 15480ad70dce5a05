"""The OCI image-spec's values: platforms, descriptors, and what a layer is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mfbuild.engine.model import Digest

IMAGE_INDEX = "application/vnd.oci.image.index.v1+json"
IMAGE_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEX_TYPES = (IMAGE_INDEX, DOCKER_MANIFEST_LIST)
MANIFEST_TYPES = (IMAGE_MANIFEST, DOCKER_MANIFEST)
REF_NAME = "org.opencontainers.image.ref.name"
PACKAGES = "dev.mfbuild.packages"
"""The label of an image config that lists its Python packages: `name==version` words, sorted."""


_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, order=True)
class Platform:
    """`os/architecture[/variant]`, the OCI names (`linux/amd64`, `linux/arm64`)."""

    os: str
    architecture: str
    variant: str | None = None

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read `os/architecture[/variant]`; ValueError if it is anything else."""
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(parts):
            raise ValueError(f"`{text}` is not a platform like `linux/amd64`")
        return cls(*parts)

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Platform:
        """Read a descriptor's `platform`, or an image's config; KeyError or TypeError if wrong."""
        variant = value.get("variant")
        return cls(
            _need(value["os"], str, "`os`"),
            _need(value["architecture"], str, "`architecture`"),
            variant and _need(variant, str, "`variant`"),
        )

    def __str__(self) -> str:
        return "/".join(p for p in (self.os, self.architecture, self.variant) if p)

    def json(self) -> dict[str, str]:
        """The object of a descriptor's `platform` (image-spec, image-index.md)."""
        found = {"os": self.os, "architecture": self.architecture}
        return found | ({"variant": self.variant} if self.variant else {})


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A content descriptor (image-spec, descriptor.md)."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str | None = None

    def json(self) -> dict[str, Any]:
        """The descriptor as a JSON object; absent fields are left out."""
        found: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.artifact_type:
            found["artifactType"] = self.artifact_type
        if self.platform:
            found["platform"] = self.platform.json()
        if self.annotations:
            found["annotations"] = dict(self.annotations)
        return found

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Descriptor:
        """Read a JSON object; KeyError, TypeError or ValueError when it is not a descriptor."""
        media_type = _need(value["mediaType"], str, "`mediaType`")
        annotations = value.get("annotations") or {}
        for name, text in annotations.items():
            _need(text, str, f"annotation `{name}`")
        if type(value["size"]) is not int or value["size"] < 0:
            raise ValueError(f"`{value['size']}` is not a size")
        artifact_type = value.get("artifactType")
        return cls(
            media_type=media_type,
            digest=Digest.parse(_need(value["digest"], str, "`digest`")),
            size=value["size"],
            platform=Platform.of(value["platform"]) if value.get("platform") else None,
            annotations=dict(annotations),
            artifact_type=artifact_type and _need(artifact_type, str, "`artifactType`"),
        )


def _need(value: Any, kind: type[_T], what: str) -> _T:
    if type(value) is not kind:
        raise TypeError(f"{what} is not what it should be")
    return value


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """What a layer-making tool says of its layer besides the bytes (its `info` output, as JSON).

    `diff_id` is the digest of the uncompressed tar (image-spec, config.md); `comment` becomes the
    history entry's `created_by`.
    """

    diff_id: Digest
    comment: str

    def json(self) -> dict[str, str]:
        return {"diff_id": str(self.diff_id), "comment": self.comment}

    @classmethod
    def parse(cls, value: Mapping[str, str]) -> LayerInfo:
        return cls(diff_id=Digest.parse(value["diff_id"]), comment=value["comment"])


@dataclass(frozen=True, slots=True)
class BaseLayer:
    """A layer of an OCI base image, taken as it is."""

    descriptor: Descriptor
    diff_id: Digest


@dataclass(frozen=True, slots=True)
class ForeignBase:
    """One platform of an OCI base image: where it comes from and its layers, lowest first.

    `repository` is `host/path` or `oci:<directory>` (a layout); `env` is its config's Env.
    """

    repository: str
    layers: tuple[BaseLayer, ...]
    env: tuple[str, ...]


Resolve = Callable[[str, Sequence[Platform]], Mapping[Platform, ForeignBase]]
"""Finds the layers of an OCI image by digest, for each platform."""
