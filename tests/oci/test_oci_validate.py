"""Validation of layouts: whatever byte changes, it is noticed and named."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mfbuild.engine.model import Digest
from mfbuild.oci.image import image_index, image_manifest
from mfbuild.oci.layout import Layout, blob_name, write_layout
from mfbuild.oci.types import IMAGE_CONFIG, IMAGE_INDEX, IMAGE_MANIFEST, LAYER_GZIP, Descriptor
from mfbuild.oci.validate import validate_layout
from tests.layouts import AMD64, BOTH, Image, Layer, Store, layer, make_image, store_image


def sample(tmp_path: Path) -> Path:
    """A layout of one image for two platforms."""
    store = Store(tmp_path / "store")
    layers = {p: [layer({"etc/arch": str(p).encode()}), layer({"opt/x": b"x"})] for p in BOTH}
    index, _ = store_image(store, layers)
    root = Descriptor(IMAGE_INDEX, index.digest, index.size)
    return write_layout(tmp_path / "layout", image_index([root]), dict(store.blobs))


def messages(path: Path) -> list[str]:
    return [problem.message for problem in validate_layout(path)]


def test_a_sound_layout_has_no_problems(tmp_path: Path) -> None:
    assert messages(sample(tmp_path)) == []


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample(tmp_path_factory.mktemp("sound"))


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_any_flipped_bit_of_a_blob_or_of_the_marker_is_noticed(
    sound: Path, data: st.DataObject
) -> None:
    names = sorted(name for name in Layout.open(sound).files if name != "index.json")
    path = sound / data.draw(st.sampled_from(names))
    before = path.read_bytes()
    at = data.draw(st.integers(0, len(before) - 1))
    changed = bytearray(before)
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    replace_file(path, bytes(changed))
    try:
        assert messages(sound) != []
    finally:
        replace_file(path, before)


def replace_file(path: Path, data: bytes) -> None:
    """Blobs are hard links, so that a new file takes the place of the old."""
    path.unlink()
    path.write_bytes(data)


@given(junk=st.binary(max_size=400))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_tar_of_junk_is_a_problem_and_never_a_crash(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "junk.tar"
    path.write_bytes(junk)
    assert len(messages(path)) == 1


def test_a_changed_blob_is_named(tmp_path: Path) -> None:
    path = sample(tmp_path)
    for name, extent in sorted(Layout.open(path).files.items()):
        if not name.startswith("blobs/"):
            continue
        before = extent.path.read_bytes()
        replace_file(extent.path, before[:-1] + bytes([before[-1] ^ 1]))
        found = Digest.of(extent.path.read_bytes())
        digest = f"sha256:{name.rpartition('/')[2]}"
        assert f"blob `{digest}` has changed: it is `{found}`" in messages(path)
        replace_file(extent.path, before)
    assert messages(path) == []


def test_missing_and_surplus_blobs_are_named(tmp_path: Path) -> None:
    path = sample(tmp_path)
    lost = Digest.of(layer({"opt/x": b"x"}).data)
    (path / blob_name(lost)).unlink()
    (path / blob_name(Digest.of(b"more"))).write_bytes(b"more")
    assert messages(path) == [
        f"blob `{lost}` is missing",
        f"nothing refers to `{blob_name(Digest.of(b'more'))}`",
    ]


def test_what_leaves_the_layout_is_named(tmp_path: Path) -> None:
    path = sample(tmp_path)
    (path / "blobs" / "out").symlink_to("/etc/passwd")
    assert messages(path) == [
        "`blobs/out` is not a plain file inside the layout, or is there twice"
    ]


@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        (b'{"imageLayoutVersion":"2.0.0"}', "`oci-layout` names the version `2.0.0`, not `1.0.0`"),
        (b"[]", "`oci-layout` is not a JSON object"),
    ],
)
def test_a_marker_of_another_version(tmp_path: Path, marker: bytes, expected: str) -> None:
    path = sample(tmp_path)
    (path / "oci-layout").write_bytes(marker)
    assert messages(path) == [expected]


def one_image(tmp_path: Path, image: Image) -> Path:
    """A layout of one image, whatever is wrong with it."""
    manifest = Descriptor(
        IMAGE_MANIFEST, Digest.of(image.manifest), len(image.manifest), platform=AMD64
    )
    blobs = [image.config, image.manifest, *(each.data for each in image.layers)]
    return write_layout(
        tmp_path / "one", image_index([manifest]), {Digest.of(data): data for data in blobs}
    )


def reconfigured(image: Image, change: Callable[[dict[str, object]], object]) -> Image:
    """`image` with another config, and a manifest that fits it."""
    value = json.loads(image.config)
    change(value)
    config = json.dumps(value).encode()
    layers = [Descriptor(e.media_type, Digest.of(e.data), len(e.data)) for e in image.layers]
    described = Descriptor(IMAGE_CONFIG, Digest.of(config), len(config))
    return Image(config, image_manifest(described, layers), image.layers)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c.update(os="plan9"), "is for `plan9/amd64`, its manifest for `linux/amd64`"),
        (lambda c: c["history"].pop(), "does not have a history of `2` layers"),
        (lambda c: c.update(history=7), "does not have a history of `2` layers"),
        (lambda c: c["rootfs"]["diff_ids"].pop(), "a diffID for each of the `2` layers"),
        (lambda c: c.pop("rootfs"), "a diffID for each of the `2` layers"),
    ],
)
def test_a_config_that_does_not_fit(
    tmp_path: Path, change: Callable[[dict[str, object]], object], expected: str
) -> None:
    image = make_image(tmp_path / "scratch", [layer({"a": b"a"}), layer({"b": b"b"})])
    found = messages(one_image(tmp_path, reconfigured(image, change)))
    assert len(found) == 1
    assert expected in found[0]


def test_an_empty_layer_of_the_history_is_no_layer(tmp_path: Path) -> None:
    image = make_image(tmp_path / "scratch", [layer({"a": b"a"})])

    def change(config: dict[str, object]) -> None:
        config["history"] = [{"empty_layer": True, "created_by": "ENV"}, {"created_by": "ADD"}]

    assert messages(one_image(tmp_path, reconfigured(image, change))) == []


def test_a_wrong_diff_id_is_named(tmp_path: Path) -> None:
    made = layer({"a": b"a"})
    lying = replace(made, info=replace(made.info, diff_id=Digest.of(b"other")))
    path = one_image(tmp_path, make_image(tmp_path / "scratch", [lying]))
    assert messages(path) == [
        f"layer `{Digest.of(made.data)}` has the diffID `{made.info.diff_id}`,"
        f" not `{Digest.of(b'other')}`"
    ]


@pytest.mark.parametrize("cut", [1, 8, 20])
def test_a_layer_that_cannot_be_inflated(tmp_path: Path, cut: int) -> None:
    made = layer({"a": b"a" * 100})
    short = replace(made, data=made.data[:-cut])
    path = one_image(tmp_path, make_image(tmp_path / "scratch", [short]))
    assert messages(path) == [f"layer `{Digest.of(short.data)}` cannot be inflated"]


def test_large_layers_of_many_members_are_measured_right(tmp_path: Path) -> None:
    plain = b"".join(bytes([n % 256]) * 70_000 for n in range(64))
    pieces = [plain[at : at + 1_048_576] for at in range(0, len(plain), 1_048_576)]
    packed = b"".join(gzip.compress(piece, mtime=0) for piece in pieces)
    info = replace(layer({}).info, diff_id=Digest.of(plain))
    image = make_image(tmp_path / "scratch", [Layer(packed, info, "")])
    assert messages(one_image(tmp_path, image)) == []


def test_a_zstd_layer_is_checked_by_digest_only_and_said_to_be(tmp_path: Path) -> None:
    zstd = "application/vnd.oci.image.layer.v1.tar+zstd"
    made = replace(layer({"a": b"a"}), data=b"not looked into", media_type=zstd)
    path = one_image(tmp_path, make_image(tmp_path / "scratch", [made]))
    notes: list[str] = []
    assert validate_layout(path, notes.append) == []
    assert notes == [f"the diffID of `{Digest.of(made.data)}` is not checked: `{zstd}`"]


def test_a_layer_without_compression_is_its_own_diff_id(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    data, kind = out.getvalue(), LAYER_GZIP.removesuffix("+gzip")
    info = replace(layer({}).info, diff_id=Digest.of(data))
    image = make_image(tmp_path / "scratch", [Layer(data, info, "", media_type=kind)])
    assert messages(one_image(tmp_path, image)) == []


@pytest.mark.parametrize("index", [b"", b"[]", b"{}", b'{"manifests":[{"digest":1}]}', b"\xff"])
def test_an_index_that_cannot_be_read_is_a_problem(tmp_path: Path, index: bytes) -> None:
    assert len(messages(write_layout(tmp_path / "bad", index, {}))) == 1


def test_json_that_nests_too_deeply_is_a_problem(tmp_path: Path) -> None:
    deep = b'{"manifests":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert len(messages(write_layout(tmp_path / "deep", deep, {}))) == 1
