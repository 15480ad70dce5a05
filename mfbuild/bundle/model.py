"""The bundle manifest: what bundle.json says, and the version that is its digest."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mfbuild.engine.model import Blob, Digest, canonical
from mfbuild.errors import BundleError
from mfbuild.oci.types import IMAGE_INDEX, Descriptor, Platform

FORMAT = 1
VERSION_DIGITS = 40
BUNDLE_JSON = "bundle.json"
ARTIFACT = "application/vnd.mfbuild.bundle.v1"
BUNDLE_CONFIG = "application/vnd.mfbuild.bundle.config.v1+json"
CODE = "application/vnd.mfbuild.code.v1.tar+gzip"
FLYTE = "application/vnd.mfbuild.flyte.v1+json"


@dataclass(frozen=True, slots=True)
class BundleStep:
    """What a step runs in: its image index, and the digest of its environment's request."""

    image: Descriptor
    environment: Digest


@dataclass(frozen=True, slots=True)
class BundleImage:
    """A distinct image of the bundle: its index, and the manifest of each platform."""

    index: Digest
    manifests: Mapping[Platform, Digest]


@dataclass(frozen=True, slots=True)
class BundleManifest:
    """What a bundle holds, by digest. `spec` and `domains` are JSON values.

    `spec` is the public FlowSpec; `domains` says of each domain what shapes its entities (design,
    section 5). No project, endpoint, code address, provenance or path is in here.
    """

    flow: str
    version: str
    steps: Mapping[str, BundleStep]
    images: tuple[BundleImage, ...]
    code: Descriptor
    flyte: Descriptor
    spec: Any
    domains: Any

    def json(self) -> dict[str, Any]:
        """The object of bundle.json."""
        return {
            "format": FORMAT,
            "flow": self.flow,
            "version": self.version,
            "steps": {
                name: {"image": step.image.json(), "environment": str(step.environment)}
                for name, step in self.steps.items()
            },
            "images": [
                {
                    "index": str(image.index),
                    "manifests": {str(p): str(digest) for p, digest in image.manifests.items()},
                }
                for image in self.images
            ],
            "code": self.code.json(),
            "flyte": self.flyte.json(),
            "spec": self.spec,
            "domains": self.domains,
        }

    def encode(self) -> bytes:
        """The bytes of bundle.json: indented for people, sorted for machines."""
        text = json.dumps(
            self.json(), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False
        )
        return f"{text}\n".encode()

    def content_version(self) -> str:
        """The version that this content has: of the canonical manifest, its own version blank."""
        blank = dataclasses.replace(self, version="")
        return Digest.of(canonical(blank.json()).encode()).hex[:VERSION_DIGITS]

    @classmethod
    def parse(cls, data: bytes) -> BundleManifest:
        """Read bundle.json; BundleError if it is not one, or one of another format."""
        try:
            value = json.loads(data)
            known = value["format"]
        except (ValueError, RecursionError, KeyError, TypeError) as error:
            raise BundleError(f"`{BUNDLE_JSON}` is not a bundle manifest") from error
        if known != FORMAT:
            raise BundleError(f"`{BUNDLE_JSON}` has the format `{known}`, not `{FORMAT}`")
        try:
            return cls(
                flow=_name(value["flow"], "flow"),
                version=_text(value["version"]),
                steps={_name(name, "step"): _step(step) for name, step in value["steps"].items()},
                images=tuple(_image(image) for image in value["images"]),
                code=Descriptor.parse(value["code"]),
                flyte=Descriptor.parse(value["flyte"]),
                spec=value["spec"],
                domains=value["domains"],
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError(f"`{BUNDLE_JSON}` is not a bundle manifest: {error}") from error


def assemble(
    *,
    flow: str,
    steps: Mapping[str, tuple[Blob, Digest]],
    images: Sequence[BundleImage],
    code: Blob,
    flyte: Blob,
    spec: Any,
    domains: Any,
) -> BundleManifest:
    """The manifest of these parts, with its version. `steps`: image index and environment."""
    blank = BundleManifest(
        flow=flow,
        version="",
        steps={
            name: BundleStep(Descriptor(IMAGE_INDEX, image.digest, image.size), environment)
            for name, (image, environment) in steps.items()
        },
        images=tuple(sorted(images, key=lambda image: image.index)),
        code=Descriptor(CODE, code.digest, code.size),
        flyte=Descriptor(FLYTE, flyte.digest, flyte.size),
        spec=spec,
        domains=domains,
    )
    return dataclasses.replace(blank, version=blank.content_version())


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"`{value}` is not a string")
    return value


def _name(value: object, kind: str) -> str:
    """A flow's or a step's name, which becomes a part of paths."""
    if not _text(value).isidentifier():
        raise ValueError(f"`{value}` is not the name of a {kind}")
    return _text(value)


def _step(value: Mapping[str, Any]) -> BundleStep:
    return BundleStep(Descriptor.parse(value["image"]), Digest.parse(value["environment"]))


def _image(value: Mapping[str, Any]) -> BundleImage:
    manifests = {Platform.parse(p): Digest.parse(d) for p, d in value["manifests"].items()}
    return BundleImage(Digest.parse(value["index"]), manifests)
