"""Layers on disk: what an image's stack becomes, and what hostile ones do not."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mfbuild.bundle.read import Bundle
from mfbuild.engine.gc import collect
from mfbuild.engine.model import Digest
from mfbuild.engine.store import Store
from mfbuild.errors import BundleError, MfbuildError, RunError
from mfbuild.local.sandbox.image_trees import StepImage, StoredLayer, lay_out
from mfbuild.local.sandbox.loader import inside
from mfbuild.local.sandbox.mounts import Bind, Mount, mounts_of
from mfbuild.oci.layout import Layout, write_layout
from mfbuild.oci.types import LAYER_GZIP, Descriptor

Entry = tuple[str, bytes | str | None] | tarfile.TarInfo


def tar(entries: Sequence[Entry]) -> bytes:
    """A tar: a name with bytes is a file, with text a symlink, with None a directory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
                continue
            name, content = entry
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            else:
                info.size, info.mode = len(content), 0o644
            archive.addfile(info, io.BytesIO(content if isinstance(content, bytes) else b""))
    return buffer.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


LayOut = Callable[..., Path]


@pytest.fixture
def laid(tmp_path: Path) -> LayOut:
    """Lays out an image of these layers, lowest first; `spoil` changes the bytes of a layer.

    `note` hears what is told.
    """

    def lay(
        *layers: Sequence[Entry],
        spoil: bytes | None = None,
        kind: str = LAYER_GZIP,
        note: Callable[[str], None] = lambda sentence: None,
    ) -> Path:
        data = [tar(entries) for entries in layers]
        ids = [Digest(hashlib.sha256(d).hexdigest()) for d in data]
        if spoil is not None:
            data[-1] = spoil
        packed = [gzip.compress(d, mtime=0) for d in data]
        blobs = {Digest.of(p): p for p in packed}
        layout = Layout.open(write_layout(tmp_path / "layout", b"{}", dict(blobs)))
        image = StepImage(
            tuple(
                StoredLayer(Descriptor(kind, Digest.of(p), len(p)), i)
                for p, i in zip(packed, ids, strict=True)
            ),
            (),
            "",
        )
        with Store.open(tmp_path / "store") as store:
            return lay_out(store, Bundle(None, layout), image, note)  # type: ignore[arg-type]

    return lay


def test_layers_lie_on_one_another(laid: LayOut) -> None:
    tree = laid(
        [
            ("etc", None),
            ("etc/a", b"old"),
            ("etc/b", b"b"),
            ("bin", "usr/bin"),
            ("usr/bin/x", b"x"),
        ],
        [("etc/a", b"new"), ("opt/deep/file", b"f")],
    )
    assert (tree / "etc/a").read_bytes() == b"new"
    assert (tree / "etc/b").read_bytes() == b"b"
    assert (tree / "bin").readlink() == Path("usr/bin")
    assert (tree / "opt/deep/file").read_bytes() == b"f"
    assert (tree / "etc/a").stat().st_mode & 0o777 == 0o444
    assert (tree / "etc").stat().st_mode & 0o777 == 0o555


def test_whiteouts_remove_what_lies_below(laid: LayOut) -> None:
    tree = laid(
        [("a/x", b"1"), ("a/y", b"2"), ("b/z", b"3"), ("c", b"4"), ("d/old", b"5")],
        [("a/.wh.x", b""), (".wh.b", b""), ("d/.wh..wh..opq", b""), ("d/new", b"6")],
    )
    found = sorted(str(p.relative_to(tree)) for p in tree.rglob("*"))
    assert found == ["a", "a/y", "c", "d", "d/new"]


def test_a_file_replaces_a_directory_and_the_other_way_round(laid: LayOut) -> None:
    tree = laid([("a/x", b"1"), ("b", b"2")], [("a", b"file"), ("b/x", b"3")])
    assert (tree / "a").read_bytes() == b"file"
    assert (tree / "b/x").read_bytes() == b"3"


def test_hard_links_within_a_layer(laid: LayOut) -> None:
    tree = laid([("a/x", b"1"), special("a/y", tarfile.LNKTYPE, "a/x")])
    assert (tree / "a/y").samefile(tree / "a/x")


def test_equal_layers_are_unpacked_once_and_shared(laid: LayOut, tmp_path: Path) -> None:
    base = [("base", b"shared")]
    first, second = laid(base, [("one", b"1")]), laid(base, [("two", b"2")])
    assert first != second
    assert (first / "base").samefile(second / "base")
    assert len(list((tmp_path / "store/roots/layers").iterdir())) == 3
    assert laid(base, [("one", b"1")]) == first


def test_gc_takes_whole_trees_that_were_not_used(laid: LayOut, tmp_path: Path) -> None:
    old, new = laid([("a", b"old")]), laid([("b", b"new")])
    for tree in (old, *(tmp_path / "store/roots/layers").iterdir()):
        os.utime(tree, (1, 1))
    with Store.open(tmp_path / "store") as store:
        done = collect(store, max_size=None, max_age=3600, now=time.time())
    assert not old.exists()
    assert (new / "b").read_bytes() == b"new"
    assert list((tmp_path / "store/roots/layers").iterdir()) == []
    assert done.removed == 3


def test_devices_and_special_bits_are_left_out(laid: LayOut) -> None:
    odd = tarfile.TarInfo("su")
    odd.mode = 0o4755
    tree = laid([special("null", tarfile.CHRTYPE), odd])
    assert not (tree / "null").exists()
    assert (tree / "su").stat().st_mode & 0o7777 == 0o555


def _pax(name: str, kind: bytes, **headers: str) -> tarfile.TarInfo:
    info = special(name, kind, "x")
    info.pax_headers = headers
    return info


HOSTILE: dict[str, Sequence[Entry]] = {
    "leads out": [("../evil", b"x")],
    "below what is no directory": [("lib", "/tmp"), ("lib/evil", b"x")],
    "through a file": [("lib", b"x"), ("lib/evil", b"x")],
    "twice": [("a", b"x"), ("a", b"y")],
    "link out": [special("a", tarfile.LNKTYPE, "../../etc/passwd")],
    "link through a link": [("out", "/etc"), special("a", tarfile.LNKTYPE, "out/passwd")],
    "link to nothing": [special("a", tarfile.LNKTYPE, "b")],
    "hard link without a target": [special("a", tarfile.LNKTYPE)],
    "symlink without a target": [("a", "")],
    "symlink to NUL": [_pax("a", tarfile.SYMTYPE, linkpath="b\0c")],
    "name with NUL": [_pax("a", tarfile.REGTYPE, path="b\0c")],
    "target too long": [("a", "x" * 5000)],
    "name too long": [("a" * 300, b"x")],
    "path too long": [("/".join(["d" * 50] * 100), b"x")],
    "path too deep": [("d/" * 1500 + "x", b"x")],
    "whiteout of the folder above": [("d/.wh...", b"")],
    "whiteout of the folder itself": [("d/.wh..", b"")],
    "whiteout of nothing": [("d/.wh.", b"")],
    "whiteout that is a folder": [(".wh..", None), (".wh../x", b"")],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_layers_are_refused(laid: LayOut, tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError):
        laid([("d/kept", b"1")], HOSTILE[name])
    assert not (tmp_path / "evil").exists()
    assert list((tmp_path / "store/tmp").glob("*/")) == []


def test_absolute_names_lie_inside(laid: LayOut) -> None:
    assert (laid([("/etc/x", b"1")]) / "etc/x").read_bytes() == b"1"


@pytest.mark.parametrize("spoil", [b"", b"no tar at all", tar([("a", b"other")])])
def test_a_layer_that_is_not_what_its_diff_id_says(laid: LayOut, spoil: bytes) -> None:
    with pytest.raises(BundleError):
        laid([("a", b"x")], spoil=spoil)


def test_a_layer_of_unknown_kind_is_for_containers(laid: LayOut) -> None:
    with pytest.raises(RunError, match="only `--in container` can run"):
        laid([("a", b"x")], kind="application/vnd.oci.image.layer.v1.tar+zstd")


def test_a_layer_that_is_missing_is_named(laid: LayOut, tmp_path: Path) -> None:
    laid([("a", b"x")])
    image = StepImage(
        (StoredLayer(Descriptor(LAYER_GZIP, Digest.of(b"gone"), 4), Digest.of(b"tar")),), (), ""
    )
    with Store.open(tmp_path / "store") as store, pytest.raises(MfbuildError, match="is missing"):
        bundle = Bundle(None, Layout.open(tmp_path / "layout"))  # type: ignore[arg-type]
        lay_out(store, bundle, image, lambda note: None)


def test_mounts_split_an_image_s_folder_where_the_machine_s_lies_in_it(tmp_path: Path) -> None:
    for name in ("usr/bin", "opt/venv", "opt/other", "home", "proc"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "bin").symlink_to("usr/bin")
    here = str(Path(__file__).parent)
    binds = [
        Bind("/opt/mine", True, here),
        Bind("/home/ada", writable=True, source=here, holds=True),
        Bind("/home/ada/.aws", source=here),
    ]
    assert mounts_of(tmp_path, binds) == [
        Mount("link", "/bin", "usr/bin"),
        Mount("directory", "/home"),
        Mount("bind", "/home/ada", here, writable=True),
        Mount("bind", "/home/ada/.aws", here, place=f"{here}/.aws"),
        Mount("directory", "/opt"),
        Mount("bind", "/opt/mine", here, writable=True),
        Mount("bind", "/opt/other", str(tmp_path / "opt/other")),
        Mount("bind", "/opt/venv", str(tmp_path / "opt/venv")),
        Mount("bind", "/usr", str(tmp_path / "usr")),
    ]


def test_a_bind_hides_what_the_image_has_there(tmp_path: Path) -> None:
    (tmp_path / "tmp/inner").mkdir(parents=True)
    binds = [Bind("/tmp", True), Bind("/tmp/below", True)]
    assert mounts_of(tmp_path, binds) == [Mount("bind", "/tmp", "/tmp", writable=True)]


def test_links_of_an_image_lead_inside_it(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/python3.11").touch()
    (tmp_path / "bin").symlink_to("/usr/bin")
    (tmp_path / "python").symlink_to("../../../bin/python3.11")
    (tmp_path / "circle").symlink_to("circle")
    assert inside(tmp_path, "/python") == tmp_path / "usr/bin/python3.11"
    with pytest.raises(RunError, match="in a circle"):
        inside(tmp_path, "circle")


def _append(path: Path) -> None:
    path.chmod(0o644)
    with path.open("ab") as file:
        file.write(b"EVIL")
    path.chmod(0o444)


def _keep_size_and_mtime(path: Path) -> None:
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"x" * before.st_size)
    path.chmod(0o444)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replace(path: Path) -> None:
    path.parent.chmod(0o755)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content + b"EVIL")
    path.parent.chmod(0o555)


def _delete(path: Path) -> None:
    path.parent.chmod(0o755)
    path.unlink()
    path.parent.chmod(0o555)


def _add(path: Path) -> None:
    path.parent.chmod(0o755)
    (path.parent / "sitecustomize.py").write_text("EVIL = 1")
    path.parent.chmod(0o555)


A: Sequence[Entry] = [("opt/a.py", b"A = 1")]
B: Sequence[Entry] = [("opt/b.py", b"B = 1")]


@pytest.mark.parametrize("change", [_append, _keep_size_and_mtime, _replace, _delete, _add])
@pytest.mark.parametrize("layers", [[A], [A, B]])
def test_what_somebody_changed_in_an_image_is_told_and_made_again(
    laid: LayOut, change: Callable[[Path], None], layers: Sequence[Sequence[Entry]]
) -> None:
    first = laid(*layers)
    told: list[str] = []
    assert laid(*layers, note=told.append) == first
    assert told == []
    change(first / "opt/a.py")
    again = laid(*layers, note=told.append)
    assert any("is not as it was laid out" in line for line in told)
    assert (again / "opt/a.py").read_bytes() == b"A = 1"
    assert sorted(p.name for p in (again / "opt").iterdir()) == ["a.py", "b.py"][: len(layers)]
    told.clear()
    laid(*layers, note=told.append)
    assert told == []


def test_an_image_that_shares_a_layer_changes_no_other(laid: LayOut) -> None:
    laid(A)
    laid(A, B)
    told: list[str] = []
    laid(A, note=told.append)
    laid(A, B, note=told.append)
    assert told == []
