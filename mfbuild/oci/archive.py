"""Tars of image layouts that Docker can load, written in one pass."""

from __future__ import annotations

import platform as machine
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mfbuild.engine.model import Blob, Digest, canonical
from mfbuild.errors import BundleError
from mfbuild.files import disk_errors, write_atomically
from mfbuild.oci.layout import Layout, blob_name, blob_named, children
from mfbuild.oci.types import IMAGE_INDEX, IMAGE_MANIFEST, Descriptor, Platform

DOCKER_INDEX = "manifest.json"
_BLOCK = 512
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class DockerImage:
    """One image of one platform as Docker loads it; `tags` are `name:tag`."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    tags: tuple[str, ...]


Member = tuple[str, int, Iterable[bytes]]
"""A file of a tar: its name, its size in bytes and its content."""


def host_platform() -> Platform:
    """The platform of the containers that this machine runs."""
    name = machine.machine().lower()
    return Platform("linux", _MACHINES.get(name, name))


def choose_platform(platforms: Iterable[Platform]) -> Platform:
    """This machine's platform if it is one of `platforms`, else the first by name."""
    found = sorted(platforms, key=str)
    host = host_platform()
    return host if host in found else found[0]


def image_name(flow: str, version: str, step: str) -> str:
    """The name under which Docker keeps a step's image: `<flow>:<version>-<step>`.

    Docker's names have lower case only, single separators, and no other letters than ASCII's.
    """
    name = re.sub(r"_{2,}", "_", _ascii(flow.lower())).strip("_") or "flow"
    return f"{name}:{f'{version}-{_ascii(step)}'[:128]}"


def docker_images(
    layout: Layout, tags: Mapping[Digest, Sequence[str]], platform: Platform
) -> tuple[DockerImage, ...]:
    """The images of `platform` below the image indexes that `tags` names; BundleError."""
    return tuple(
        _docker_image(layout, index, tuple(sorted(tags[index])), platform) for index in sorted(tags)
    )


def docker_index(images: Iterable[DockerImage]) -> bytes:
    """The manifest.json of `docker save`, its paths being those of the layout's blobs."""
    return canonical(
        [
            {
                "Config": blob_name(image.config.digest),
                "RepoTags": image.tags,
                "Layers": [blob_name(layer.digest) for layer in image.layers],
            }
            for image in images
        ]
    ).encode()


def docker_archive(layout: Layout, images: Sequence[DockerImage]) -> Iterator[bytes]:
    """A tar of `images` and of nothing else, for a daemon."""
    needed = {blob_name(d.digest) for image in images for d in (image.config, *image.layers)}
    index = docker_index(images)
    return tar([(DOCKER_INDEX, len(index), [index]), *_members(layout, needed)])


def write_archive(layout: Layout, destination: Path, images: Sequence[DockerImage]) -> Path:
    """The whole layout as one tar, with a manifest.json of `images` for Docker before 25.

    `destination` appears, or is replaced, when the tar is whole. BundleError if the layout is cut
    short, a blob is not what its digest promises, or the disk refuses.
    """
    index = docker_index(images)
    small = sorted(name for name in layout.files if "/" not in name and name != DOCKER_INDEX)
    blobs = sorted(name for name in layout.files if "/" in name)
    members = [
        *_members(layout, small),
        (DOCKER_INDEX, len(index), [index]),
        *_members(layout, blobs),
    ]
    with disk_errors(BundleError, f"writing `{destination}`", destination):
        write_atomically(destination, tar(members), mode=0o644)
    return destination


def tar(members: Iterable[Member]) -> Iterator[bytes]:
    """A tar (POSIX pax) of plain files, all of them mode 0644, of root and of the epoch."""
    import tarfile

    for name, size, chunks in members:
        info = tarfile.TarInfo(name)
        info.size = size
        yield info.tobuf(tarfile.PAX_FORMAT)
        done = 0
        for chunk in chunks:
            done += len(chunk)
            yield chunk
        if done != size:
            raise BundleError(f"`{name}` has been cut short: `{done}` of `{size}` bytes are there")
        yield bytes(-size % _BLOCK)
    yield bytes(2 * _BLOCK)


def _ascii(name: str) -> str:
    """`name` with each letter that is not ASCII spelled as its code point in hex."""
    return re.sub(r"[^A-Za-z0-9_]", lambda found: f"{ord(found[0]):x}", name)


def _members(layout: Layout, names: Iterable[str]) -> Iterator[Member]:
    for name in sorted(names):
        extent = layout.files.get(name)
        if extent is None:
            raise BundleError(f"`{name}` is missing", where=str(layout.path))
        digest = blob_named(name)
        chunks = layout.chunks(Blob(digest, extent.size)) if digest else extent.chunks()
        yield name, extent.size, chunks


def _docker_image(
    layout: Layout, index: Digest, tags: tuple[str, ...], platform: Platform
) -> DockerImage:
    listed = children(IMAGE_INDEX, layout.manifest(index), str(index))
    manifest = next((d for d in listed if d.platform == platform), None)
    if manifest is None:
        raise BundleError(f"image `{index}` is not there for `{platform}`", where=str(layout.path))
    document = layout.manifest(manifest.digest)
    config, *layers = children(IMAGE_MANIFEST, document, str(manifest.digest))
    return DockerImage(config, tuple(layers), tags)
