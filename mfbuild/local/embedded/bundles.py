"""The bundles that the embedded backend keeps, which are its registry of images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mfbuild.bundle.read import Bundle, read_bundle
from mfbuild.bundle.write import bundle_is_whole, bundle_path, copy_bundle
from mfbuild.engine.seal import seal
from mfbuild.local.embedded.files import BUNDLES, SEALS, BackendFiles


def keep(bundle: Bundle, files: BackendFiles) -> Path:
    """A copy of `bundle` among those that are kept, written unless it is there; BundleError."""
    manifest = bundle.manifest
    path = _path(manifest.flow, manifest.version, files)
    if not is_whole(manifest.flow, manifest.version, files):
        copy_bundle(manifest, bundle.layout, path.parent)
        seal(path, files.root / SEALS / path.name)
    return path


def is_whole(flow: str, version: str, files: BackendFiles) -> bool:
    """Whether the bundle of a flow's version is kept, every byte of it."""
    path = _path(flow, version, files)
    return bundle_is_whole(path, version, files.root / SEALS / path.name)


def find(flow: str, version: str, files: BackendFiles) -> Bundle | None:
    """The bundle of a flow's version; None if none is kept, BundleError if it is damaged."""
    if "/" in flow + version:  # neither has one: it would lead elsewhere
        return None
    path = _path(flow, version, files)
    return read_bundle(path) if path.exists() else None


def of_flow(flow: str, files: BackendFiles) -> Iterator[Bundle]:
    """Every kept bundle of a flow; BundleError if one is damaged."""
    for path in sorted((files.root / BUNDLES).glob("*-*")):
        if path.name.startswith(f"{flow}-"):
            yield read_bundle(path)


def _path(flow: str, version: str, files: BackendFiles) -> Path:
    return bundle_path(flow, version, files.root / BUNDLES)
