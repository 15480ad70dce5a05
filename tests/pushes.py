"""Small images to push, and what a repository of a docker-registry holds afterwards."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path

from mfbuild.engine.events import Silent
from mfbuild.oci.access import Registry
from mfbuild.oci.auth import Credentials
from mfbuild.oci.image import image_index
from mfbuild.oci.layout import Layout, reachable, write_layout
from mfbuild.oci.push import push_images
from mfbuild.oci.registry import Repository
from mfbuild.oci.types import IMAGE_INDEX, Descriptor
from tests.layouts import AMD64, Store, layer, store_image


@dataclass(frozen=True)
class Pushable:
    """A layout with one image index of one image of one layer."""

    layout: Layout
    root: Descriptor
    layer: Descriptor

    def push(self, to: Repository, *, tag: str | None = "v", mount: tuple[str, ...] = ()) -> bool:
        return push_images(
            self.layout, [self.root], to, tag=tag, jobs=2, reporter=Silent(), mount=mount
        )

    def check(self, repository: Repository, tag: str = "v") -> None:
        """All of it is there, and is what it should be."""
        assert repository.find(tag) == self.root.digest
        found = list(reachable(lambda d: repository.manifest(d.digest), [self.root]))
        for blob in found:
            if not blob.media_type.endswith(("index.v1+json", "manifest.v1+json")):
                expected = b"".join(self.layout.chunks(blob))
                assert b"".join(repository.chunks(blob)) == expected
        assert len(found) == 4


def pushable(folder: Path, size: int = 3_000_000) -> Pushable:
    """A layout in the new directory `folder`, its layer of at least `size` bytes."""
    store = Store(folder / "store")
    made = layer({"data": random.Random(size).randbytes(size)})
    index, _ = store_image(store, {AMD64: [made]})
    root = Descriptor(IMAGE_INDEX, index.digest, index.size)
    layout = Layout.open(write_layout(folder / "layout", image_index([root]), dict(store.blobs)))
    blobs = reachable(lambda d: layout.manifest(d.digest), [root])
    [described] = [d for d in blobs if d.media_type.endswith("tar+gzip")]
    return Pushable(layout, root, described)


def repository(host: str, path: str = "team/repo", known: Credentials | None = None) -> Repository:
    """A repository, by a client that does not wait before it tries again."""
    return Repository(Registry(host, os.environ, lambda host: known, lambda seconds: None), path)


def state(folder: Path, path: str = "team/repo") -> set[str]:
    """What a docker-registry with its files in `folder` has in a repository, uploads left out."""
    root = folder / "data/docker/registry/v2/repositories" / path
    links = (file for file in root.rglob("*") if file.is_file() and "_uploads" not in file.parts)
    return {f"{file.relative_to(root)} {file.read_text()}" for file in links}
