"""Bundles on disk: an OCI image layout that also holds bundle.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from mfbuild.bundle.model import ARTIFACT, BUNDLE_CONFIG, BUNDLE_JSON, BundleManifest
from mfbuild.engine.model import Digest
from mfbuild.engine.seal import is_sealed
from mfbuild.engine.seal import seal as seal_folder
from mfbuild.errors import BundleError
from mfbuild.oci.image import image_index, image_manifest
from mfbuild.oci.layout import (
    BLOBS,
    INDEX,
    MARKER,
    MARKER_JSON,
    Extent,
    Hashed,
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
    manifest: BundleManifest, blobs: Mapping[Digest, Path | Extent | Hashed], dist: Path
) -> Path:
    """Write the bundle below `dist`, from local copies of its blobs; its path.

    `blobs` has all that the manifest leads to: indexes, manifests, configs, layers, the code and
    the templates; what else is in there is left out. A bundle that is there already is kept, so
    that two writers may meet. BundleError if a blob is missing or changed, or if the disk refuses.
    """

    def read(descriptor: Descriptor) -> bytes:
        source = _source(blobs, descriptor)
        file = source.path if isinstance(source, Hashed) else source
        data = file.read_bytes() if isinstance(file, Path) else b"".join(file.chunks())
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


def bundle_is_whole(path: Path, version: str, seal: Path | None = None) -> bool:
    """Whether the bundle of this version is at `path`, every byte of it.

    Where its files look as the file `seal` says, none but the small ones is read; else, and without
    one, all are hashed, and the folder is sealed anew (`engine.seal`).
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
        found = list(reachable(lambda d: layout.manifest(d.digest), layout.index()))
        if not {blob_name(d.digest) for d in found} <= layout.files.keys():
            return False
        if seal is not None and is_sealed(path, seal):
            return True
        for descriptor in found:
            for _ in layout.chunks(descriptor):
                pass  # the last piece comes only if all are right
        if seal is not None:
            seal_folder(path, seal)
    except (BundleError, OSError):
        return False
    return True


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


def _source(
    blobs: Mapping[Digest, Path | Extent | Hashed], descriptor: Descriptor
) -> Path | Extent | Hashed:
    found = blobs.get(descriptor.digest)
    if found is None or not (found if isinstance(found, Path) else found.path).is_file():
        raise BundleError(f"blob `{descriptor.digest}` is missing")
    return found
