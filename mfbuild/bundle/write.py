"""Bundles on disk: an OCI image layout that also holds bundle.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from mfbuild.bundle.model import ARTIFACT, BUNDLE_CONFIG, BUNDLE_JSON, BundleManifest
from mfbuild.engine.model import Digest
from mfbuild.errors import BundleError
from mfbuild.oci.image import image_index, image_manifest
from mfbuild.oci.layout import (
    BLOBS,
    INDEX,
    MARKER,
    MARKER_JSON,
    Extent,
    Layout,
    blob_name,
    reachable,
    write_layout,
)
from mfbuild.oci.types import IMAGE_MANIFEST, REF_NAME, Descriptor


def bundle_path(flow: str, version: str, dist: Path) -> Path:
    """Where `write_bundle` writes: `<dist>/<Flow>-<version>`."""
    return dist / f"{flow}-{version}"


def write_bundle(
    manifest: BundleManifest, blobs: Mapping[Digest, Path | Extent], dist: Path
) -> Path:
    """Write the bundle below `dist`, from local copies of its blobs; its path.

    `blobs` has all that the manifest leads to: indexes, manifests, configs, layers, the code and
    the templates; what else is in there is left out. A bundle that is there already is kept, so
    that two writers may meet. BundleError if a blob is missing or changed, or if the disk refuses.
    """

    def read(descriptor: Descriptor) -> bytes:
        source = _source(blobs, descriptor)
        data = source.read_bytes() if isinstance(source, Path) else b"".join(source.chunks())
        if Digest.of(data) != descriptor.digest:
            raise BundleError(f"blob `{descriptor.digest}` has changed")
        return data

    roots = [manifest.code, manifest.flyte, *(step.image for step in manifest.steps.values())]
    needed = {d.digest: _source(blobs, d) for d in reachable(read, roots)}
    config = manifest.encode()
    artifact = bundle_artifact(manifest)
    return write_layout(
        bundle_path(manifest.flow, manifest.version, dist),
        bundle_index(manifest),
        {**needed, Digest.of(config): config, Digest.of(artifact): artifact},
        {BUNDLE_JSON: config},
    )


def copy_bundle(manifest: BundleManifest, layout: Layout, dist: Path) -> Path:
    """Write a bundle that is in the directory or tar `layout` below `dist`, as `write_bundle`."""
    blobs = {
        Digest(PurePosixPath(name).name): extent.path if layout.path.is_dir() else extent
        for name, extent in layout.files.items()
        if name.startswith(BLOBS)
    }
    return write_bundle(manifest, blobs, dist)


def bundle_is_whole(path: Path, version: str) -> bool:
    """Whether the bundle of this version is at `path` with every file in its size.

    Meant to be cheap: no blob but the manifests is read, and nothing is hashed.
    """
    try:
        layout = Layout.open(path)
        manifest = BundleManifest.parse(layout.read(BUNDLE_JSON))
        small = {
            MARKER: MARKER_JSON,
            INDEX: bundle_index(manifest),
            BUNDLE_JSON: manifest.encode(),
        }
        if manifest.version != version or any(layout.read(n) != d for n, d in small.items()):
            return False
        found = reachable(lambda d: layout.read(blob_name(d.digest)), layout.index())
        sizes = {blob_name(d.digest): d.size for d in found}
    except (BundleError, OSError):
        return False
    return all(name in layout.files and layout.files[name].size == n for name, n in sizes.items())


def bundle_artifact(manifest: BundleManifest) -> bytes:
    """The bundle as an OCI artifact: bundle.json is its config, code and templates its layers."""
    config = manifest.encode()
    described = Descriptor(BUNDLE_CONFIG, Digest.of(config), len(config))
    return image_manifest(described, [manifest.code, manifest.flyte], ARTIFACT)


def bundle_index(manifest: BundleManifest) -> bytes:
    """The bundle's index.json: every step's image under the step's name, and the bundle itself.

    The bundle's name has an `@`, which no step's can have.
    """
    steps = [
        dataclasses.replace(step.image, annotations={REF_NAME: name})
        for name, step in sorted(manifest.steps.items())
    ]
    artifact = bundle_artifact(manifest)
    itself = Descriptor(
        media_type=IMAGE_MANIFEST,
        digest=Digest.of(artifact),
        size=len(artifact),
        annotations={REF_NAME: f"bundle@{manifest.version}"},
        artifact_type=ARTIFACT,
    )
    return image_index([*steps, itself])


def _source(blobs: Mapping[Digest, Path | Extent], descriptor: Descriptor) -> Path | Extent:
    found = blobs.get(descriptor.digest)
    if found is None or not (found if isinstance(found, Path) else found.path).is_file():
        raise BundleError(f"blob `{descriptor.digest}` is missing")
    return found
