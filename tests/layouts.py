"""Small images, layouts and bundles for tests, made by the tools that make real ones."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mfbuild.bundle.model import BundleImage, BundleManifest, DomainRecord, assemble
from mfbuild.bundle.read import Bundle, read_bundle
from mfbuild.bundle.write import write_bundle
from mfbuild.engine.model import Blob, Digest, Work
from mfbuild.oci import image as tools
from mfbuild.oci.tar import LayerWriter
from mfbuild.oci.types import LAYER_GZIP, LayerInfo, Platform
from tests.specs import flow, step

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")
BOTH = (AMD64, ARM64)
BUSYBOX = Path("/bin/busybox")


@dataclass(frozen=True)
class Held:
    """An input of a tool that is held in memory; `unread` makes reading it an error."""

    data: bytes
    unread: bool = False

    @property
    def blob(self) -> Blob:
        return Blob(Digest.of(self.data), len(self.data))

    def path(self) -> Path:
        raise AssertionError("only metadata is read from memory")

    def chunks(self) -> Iterator[bytes]:
        yield self.read()

    def read(self) -> bytes:
        assert not self.unread, "the bytes of a layer are not to be read"
        return self.data


@dataclass(frozen=True)
class Layer:
    """A layer, as a layer-making tool leaves it."""

    data: bytes
    info: LayerInfo
    paths: str
    media_type: str = LAYER_GZIP
    foreign: bool = False


@dataclass(frozen=True)
class Image:
    """One platform's image."""

    config: bytes
    manifest: bytes
    layers: tuple[Layer, ...]


@dataclass
class Store:
    """Blobs as read-only files, by digest."""

    folder: Path
    blobs: dict[Digest, Path] = field(default_factory=dict)

    def add(self, data: bytes) -> Blob:
        digest = Digest.of(data)
        path = self.folder / digest.hex
        if digest not in self.blobs:
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            path.chmod(0o444)
            self.blobs[digest] = path
        return Blob(digest, len(data))


def layer(files: Mapping[str, bytes], owner: str = "owner", mode: int = 0o644) -> Layer:
    """A layer of these files; a name with `/` at its end is a directory."""
    out = io.BytesIO()
    writer = LayerWriter(out, lambda n: None)
    for path in sorted(files, key=str.encode):
        if path.endswith("/"):
            writer.directory(path[:-1], 0o777)
        else:
            writer.file(path, files[path], mode, owner=owner)
    info = LayerInfo(diff_id=writer.close(), comment=f"layer of {owner}")
    return Layer(out.getvalue(), info, "".join(writer.paths))


def image_work(scratch: Path, layers: Sequence[Layer], **params: Any) -> Work:
    """What the tool `oci.image` is called with for `layers`."""
    inputs: dict[str, Held] = {}
    described = []
    for number, each in enumerate(layers):
        name = f"{number:02d}"
        inputs[f"layer/{name}"] = Held(each.data, unread=True)
        entry = {"input": name, "media_type": each.media_type}
        if each.foreign:
            entry["diff_id"] = str(each.info.diff_id)
        else:
            inputs[f"info/{name}"] = Held(json.dumps(each.info.json()).encode())
            inputs[f"paths/{name}"] = Held(each.paths.encode())
        described.append(entry)
    scratch.mkdir(parents=True, exist_ok=True)
    outputs = {name: scratch / name for name in ("config", "manifest")}
    for path in outputs.values():
        path.unlink(missing_ok=True)
    settings = {"platform": str(AMD64), "user": "65532:65532", **params, "layers": described}
    return Work(settings, inputs, outputs, scratch, lambda n: None)


def make_image(scratch: Path, layers: Sequence[Layer], **params: Any) -> Image:
    """An image by `oci.image`."""
    work = image_work(scratch, layers, **params)
    tools.image(work)
    read = {name: path.read_bytes() for name, path in work.outputs.items()}
    return Image(read["config"], read["manifest"], tuple(layers))


def make_index(scratch: Path, images: Mapping[Platform, Image]) -> bytes:
    """An image index by `oci.index`."""
    scratch.mkdir(parents=True, exist_ok=True)
    out = scratch / "index"
    out.unlink(missing_ok=True)
    inputs = {str(p): Held(image.manifest) for p, image in images.items()}
    params = {"platforms": [str(p) for p in images]}
    tools.index(Work(params, inputs, {"index": out}, scratch, lambda n: None))
    return out.read_bytes()


def store_image(
    store: Store, layers: Mapping[Platform, Sequence[Layer]], **params: Any
) -> tuple[Blob, BundleImage]:
    """An image for several platforms with all its blobs in `store`; its index."""
    scratch = store.folder.with_name("scratch")
    made = {p: make_image(scratch, found, platform=str(p), **params) for p, found in layers.items()}
    for image in made.values():
        for data in (image.config, image.manifest, *(each.data for each in image.layers)):
            store.add(data)
    index = store.add(make_index(scratch, made))
    manifests = {p: Digest.of(image.manifest) for p, image in made.items()}
    return index, BundleImage(index.digest, manifests)


def sample_bundle(
    store: Store, base: Mapping[Platform, Layer] | None = None, code: bytes = b"code"
) -> BundleManifest:
    """A bundle of three steps: `train` has an image of its own, the others share one."""
    base = base or {p: layer({"etc/arch": str(p).encode()}, "base") for p in BOTH}
    wheel = layer({"opt/venv/lib/pandas.py": b"pandas"}, "pandas")
    shared, shared_image = store_image(store, {p: [base[p]] for p in base}, env=["STEP=any"])
    own, own_image = store_image(store, {p: [base[p], wheel] for p in base}, env=["STEP=train"])
    plain, pandas = Digest.of(b"plain"), Digest.of(b"pandas")
    return assemble(
        flow="TrainFlow",
        steps={"start": (shared, plain), "train": (own, pandas), "end": (shared, plain)},
        images=[own_image, shared_image],
        code=store.add(code),
        flyte=store.add(b"templates"),
        spec=flow(step("start", next=("train",)), step("train", next=("end",)), step("end")),
        domains={"staging": DomainRecord("registry.example.com/ml", None, (), {})},
    )


def runnable_bundle(folder: Path) -> Bundle:
    """A bundle below `folder` whose base is a busybox, the same program for every platform."""
    assert BUSYBOX.exists(), "busybox is not installed (Debian's busybox-static has it)"
    program = BUSYBOX.read_bytes()
    base = {
        p: layer({"bin/busybox": program, "bin/arch": str(p).encode()}, "busybox", 0o755)
        for p in BOTH
    }
    store = Store(folder / "store")
    return read_bundle(write_bundle(sample_bundle(store, base), store.blobs, folder / "dist"))
