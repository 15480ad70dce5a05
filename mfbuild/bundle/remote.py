"""Bundles in a registry: pushed whole as one image index, found by version, read and pulled."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mfbuild.bundle.model import ARTIFACT, BUNDLE_JSON, BundleManifest
from mfbuild.bundle.read import Bundle
from mfbuild.bundle.write import (
    bundle_artifact,
    bundle_index,
    bundle_is_whole,
    bundle_path,
    write_bundle,
)
from mfbuild.engine.events import How, Reporter
from mfbuild.engine.model import Blob, Digest
from mfbuild.errors import BundleError, FetchError, Interrupted
from mfbuild.files import disk_errors, locked
from mfbuild.http.parallel import Tick, for_each
from mfbuild.oci.access import Registry
from mfbuild.oci.layout import Layout, children, reachable
from mfbuild.oci.push import DocumentRefused, push_images
from mfbuild.oci.reference import Reference
from mfbuild.oci.registry import Repository
from mfbuild.oci.types import (
    IMAGE_INDEX,
    IMAGE_MANIFEST,
    INDEX_TYPES,
    MANIFEST_TYPES,
    Descriptor,
)
from mfbuild.oci.upload import Origin


@dataclass(frozen=True, slots=True)
class RemoteBundle:
    """A bundle in a registry: what it says, and where its blobs are."""

    manifest: BundleManifest
    repository: Repository

    def read(self, descriptor: Descriptor) -> bytes:
        """The whole of a blob, manifest or index of the bundle, verified; FetchError."""
        if descriptor.media_type in (*INDEX_TYPES, *MANIFEST_TYPES):
            return self.repository.manifest(descriptor.digest)
        return b"".join(self.repository.chunks(descriptor))


def push_bundle(
    bundle: Bundle | RemoteBundle,
    repository: Repository,
    *,
    jobs: int,
    reporter: Reporter,
    mount: Sequence[str] = (),
    tag: str | None = None,
) -> bool:
    """Put a bundle into a repository, as `tag`, its version by default; False if it was there.

    A registry that takes no index of indexes, or no artifact, gets the images alone, each with a
    tag of its own, `<version>-<12 digits of its digest>`, and a warning tells so. Raises as
    `push_images` does, which also says what `mount` is for.
    """
    index = bundle_index(bundle.manifest)
    root = Descriptor(IMAGE_INDEX, Digest.of(index), len(index))
    origin: Origin = (
        bundle.repository if isinstance(bundle, RemoteBundle) else _Indexed(bundle.layout, index)
    )
    push = partial(push_images, origin, jobs=jobs, reporter=reporter, mount=mount)
    name = tag or bundle.manifest.version
    try:
        return push([root], repository, tag=name)
    except DocumentRefused as refusal:
        artifact = Digest.of(bundle_artifact(bundle.manifest))
        if refusal.descriptor.digest not in (root.digest, artifact):
            raise
        images = {step.image.digest: step.image for step in bundle.manifest.steps.values()}
        sent = [
            push([image], repository, tag=f"{name}-{digest.hex[:12]}")
            for digest, image in sorted(images.items(), key=lambda item: item[0].hex)
        ]
        reporter.warn(
            f"{refusal}: `{repository}` has the images alone, with a tag each; "
            "the bundle cannot be pulled or promoted from there"
        )
        return any(sent)


def find_remote(repository: Repository, version: str) -> RemoteBundle | None:
    """The bundle of this version; None if it is not there.

    FetchError if that cannot be told; BundleError if something else is there under its name.
    """
    index = repository.tagged(version)
    if index is None:
        return None
    bundle = _open(repository, index, f"{repository}:{version}")
    if bundle.manifest.version != version:
        found = bundle.manifest.version
        raise BundleError(f"`{repository}:{version}` is the bundle of version `{found}`")
    return bundle


def pull_bundle(bundle: RemoteBundle, dist: Path, *, jobs: int, reporter: Reporter) -> Path:
    """Copy a bundle to below `dist`; its path.

    The layout is that of `write_bundle`; all that is in it is verified. FetchError; BundleError if
    it is not in order, or if the disk refuses.
    """
    manifest = bundle.manifest
    path = bundle_path(manifest.flow, manifest.version, dist)
    if bundle_is_whole(path, manifest.version):
        return path
    try:
        with disk_errors(BundleError, f"writing `{path}`", path), _scratch(dist) as folder:
            return write_bundle(manifest, _download(bundle, folder, jobs, reporter), dist)
    except KeyboardInterrupt:
        raise Interrupted("interrupted") from None


@dataclass(frozen=True, slots=True)
class _Indexed:
    """A layout with its index.json, which is no blob of it, as a document among the others."""

    layout: Layout
    index: bytes

    def manifest(self, digest: Digest) -> bytes:
        return self.index if digest == Digest.of(self.index) else self.layout.manifest(digest)

    def chunks(self, blob: Blob | Descriptor) -> Iterator[bytes]:
        return self.layout.chunks(blob)


def send_bundle(
    bundle: Bundle, text: str, environ: Mapping[str, str], *, jobs: int, reporter: Reporter
) -> None:
    """Push a bundle to `oci://host/repository[:tag]`, by default as its version.

    `environ` says where docker keeps logins, and whom to trust. UsageError for
    another reference; and as `push_bundle`.
    """
    reference = Reference.remote(text, bare=True)
    repository = Repository(Registry(reference.host, environ), reference.path)
    push_bundle(bundle, repository, jobs=jobs, reporter=reporter, tag=reference.tag)


def open_remote(text: str, environ: Mapping[str, str]) -> RemoteBundle:
    """The bundle `oci://host/repository:<version>` (or by digest); its layers are not read.

    UsageError for another reference; FetchError; BundleError if it is no bundle.
    """
    reference = Reference.remote(text)
    repository = Repository(Registry(reference.host, environ), reference.path)
    if reference.digest is not None:
        return _open(repository, repository.manifest(reference.digest), str(reference))
    assert reference.tag is not None
    index = repository.tagged(reference.tag)
    if index is None:
        raise FetchError(f"there is no `{reference}`")
    return _open(repository, index, str(reference))


def _open(repository: Repository, index: bytes, name: str) -> RemoteBundle:
    """The bundle of which `index` is the index.json; BundleError if it is none, or not in order."""
    try:
        listed = children(IMAGE_INDEX, index, name)
        [itself] = [entry for entry in listed if entry.artifact_type == ARTIFACT]
        artifact = repository.manifest(itself.digest)
        config = children(IMAGE_MANIFEST, artifact, name)[0]
    except (BundleError, ValueError) as error:
        raise BundleError(f"`{name}` is not a bundle") from error
    manifest = BundleManifest.parse(repository.blob(config.digest))
    if manifest.version != manifest.content_version() or bundle_index(manifest) != index:
        raise BundleError(f"`{name}` is not the bundle that its `{BUNDLE_JSON}` describes")
    return RemoteBundle(manifest, repository)


def _download(
    bundle: RemoteBundle, folder: Path, jobs: int, reporter: Reporter
) -> Mapping[Digest, Path]:
    """All that a bundle leads to, as read-only files of `folder`."""
    repository, manifest = bundle.repository, bundle.manifest
    documents: dict[Digest, bytes] = {}

    def read(descriptor: Descriptor) -> bytes:
        documents[descriptor.digest] = repository.manifest(descriptor.digest)
        return documents[descriptor.digest]

    def fetch(blob: Descriptor, tick: Tick) -> None:
        path = paths[blob.digest]
        if blob.digest in documents:
            path.write_bytes(documents[blob.digest])
        else:
            _fetch(repository, blob, path, tick, reporter)
        path.chmod(0o444)

    roots = [manifest.code, manifest.flyte, *(step.image for step in manifest.steps.values())]
    found = list(reachable(read, roots))
    paths = {descriptor.digest: folder / descriptor.digest.hex for descriptor in found}
    for_each(sorted(found, key=lambda blob: -blob.size), fetch, jobs)
    return paths


def _fetch(
    repository: Repository, blob: Descriptor, path: Path, tick: Tick, reporter: Reporter
) -> None:
    label = f"{repository}@sha256:{blob.digest.hex[:12]}"
    done = 0

    def count(size: int) -> None:
        nonlocal done
        tick(size)
        done += size
        reporter.progress(label, done, blob.size)

    began = time.monotonic()
    how: How = "failed"
    reporter.started(label, "pull")
    try:
        repository.download(blob, path, count)
        how = "fetched"
    finally:
        reporter.finished(label, how, time.monotonic() - began)


@contextmanager
def _scratch(dist: Path) -> Iterator[Path]:
    """A folder on the disk of `dist`, for one pull at a time; cleared of what a killed one left."""
    folder = dist / ".pull"
    with locked(dist / ".pull.lock"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
