"""Bundles on disk: written once, found whole, read, and verified to the last byte."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfbuild.bundle.model import BundleManifest
from mfbuild.bundle.read import read_bundle, verify_bundle, write_tar
from mfbuild.bundle.write import bundle_is_whole, write_bundle
from mfbuild.engine.model import Digest
from mfbuild.errors import BundleError
from mfbuild.oci.layout import Layout, blob_name
from tests.layouts import BOTH, Store, sample_bundle


def made(tmp_path: Path) -> tuple[BundleManifest, Path]:
    store = Store(tmp_path / "store")
    manifest = sample_bundle(store)
    return manifest, write_bundle(manifest, store.blobs, tmp_path / "dist")


def messages(path: Path) -> list[str]:
    return [problem.message for problem in verify_bundle(path)]


def rewrite(path: Path, data: bytes) -> None:
    """Blobs are hard links, so that a new file takes the place of the old."""
    path.unlink()
    path.write_bytes(data)


def test_it_is_called_by_flow_and_version(tmp_path: Path) -> None:
    manifest, path = made(tmp_path)
    assert path == tmp_path / "dist" / f"TrainFlow-{manifest.version}"
    assert (path / "bundle.json").read_bytes() == manifest.encode()


def test_the_index_lists_every_step_and_the_bundle_itself(tmp_path: Path) -> None:
    manifest, path = made(tmp_path)
    entries = json.loads((path / "index.json").read_bytes())["manifests"]
    names = [e["annotations"]["org.opencontainers.image.ref.name"] for e in entries]
    assert names == ["end", "start", "train", f"bundle@{manifest.version}"]
    end, start, train, itself = entries
    assert end["digest"] == start["digest"] != train["digest"]
    assert itself["artifactType"] == "application/vnd.mfbuild.bundle.v1"
    artifact = json.loads(Layout.open(path).blob(Digest.parse(itself["digest"])))
    assert artifact["artifactType"] == "application/vnd.mfbuild.bundle.v1"
    assert artifact["layers"] == [manifest.code.json(), manifest.flyte.json()]
    config = artifact["config"]
    assert config["mediaType"] == "application/vnd.mfbuild.bundle.config.v1+json"
    assert Layout.open(path).blob(Digest.parse(config["digest"])) == manifest.encode()


def test_it_is_sound_and_is_read_again(tmp_path: Path) -> None:
    manifest, path = made(tmp_path)
    assert messages(path) == []
    bundle = read_bundle(path)
    assert bundle.manifest == manifest
    assert bundle.platforms == BOTH


def test_what_it_does_not_lead_to_is_left_out(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    other = store.add(b"of another bundle")
    path = write_bundle(sample_bundle(store), store.blobs, tmp_path / "dist")
    assert blob_name(other.digest) not in Layout.open(path).files


def test_the_same_bundle_is_kept(tmp_path: Path) -> None:
    before = made(tmp_path)[1].stat()
    assert made(tmp_path)[1].stat() == before


def test_two_writers_at_once_are_safe(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    manifest = sample_bundle(store)
    found: list[object] = []

    def write() -> None:
        try:
            found.append(write_bundle(manifest, store.blobs, tmp_path / "dist"))
        except BundleError as error:
            found.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    path = tmp_path / "dist" / f"TrainFlow-{manifest.version}"
    assert found == [path] * 4
    assert messages(path) == []


WRITER = """
import sys
from pathlib import Path
from tests.layouts import Store, sample_bundle
from mfbuild.bundle.write import write_bundle
store = Store(Path(sys.argv[1]) / "store")
print(write_bundle(sample_bundle(store), store.blobs, Path(sys.argv[1]) / "dist").name)
"""


def test_nothing_of_the_machine_shapes_a_byte(tmp_path: Path) -> None:
    versions = set()
    machines = {
        "022": {"PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo", "LC_ALL": "C", "USER": "one"},
        "077": {"PYTHONHASHSEED": "2", "TZ": "UTC", "LC_ALL": "C.UTF-8", "USER": "two"},
    }
    for umask, environ in machines.items():
        folder = tmp_path / f"with umask {umask}"
        script = [sys.executable, "-c", WRITER, str(folder)]
        done = subprocess.run(
            ["sh", "-c", f'umask {umask}; exec "$@"', "sh", *script],
            env={
                "PATH": "/usr/bin:/bin",
                "PYTHONPATH": str(Path(__file__).parents[2]),
                **environ,
            },
            capture_output=True,
            text=True,
            check=True,
        )
        path = folder / "dist" / done.stdout.strip()
        read = {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()}
        versions.add((path.name, Digest.of(repr(sorted(read.items())).encode())))
    assert len(versions) == 1


def test_whole_is_told_from_damaged_without_reading_layers(tmp_path: Path) -> None:
    manifest, path = made(tmp_path)
    assert bundle_is_whole(path, manifest.version)
    assert not bundle_is_whole(path, "f" * 40)
    assert not bundle_is_whole(path.with_name("Other"), manifest.version)


def test_a_bundle_that_lacks_any_file_is_not_whole(tmp_path: Path) -> None:
    manifest, path = made(tmp_path)
    for name, extent in Layout.open(path).files.items():
        before = extent.path.read_bytes()
        extent.path.unlink()
        assert not bundle_is_whole(path, manifest.version), name
        assert messages(path) != [], name
        extent.path.write_bytes(before)
    assert bundle_is_whole(path, manifest.version)


def test_a_bundle_with_a_file_cut_short_is_not_whole(tmp_path: Path) -> None:
    manifest, path = made(tmp_path)
    for name, extent in Layout.open(path).files.items():
        before = extent.path.read_bytes()
        rewrite(extent.path, before[:-1])
        assert not bundle_is_whole(path, manifest.version), name
        rewrite(extent.path, before)


def test_missing_and_changed_blobs_are_not_written(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    manifest = sample_bundle(store)
    for digest, path in store.blobs.items():
        others = {d: p for d, p in store.blobs.items() if d != digest}
        with pytest.raises(BundleError, match=f"blob `{digest}` is missing"):
            write_bundle(manifest, others, tmp_path / "dist")
        broken = tmp_path / "broken"
        broken.write_bytes(path.read_bytes()[:-1] + b"?")
        with pytest.raises(BundleError, match=f"blob `{digest}` has changed"):
            write_bundle(manifest, {**others, digest: broken}, tmp_path / "dist")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("sound"))[1]


@given(data=st.data())
@settings(deadline=None, max_examples=80)
def test_any_flipped_bit_is_noticed(sound: Path, data: st.DataObject) -> None:
    path = sound / data.draw(st.sampled_from(sorted(Layout.open(sound).files)))
    before = path.read_bytes()
    at = data.draw(st.integers(0, len(before) - 1))
    changed = bytearray(before)
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    rewrite(path, bytes(changed))
    try:
        assert messages(sound) != []
    finally:
        rewrite(path, before)


def test_a_changed_blob_is_named(tmp_path: Path) -> None:
    manifest, path = made(tmp_path)
    rewrite(path / blob_name(manifest.code.digest), b"CODE")
    changed = Digest.of(b"CODE")
    assert messages(path) == [f"blob `{manifest.code.digest}` has changed: it is `{changed}`"]


def test_a_wrong_version_is_told_from_the_right_one(tmp_path: Path) -> None:
    manifest, path = made(tmp_path)
    wrong = "0" * 40
    data = manifest.encode().replace(manifest.version.encode(), wrong.encode())
    rewrite(path / "bundle.json", data)
    expected = f"the version is `{wrong}`, of its content `{manifest.version}`"
    assert messages(path) == [expected]
    with pytest.raises(BundleError) as caught:
        read_bundle(path)
    assert str(caught.value) == expected


DAMAGES: list[tuple[Callable[[Path], object], str]] = [
    (lambda p: (p / "index.json").unlink(), "`index.json` is missing"),
    (lambda p: (p / "bundle.json").unlink(), "is not a bundle: it has no `bundle.json`"),
    (lambda p: (p / "oci-layout").unlink(), "is not an OCI image layout: it has no `oci-layout`"),
    (lambda p: (p / "more").write_bytes(b""), "`more` does not belong to the bundle"),
    (
        lambda p: (p / "manifest.json").write_bytes(b"[]"),
        "`manifest.json` does not name the images of the bundle",
    ),
    (
        lambda p: (p / "index.json").write_bytes(b'{"manifests":[]}'),
        "`index.json` does not list what `bundle.json` names",
    ),
    (
        lambda p: (p / "bundle.json").write_bytes((p / "bundle.json").read_bytes() + b"\n"),
        "`bundle.json` is not written as mfbuild writes it",
    ),
    (shutil.rmtree, "there is no bundle at `"),
]


@pytest.mark.parametrize(("damage", "expected"), DAMAGES, ids=[text for _, text in DAMAGES])
def test_damages_have_a_sentence_each(
    tmp_path: Path, damage: Callable[[Path], object], expected: str
) -> None:
    path = made(tmp_path)[1]
    damage(path)
    assert expected in messages(path)[0]


def test_images_that_bundle_json_tells_otherwise(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    manifest = sample_bundle(store)
    value = json.loads(manifest.encode())
    for image in value["images"]:
        found = image["manifests"]
        image["manifests"] = dict(zip(found, reversed(found.values()), strict=True))
    lying = BundleManifest.parse(json.dumps(value | {"version": ""}).encode())
    lying = BundleManifest.parse(json.dumps(value | {"version": lying.content_version()}).encode())
    path = write_bundle(lying, store.blobs, tmp_path / "dist")
    assert messages(path) == [
        f"image `{image.index}` has other manifests than it should" for image in lying.images
    ]


def test_a_bundle_as_one_file_is_the_same_bundle(tmp_path: Path) -> None:
    manifest, path = made(tmp_path)
    file = write_tar(read_bundle(path), tmp_path / "out" / "bundle.tar")
    assert messages(file) == []
    assert read_bundle(file).manifest == manifest
    assert bundle_is_whole(file, manifest.version)
    again = write_tar(read_bundle(file), tmp_path / "again.tar")
    assert again.read_bytes() == file.read_bytes()


def test_a_tar_that_is_cut_short_is_noticed(tmp_path: Path) -> None:
    _, path = made(tmp_path)
    data = write_tar(read_bundle(path), tmp_path / "bundle.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(data[: len(data) // 2])
    assert messages(tmp_path / "cut.tar") != []


def test_a_tar_that_leads_out_of_itself_is_noticed(tmp_path: Path) -> None:
    _, path = made(tmp_path)
    file = write_tar(read_bundle(path), tmp_path / "bundle.tar")
    with tarfile.open(file, "a") as archive:
        archive.addfile(tarfile.TarInfo("../outside"))
    expected = "`../outside` is not a plain file inside the layout, or is there twice"
    assert messages(file) == [expected]


def test_a_tar_without_a_bundle(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("etc"))
    assert messages(tmp_path / "x.tar") == [
        f"`{tmp_path}/x.tar` is not an OCI image layout: it has no `oci-layout`"
    ]
