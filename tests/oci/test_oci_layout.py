"""OCI image layouts: written atomically, shared or copied, and read from directories and tars."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfbuild.engine.model import Digest
from mfbuild.errors import BundleError
from mfbuild.oci.image import image_index
from mfbuild.oci.layout import Hashed, Layout, blob_name, children, write_layout
from mfbuild.oci.types import IMAGE_INDEX, IMAGE_MANIFEST, Descriptor, Platform
from tests.deep import deep_file

INDEX = image_index([])


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    path = tmp_path / "store" / "blob"
    path.parent.mkdir()
    path.write_bytes(b"content")
    path.chmod(0o444)
    return path


@pytest.fixture(params=[0o022, 0o077, 0o000])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


CONTENT = Digest.of(b"content")


def written(tmp_path: Path, source: Path | bytes, name: str = "out") -> Path:
    return write_layout(tmp_path / name, INDEX, {CONTENT: source}, {"more.json": b"{}"})


def test_it_holds_what_the_spec_asks_for(tmp_path: Path, blob: Path) -> None:
    out = written(tmp_path, blob)
    files = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert files == {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": INDEX,
        "more.json": b"{}",
        f"blobs/sha256/{CONTENT.hex}": b"content",
    }


def test_modes_do_not_depend_on_the_umask(tmp_path: Path, blob: Path, umask: int) -> None:
    out = written(tmp_path, blob.read_bytes())
    modes = {p.name: p.stat().st_mode & 0o7777 for p in (out, *out.rglob("*"))}
    assert modes == {
        "out": 0o755,
        "blobs": 0o755,
        "sha256": 0o755,
        CONTENT.hex: 0o444,
        "oci-layout": 0o644,
        "index.json": 0o644,
        "more.json": 0o644,
    }, f"umask {umask:o}"


def test_a_read_only_blob_is_linked_and_a_writable_one_copied(tmp_path: Path, blob: Path) -> None:
    linked = written(tmp_path, blob) / blob_name(CONTENT)
    assert linked.samefile(blob)
    blob.chmod(0o644)
    copied = written(tmp_path, blob, "copied") / blob_name(CONTENT)
    assert not copied.samefile(blob)
    assert copied.read_bytes() == b"content"


def test_a_link_to_a_blob_is_followed(tmp_path: Path, blob: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(blob)
    found = written(tmp_path, link) / blob_name(CONTENT)
    assert found.is_file()
    assert not found.is_symlink()


@pytest.mark.parametrize("mode", [0o444, 0o644])
def test_a_changed_blob_is_not_written(tmp_path: Path, blob: Path, mode: int) -> None:
    blob.chmod(0o644)
    blob.write_bytes(b"changed")
    blob.chmod(mode)
    with pytest.raises(BundleError, match=f"blob `{CONTENT}` has changed: it is `sha256:"):
        written(tmp_path, blob)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "store"]


def test_a_blob_that_changed_after_it_was_linked_is_not_linked_again(
    tmp_path: Path, blob: Path
) -> None:
    written(tmp_path, blob, "first")
    linked_at = (tmp_path / "first" / blob_name(CONTENT)).stat().st_mtime_ns
    blob.chmod(0o644)
    blob.write_bytes(b"CONTENT")
    blob.chmod(0o444)
    os.utime(blob, ns=(linked_at, linked_at))
    with pytest.raises(BundleError, match=f"blob `{CONTENT}` has changed: it is `sha256:"):
        written(tmp_path, blob, "second")


def test_a_file_that_was_hashed_is_linked_unread(tmp_path: Path, blob: Path) -> None:
    blob.chmod(0o644)
    blob.write_bytes(b"CONTENT")
    blob.chmod(0o444)
    layout = write_layout(tmp_path / "layout", INDEX, {CONTENT: Hashed(blob)})
    assert (layout / blob_name(CONTENT)).samefile(blob)


def test_a_missing_blob_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=f"blob `{CONTENT}` is missing"):
        written(tmp_path, tmp_path / "nowhere")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock"]


def test_an_identical_one_is_kept(tmp_path: Path, blob: Path) -> None:
    before = written(tmp_path, blob).stat()
    after = written(tmp_path, blob).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def overwrite(blob: Path) -> None:
    blob.chmod(0o644)
    blob.write_bytes(b"CONTENT")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a changed blob": overwrite,
    "a missing blob": lambda blob: blob.unlink(),
    "one blob more": lambda blob: blob.with_name("a" * 64).write_bytes(b""),
    "a symlink": lambda blob: blob.with_name("b" * 64).symlink_to(blob),
    "another index": lambda blob: (blob.parents[2] / "index.json").write_bytes(b"{}"),
    "no marker": lambda blob: (blob.parents[2] / "oci-layout").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_replaced(tmp_path: Path, damage: str) -> None:
    out = written(tmp_path, b"content")
    DAMAGES[damage](out / blob_name(CONTENT))
    written(tmp_path, b"content")
    layout = Layout.open(out)
    assert layout.blob(CONTENT) == b"content"
    assert set(layout.files) == {"oci-layout", "index.json", "more.json", blob_name(CONTENT)}
    assert layout.strays == ()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "out"]


def test_what_a_killed_writer_left_is_removed(tmp_path: Path, blob: Path) -> None:
    (tmp_path / ".out.killed" / "new").mkdir(parents=True)
    (tmp_path / ".other.running").mkdir()
    written(tmp_path, blob)
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {".lock", ".other.running", "out", "store"}


def test_writers_at_once_end_with_one_whole_layout(tmp_path: Path) -> None:
    blobs: dict[Digest, Path | bytes] = {Digest.of(b"%d" % n): b"%d" % n for n in range(50)}
    failures: list[Exception] = []

    def write() -> None:
        try:
            write_layout(tmp_path / "out", INDEX, blobs)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(Layout.open(tmp_path / "out").files) == 52
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "out"]


def test_a_disk_that_refuses_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BundleError, match=r"writing `.*`: (not a directory|file exists)"):
        write_layout(tmp_path / "file" / "out", INDEX, {})


def test_documents_are_verified_when_they_are_read(tmp_path: Path) -> None:
    layout = Layout.open(written(tmp_path, b"content"))
    (tmp_path / "out" / blob_name(CONTENT)).chmod(0o644)
    (tmp_path / "out" / blob_name(CONTENT)).write_bytes(b"CONTENT")
    with pytest.raises(BundleError, match=f"blob `{CONTENT}` has changed"):
        layout.blob(CONTENT)
    other = Digest.of(b"other")
    with pytest.raises(BundleError, match=f"`{blob_name(other)}` is missing"):
        layout.blob(other)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "no such file or directory"),
        (lambda path: path.mkdir(), "it has no `oci-layout`"),
        (lambda path: path.write_bytes(b"text" * 1000), "it is no tar"),
    ],
)
def test_what_is_no_layout(tmp_path: Path, make: Callable[[Path], object], reason: str) -> None:
    path = tmp_path / "it"
    make(path)
    with pytest.raises(BundleError) as caught:
        Layout.open(path)
    assert str(caught.value) == f"`{path}` is not an OCI image layout: {reason}"


def tar_of(path: Path, members: list[tarfile.TarInfo], content: bytes = b"x") -> Path:
    with tarfile.open(path, "w") as archive:
        for member in members:
            member.size = len(content) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(content))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_a_tar_is_read_in_place(tmp_path: Path) -> None:
    names = ["./oci-layout", "blobs/sha256/a"]
    path = tar_of(tmp_path / "t.tar", [member("blobs", tarfile.DIRTYPE), *map(member, names)])
    layout = Layout.open(path)
    assert set(layout.files) == {"oci-layout", "blobs/sha256/a"}
    assert layout.read("blobs/sha256/a") == b"x"
    assert layout.strays == ()


@pytest.mark.parametrize(
    "hostile",
    [
        member("../outside"),
        member("/etc/passwd"),
        member("blobs/../../outside"),
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("hard", tarfile.LNKTYPE, "oci-layout"),
        member("device", tarfile.CHRTYPE),
        member("oci-layout"),
    ],
    ids=lambda info: f"{info.name} {info.type.decode()}",
)
def test_hostile_members_of_a_tar_are_never_read(tmp_path: Path, hostile: tarfile.TarInfo) -> None:
    layout = Layout.open(tar_of(tmp_path / "t.tar", [member("oci-layout"), hostile]))
    assert set(layout.files) == {"oci-layout"}
    assert layout.strays == (hostile.name,)


def test_folders_of_a_layout_may_be_deep(tmp_path: Path) -> None:
    out = written(tmp_path, b"content")
    with deep_file(out, "x") as name:
        assert name in Layout.open(out).files


ODD: list[object] = [None, 7, {}, [], True]


BAD: dict[str, list[object]] = {
    "mediaType": ODD,
    "digest": ODD,
    "size": [None, -1, "7", 1.5, True, {}],
    "artifactType": [7, [1], {"a": 1}, True],
    "annotations": [7, "text", ["a"], {"a": 1}, {"a": {}}],
    "platform": [
        *(7, "linux/amd64", ["a"], {"os": "linux"}, {"os": {}, "architecture": "amd64"}),
        {"os": "linux", "architecture": "arm64", "variant": 8},
    ],
}


@pytest.mark.parametrize(
    "change",
    [{field: odd} for field, values in BAD.items() for odd in values],
    ids=str,
)
def test_an_odd_descriptor_is_no_descriptor(tmp_path: Path, change: dict[str, object]) -> None:
    good = Descriptor("application/octet-stream", CONTENT, 7, Platform("linux", "amd64")).json()
    out = written(tmp_path, b"content")
    (out / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [good]}))
    assert len(Layout.open(out).index()) == 1
    (out / "index.json").write_text(json.dumps({"manifests": [good | change]}))
    with pytest.raises(BundleError, match=r"`index\.json` has no valid `manifests`"):
        Layout.open(out).index()


FIELDS = st.sampled_from(
    ["mediaType", "digest", "size", "platform", "os", "layers", "config", "manifests"]
)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(FIELDS, inner),
    )
)
def test_any_document_is_read_or_refused(value: object) -> None:
    for media_type in (IMAGE_INDEX, IMAGE_MANIFEST):
        with contextlib.suppress(BundleError):
            children(media_type, json.dumps(value).encode(), "it")


def test_links_out_of_a_directory_are_never_read(tmp_path: Path) -> None:
    out = written(tmp_path, b"content")
    (out / "link").symlink_to("/etc/passwd")
    (out / "folder").symlink_to("/etc")
    layout = Layout.open(out)
    assert sorted(layout.strays) == ["folder", "link"]
    assert not any(name.startswith(("link", "folder")) for name in layout.files)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tar")
    with pytest.raises(BundleError, match="it is a pipe"):
        Layout.open(tmp_path / "pipe.tar")
