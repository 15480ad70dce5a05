"""Tars of layouts: deterministic, atomic, and named as Docker wants it."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfbuild.engine.model import Digest
from mfbuild.errors import BundleError
from mfbuild.oci import archive
from mfbuild.oci.image import image_index
from mfbuild.oci.layout import Layout, blob_name, write_layout
from mfbuild.oci.types import IMAGE_INDEX, Descriptor, Platform
from tests.layouts import AMD64, ARM64, BOTH, Store, layer, store_image

TAGS = ("train:1-end", "train:1-start")


def sample(tmp_path: Path) -> tuple[Layout, Digest]:
    store = Store(tmp_path / "store")
    index, _ = store_image(store, {p: [layer({"etc/arch": str(p).encode()})] for p in BOTH})
    root = Descriptor(IMAGE_INDEX, index.digest, index.size)
    path = write_layout(tmp_path / "layout", image_index([root]), dict(store.blobs))
    return Layout.open(path), index.digest


def test_a_tar_has_the_layout_and_what_docker_reads(tmp_path: Path) -> None:
    layout, index = sample(tmp_path)
    images = archive.docker_images(layout, {index: TAGS[::-1]}, ARM64)
    out = archive.write_archive(layout, tmp_path / "out.tar", images)
    with tarfile.open(out) as read:
        members = read.getmembers()
        manifest = json.loads((read.extractfile("manifest.json") or io.BytesIO()).read())
    blobs = sorted(name for name in layout.files if name.startswith("blobs/"))
    names = ["index.json", "oci-layout", "manifest.json", *blobs]
    assert [m.name for m in members] == names
    assert {(m.mode, m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {
        (0o644, 0, 0, "", "", 0)
    }
    assert manifest == [
        {
            "Config": blob_name(images[0].config.digest),
            "RepoTags": list(TAGS),
            "Layers": [blob_name(Digest.of(layer({"etc/arch": b"linux/arm64"}).data))],
        }
    ]


def test_golden_tar() -> None:
    made = b"".join(archive.tar([("oci-layout", 2, [b"{", b"}"]), ("blobs/sha256/x", 0, [])]))
    assert str(Digest.of(made)) == (
        "sha256:278f6cdbf668437c1a2cbbac6ef3cd9569a64de6e0fac3a618d46ffc96dd5a09"
    )
    with tarfile.open(fileobj=io.BytesIO(made)) as read:
        assert read.getnames() == ["oci-layout", "blobs/sha256/x"]


def test_a_file_of_more_than_8_gib_has_its_size_in_a_pax_header() -> None:
    size = 9 << 30
    head = next(iter(archive.tar([("blobs/sha256/x", size, [])])))
    info = tarfile.TarInfo.frombuf(head[-512:], "utf-8", "strict")
    assert info.name == "blobs/sha256/x"
    assert b" size=%d\n" % size in head


def test_the_tar_is_the_same_again(tmp_path: Path) -> None:
    layout, index = sample(tmp_path)
    images = archive.docker_images(layout, {index: TAGS}, AMD64)
    first = archive.write_archive(layout, tmp_path / "a.tar", images).read_bytes()
    before = os.umask(0o077)
    try:
        second = archive.write_archive(layout, tmp_path / "b.tar", images)
    finally:
        os.umask(before)
    assert second.read_bytes() == first
    assert second.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:-1] + b"x"])
def test_a_layout_that_is_damaged_leaves_the_old_file(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    layout, index = sample(tmp_path)
    images = archive.docker_images(layout, {index: TAGS}, AMD64)
    config = layout.files[blob_name(images[0].config.digest)]
    data = damage(config.path.read_bytes())
    config.path.unlink()
    config.path.write_bytes(data)
    out = tmp_path / "dist" / "out.tar"
    out.parent.mkdir()
    out.write_bytes(b"old")
    with pytest.raises(BundleError, match=r"blob `sha256:.*` has changed"):
        archive.write_archive(layout, out, images)
    assert [(p.name, p.read_bytes()) for p in out.parent.iterdir()] == [("out.tar", b"old")]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    layout, _ = sample(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BundleError, match=r"writing `.*out.tar`: (not a directory|file exists)"):
        archive.write_archive(layout, tmp_path / "file" / "out.tar", ())
    (tmp_path / "out.tar").mkdir()
    with pytest.raises(BundleError, match=r"writing `.*out.tar`: is a directory"):
        archive.write_archive(layout, tmp_path / "out.tar", ())
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".out")) == []


def test_a_platform_that_is_not_built(tmp_path: Path) -> None:
    layout, index = sample(tmp_path)
    with pytest.raises(BundleError, match=f"image `{index}` is not there for `linux/s390x`"):
        archive.docker_images(layout, {index: TAGS}, Platform("linux", "s390x"))


def test_what_a_daemon_gets_is_one_platform_alone(tmp_path: Path) -> None:
    layout, index = sample(tmp_path)
    images = archive.docker_images(layout, {index: TAGS}, AMD64)
    made = b"".join(archive.docker_archive(layout, images))
    with tarfile.open(fileobj=io.BytesIO(made)) as read:
        names = read.getnames()
    digests = [images[0].config.digest, images[0].layers[0].digest]
    assert names == ["manifest.json", *sorted(blob_name(digest) for digest in digests)]


@pytest.mark.parametrize(
    ("machine", "expected"), [("x86_64", AMD64), ("aarch64", ARM64), ("arm64", ARM64)]
)
def test_the_platform_of_this_machine_is_preferred(
    monkeypatch: pytest.MonkeyPatch, machine: str, expected: Platform
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert archive.host_platform() == expected
    assert archive.choose_platform(BOTH) == expected
    assert archive.choose_platform([Platform("linux", "s390x"), Platform("linux", "386")]) == (
        Platform("linux", "386")
    )


@pytest.mark.parametrize(
    ("flow", "step", "expected"),
    [
        ("TrainFlow", "start", "trainflow:abc-start"),
        ("My__Train_Flow_", "_end", "my_train_flow:abc-_end"),
        ("_", "s", "flow:abc-s"),
        ("Größe", "übung", "grf6dfe:abc-fcbung"),
        ("F", "s" * 200, f"f:abc-{'s' * 124}"),
    ],
)
def test_names_for_docker(flow: str, step: str, expected: str) -> None:
    assert archive.image_name(flow, "abc", step) == expected


@given(
    flow=st.from_regex(r"[^\W\d]\w*", fullmatch=True), step=st.from_regex(r"\w+", fullmatch=True)
)
def test_names_for_docker_are_valid(flow: str, step: str) -> None:
    name, _, tag = archive.image_name(flow, "0" * 40, step).partition(":")
    assert re.fullmatch(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*", name)
    assert re.fullmatch(r"\w[\w.-]{0,127}", tag, re.ASCII)


def test_chunks_are_not_gathered() -> None:
    """A layer passes through in pieces, however large it is."""
    piece = bytes(1 << 20)

    def content() -> Iterator[bytes]:
        for _ in range(3):
            yield piece

    assert [len(c) for c in archive.tar([("x", 3 << 20, content())])] == [
        512, 1 << 20, 1 << 20, 1 << 20, 0, 1024,
    ]  # fmt: skip
