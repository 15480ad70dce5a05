"""The bundle manifest: what bundle.json says, and the version that is its digest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from mfbuild.engine.foreign import parse_json
from mfbuild.engine.model import Blob, Digest, canonical
from mfbuild.errors import BundleError
from mfbuild.flow.codec import from_public_json, public_json
from mfbuild.flow.decode import Malformed, member, of
from mfbuild.flow.spec import FlowSpec
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
class DomainRecord:
    """What of a domain of BUILD.toml shapes its entities, and so is in the version.

    `metaflow` are settings by their names in lower case, without METAFLOW_; `resources` what a
    step gets that does not ask for it (cpu in cores, memory and disk in MiB), which bundles of
    earlier versions do not say: it is the platform's then.
    """

    registry: str | None
    service_account: str | None
    image_pull_secrets: tuple[str, ...]
    metaflow: Mapping[str, str]
    resources: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BundleManifest:
    """What a bundle holds, by digest; `spec` is the public FlowSpec, `domains` are by name.

    `document` is the object of bundle.json, out of which the other fields were read. Its bytes and
    its version are made of it, so that both keep what a later mfbuild has added. No project,
    endpoint, code address, provenance or path is in here.
    """

    flow: str
    version: str
    steps: Mapping[str, BundleStep]
    images: tuple[BundleImage, ...]
    code: Descriptor
    flyte: Descriptor
    spec: FlowSpec
    domains: Mapping[str, DomainRecord]
    document: Mapping[str, Any] = field(repr=False)

    def encode(self) -> bytes:
        """The bytes of bundle.json: indented for people, sorted for machines."""
        text = json.dumps(
            self.document, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False
        )
        return f"{text}\n".encode()

    def content_version(self) -> str:
        """The version that this content has: of the canonical manifest, its own version blank."""
        return _version(self.document)

    @classmethod
    def parse(cls, data: bytes) -> BundleManifest:
        """Read bundle.json; BundleError, with where in it, if it is none or of another format."""
        try:
            value = parse_json(data)
            known = value["format"]
            canonical(value).encode()  # refuses NaN and half a surrogate pair, which JSON can write
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(f"`{BUNDLE_JSON}` is not a bundle manifest") from error
        if known != FORMAT:
            raise BundleError(f"`{BUNDLE_JSON}` has the format `{known}`, not `{FORMAT}`")
        try:
            return _manifest(value)
        except Malformed as error:
            raise BundleError(f"`{BUNDLE_JSON}` is not a bundle manifest: {error}") from error


def assemble(
    *,
    flow: str,
    steps: Mapping[str, tuple[Blob, Digest]],
    images: Sequence[BundleImage],
    code: Blob,
    flyte: Blob,
    spec: FlowSpec,
    domains: Mapping[str, DomainRecord],
) -> BundleManifest:
    """The manifest of these parts, with its version. `steps`: image index and environment."""
    document = {
        "format": FORMAT,
        "flow": flow,
        "version": "",
        "steps": {
            name: {
                "image": Descriptor(IMAGE_INDEX, image.digest, image.size).json(),
                "environment": str(environment),
            }
            for name, (image, environment) in steps.items()
        },
        "images": [
            {
                "index": str(image.index),
                "manifests": {str(p): str(digest) for p, digest in image.manifests.items()},
            }
            for image in sorted(images, key=lambda image: image.index)
        ],
        "code": Descriptor(CODE, code.digest, code.size).json(),
        "flyte": Descriptor(FLYTE, flyte.digest, flyte.size).json(),
        "spec": public_json(spec),
        "domains": {name: asdict(record) for name, record in domains.items()},
    }
    # As JSON has it, so that a manifest is the same whether it was made or read.
    document = json.loads(canonical({**document, "version": _version(document)}))
    return _manifest(document)


def _version(document: Mapping[str, Any]) -> str:
    return Digest.of(canonical({**document, "version": ""}).encode()).hex[:VERSION_DIGITS]


def _manifest(document: Mapping[str, Any]) -> BundleManifest:
    """The one place where a document becomes values; Malformed."""
    found = BundleManifest(
        flow=member(document, "flow", _name),
        version=member(document, "version", of(str)),
        steps=member(document, "steps", _steps),
        images=member(document, "images", of(tuple[BundleImage, ...])),
        code=member(document, "code", Descriptor.parse),
        flyte=member(document, "flyte", Descriptor.parse),
        spec=member(document, "spec", from_public_json),
        domains=member(document, "domains", of(dict[str, DomainRecord])),
        document=document,
    )
    spec, steps = found.spec, {step.name for step in found.spec.steps}
    if (spec.name, steps) != (found.flow, set(found.steps)) or spec.start not in steps:
        raise Malformed("another flow than the bundle's own", "spec")
    return found


def _name(value: Any) -> str:
    """The name of a flow or a step, which becomes part of paths."""
    if not isinstance(value, str) or not value.isidentifier():
        raise Malformed(f"`{value}` is not a name")
    return value


def _steps(value: Any) -> dict[str, BundleStep]:
    return {_name(name): step for name, step in of(dict[str, BundleStep])(value).items()}
