"""OCI images of others as bases: their layers per platform, read from a registry or a layout."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mfbuild.engine.model import Digest
from mfbuild.errors import FetchError, Problem, UsageError
from mfbuild.oci.access import Registry
from mfbuild.oci.layout import Layout, children, json_object
from mfbuild.oci.reference import Reference
from mfbuild.oci.registry import Repository
from mfbuild.oci.types import (
    IMAGE_INDEX,
    IMAGE_MANIFEST,
    INDEX_TYPES,
    LAYER_GZIP,
    MANIFEST_TYPES,
    BaseLayer,
    Descriptor,
    ForeignBase,
    Platform,
    Resolve,
)

LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
RELABELED = {
    "application/vnd.docker.image.rootfs.diff.tar": LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER_GZIP,
    "application/vnd.docker.image.rootfs.diff.tar.zstd": LAYER_ZSTD,
}
"""Docker's schema 2 and OCI name the same bytes differently (image-spec, media-types.md)."""


class Images(Protocol):
    """Where manifests and configs are read from, verified; FetchError or BundleError."""

    def manifest(self, digest: Digest) -> bytes: ...

    def blob(self, digest: Digest) -> bytes: ...


def open_images(reference: Reference, environ: Mapping[str, str]) -> Images:
    """The registry or layout that `reference` names."""
    if reference.directory is not None:
        return Layout.open(reference.directory)
    return Repository(Registry(reference.host, environ), reference.path)


def foreign_resolver(environ: Mapping[str, str]) -> Resolve:
    """`resolve_foreign` in the registry or layout that each reference names."""

    def resolve(reference: str, platforms: Sequence[Platform]) -> Mapping[Platform, ForeignBase]:
        images = open_images(Reference.pinned(reference), environ)
        return resolve_foreign(reference, platforms, images)

    return resolve


def resolve_foreign(
    reference: str, platforms: Sequence[Platform], images: Images
) -> Mapping[Platform, ForeignBase]:
    """The image `reference` (by digest) in `images` for each of `platforms`, media types as OCI's.

    UsageError if it is not there for one of them; FetchError or BundleError if it cannot be read
    or is not an image.
    """
    parsed = Reference.pinned(reference)
    assert parsed.digest is not None
    found = _by_platform(images, parsed.digest, reference)
    chosen = {wanted: _choose(wanted, found) for wanted in platforms}
    have = ", ".join(f"`{platform}`" for platform in sorted(found, key=str))
    UsageError.raise_for(
        [
            Problem(f"`{reference}` has no image for `{wanted}`", hint=f"it has {have or 'none'}")
            for wanted, digest in chosen.items()
            if digest is None
        ]
    )
    return {wanted: _base(images, parsed, digest) for wanted, digest in chosen.items() if digest}


def _by_platform(images: Images, digest: Digest, name: str) -> dict[Platform, Digest]:
    """The manifests that an index lists, or the single one that `digest` is."""
    document = images.manifest(digest)
    media_type = _media_type(document, name)
    if media_type in INDEX_TYPES:
        return {
            d.platform: d.digest
            for d in children(media_type, document, name)
            # Attestations are listed for the platform `unknown/unknown`.
            if d.platform and d.media_type in MANIFEST_TYPES and d.platform.os != "unknown"
        }
    config = _config(images, children(media_type, document, name)[0], name)
    try:
        return {Platform.of(config): digest}
    except (KeyError, TypeError) as error:
        raise FetchError(f"the config of `{name}` names no platform") from error


def _media_type(document: bytes, name: str) -> str:
    """The media type of a manifest or index; OCI ones need not say theirs."""
    value = json_object(document, name)
    implied = IMAGE_INDEX if "manifests" in value else IMAGE_MANIFEST
    media_type = str(value.get("mediaType") or implied)
    if value.get("schemaVersion") != 2 or media_type not in (*INDEX_TYPES, *MANIFEST_TYPES):
        raise FetchError(f"`{name}` is not an image: it is `{media_type}`")
    return media_type


def _choose(wanted: Platform, found: Mapping[Platform, Digest]) -> Digest | None:
    """The manifest for `wanted`: arm64 without a variant means v8, the only one there is."""
    alike = [wanted]
    if wanted.architecture == "arm64" and wanted.variant in (None, "v8"):
        alike += [dataclasses.replace(wanted, variant=v) for v in (None, "v8")]
    return next((found[platform] for platform in alike if platform in found), None)


def _base(images: Images, reference: Reference, digest: Digest) -> ForeignBase:
    name = f"{reference.repository}@{digest}"
    document = images.manifest(digest)
    config, *layers = children(_media_type(document, name), document, name)
    value = _config(images, config, name)
    try:
        diff_ids = [Digest.parse(text) for text in value["rootfs"]["diff_ids"]]
        env = tuple(str(entry) for entry in (value.get("config") or {}).get("Env") or ())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FetchError(f"the config of `{name}` is not valid") from error
    if len(diff_ids) != len(layers):
        raise FetchError(f"`{name}` has `{len(layers)}` layers and `{len(diff_ids)}` diffIDs")
    relabeled = [_relabel(layer, name) for layer in layers]
    pairs = zip(relabeled, diff_ids, strict=True)
    return ForeignBase(reference.repository, tuple(BaseLayer(*pair) for pair in pairs), env)


def _config(images: Images, config: Descriptor, name: str) -> dict[str, Any]:
    return json_object(images.blob(config.digest), f"config of {name}")


def _relabel(layer: Descriptor, name: str) -> Descriptor:
    media_type = RELABELED.get(layer.media_type, layer.media_type)
    if media_type not in RELABELED.values():
        raise FetchError(f"`{name}` has a layer that cannot be copied: `{layer.media_type}`")
    return Descriptor(media_type, layer.digest, layer.size)
