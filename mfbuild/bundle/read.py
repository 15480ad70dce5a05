"""Bundles that are there: read, verified, and given on as one file or to Docker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mfbuild.bundle.model import BUNDLE_JSON, BundleManifest
from mfbuild.bundle.write import bundle_index
from mfbuild.engine.model import Digest
from mfbuild.errors import BundleError, Problem
from mfbuild.oci import daemon
from mfbuild.oci.archive import (
    DOCKER_INDEX,
    DockerImage,
    choose_platform,
    docker_archive,
    docker_images,
    docker_index,
    image_name,
    write_archive,
)
from mfbuild.oci.layout import INDEX, MARKER, Layout, children
from mfbuild.oci.types import IMAGE_INDEX, Descriptor, Platform
from mfbuild.oci.validate import check_layout


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk: what it says, and where its blobs are."""

    manifest: BundleManifest
    layout: Layout

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """The platforms that every image of the bundle is there for, by name."""
        built = [set(image.manifests) for image in self.manifest.images]
        return tuple(sorted(set.intersection(*built), key=str)) if built else ()

    def read(self, descriptor: Descriptor) -> bytes:
        """The whole of a blob of the bundle, verified; BundleError."""
        return b"".join(self.layout.chunks(descriptor))


def read_bundle(path: Path) -> Bundle:
    """Open the bundle in the directory or tar `path`.

    BundleError if it is not a bundle, or if its version or its index are not those of its
    content. Blobs are checked where they are read; all of them at once by `verify_bundle`.
    """
    bundle = _open(path)
    BundleError.raise_for(_misnamed(bundle))
    return bundle


def verify_bundle(path: Path, note: Callable[[str], None] = lambda sentence: None) -> list[Problem]:
    """Everything that is wrong with the bundle in the directory or tar `path`; [] if nothing is.

    Digests, sizes, diffIDs and the version are computed anew. `note` gets a sentence for each
    thing that cannot be checked.
    """
    try:
        bundle = _open(path)
    except BundleError as error:
        return list(error.problems)
    found = [*_misnamed(bundle), *check_layout(bundle.layout, note)]
    try:
        found += _inconsistent(bundle)
    except BundleError as error:
        found += error.problems
    return list(dict.fromkeys(found))


def write_tar(bundle: Bundle, destination: Path) -> Path:
    """The bundle as one file, which Docker can load too (the images of one platform)."""
    return write_archive(bundle.layout, destination, _docker(bundle))


def load_bundle(bundle: Bundle) -> tuple[str, ...]:
    """Load the bundle's images into the local Docker daemon; their names there, sorted."""
    images = _docker(bundle)
    daemon.load(docker_archive(bundle.layout, images))
    return tuple(sorted(tag for image in images for tag in image.tags))


def _open(path: Path) -> Bundle:
    if not path.exists():
        raise BundleError(f"there is no bundle at `{path}`")
    layout = Layout.open(path)
    if BUNDLE_JSON not in layout.files:
        raise BundleError(f"`{path}` is not a bundle: it has no `{BUNDLE_JSON}`")
    return Bundle(BundleManifest.parse(layout.read(BUNDLE_JSON)), layout)


def _misnamed(bundle: Bundle) -> Iterator[Problem]:
    """What does not follow from the bundle's content, though it should."""
    manifest, layout = bundle.manifest, bundle.layout
    where = str(layout.path)
    if (version := manifest.content_version()) != manifest.version:
        yield Problem(f"the version is `{manifest.version}`, of its content `{version}`", where)
    elif layout.read(BUNDLE_JSON) != manifest.encode():
        yield Problem(f"`{BUNDLE_JSON}` is not written as mfbuild writes it", where)
    elif INDEX not in layout.files:
        yield Problem(f"`{INDEX}` is missing", where)
    elif layout.read(INDEX) != bundle_index(manifest):
        yield Problem(f"`{INDEX}` does not list what `{BUNDLE_JSON}` names", where)


def _inconsistent(bundle: Bundle) -> Iterator[Problem]:
    """What bundle.json says otherwise than the images do, and files of no bundle."""
    manifest, layout = bundle.manifest, bundle.layout
    where = str(layout.path)
    if {step.image.digest for step in manifest.steps.values()} != {
        image.index for image in manifest.images
    }:
        yield Problem(f"`{BUNDLE_JSON}` lists other images than its steps use", where)
    for image in manifest.images:
        listed = children(IMAGE_INDEX, layout.manifest(image.index), str(image.index))
        if {d.platform: d.digest for d in listed} != dict(image.manifests):
            yield Problem(f"image `{image.index}` has other manifests than it should", where)
    for name in sorted(set(layout.files) - {MARKER, INDEX, BUNDLE_JSON, DOCKER_INDEX}):
        if not name.startswith("blobs/"):
            yield Problem(f"`{name}` does not belong to the bundle", where)
    if DOCKER_INDEX in layout.files and layout.read(DOCKER_INDEX) not in [
        docker_index(_docker(bundle, platform)) for platform in bundle.platforms
    ]:
        yield Problem(f"`{DOCKER_INDEX}` does not name the images of the bundle", where)


def _docker(bundle: Bundle, platform: Platform | None = None) -> tuple[DockerImage, ...]:
    """The images of one platform, the machine's own where it is built, with names for Docker."""
    manifest = bundle.manifest
    tags: dict[Digest, list[str]] = {}
    for name, step in manifest.steps.items():
        tag = image_name(manifest.flow, manifest.version, name)
        tags.setdefault(step.image.digest, []).append(tag)
    if not bundle.platforms:
        raise BundleError(f"`{bundle.layout.path}` has no platform that all of its images are for")
    return docker_images(bundle.layout, tags, platform or choose_platform(bundle.platforms))
