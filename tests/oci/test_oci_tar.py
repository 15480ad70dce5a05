"""Layers: what tar readers see in them, what is refused, and that their bytes never change."""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfbuild.engine.model import Digest
from mfbuild.errors import ActionError, FetchError, Interrupted
from mfbuild.oci.gzip import stored_blocks
from mfbuild.oci.tar import LayerWriter, _headers, layer_outputs
from tests.work import contents, make_work, members

NAME = st.text(st.characters(min_codepoint=33, max_codepoint=0x3000), min_size=1, max_size=150)
PATH = (
    st.lists(NAME, min_size=1, max_size=5)
    .map("/".join)
    .filter(lambda p: not {"", ".", ".."} & set(p.split("/")) and "\x7f" not in p)
)


def written(write: Callable[[LayerWriter], None]) -> tuple[bytes, LayerWriter]:
    """The layer that `write` makes, after its diffID was checked."""
    out = io.BytesIO()
    writer = LayerWriter(out, lambda _: None)
    write(writer)
    diff_id = writer.close()
    tar = gzip.decompress(out.getvalue())
    assert diff_id.hex == hashlib.sha256(tar).hexdigest()
    return out.getvalue(), writer


def listed(layer: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(layer))) as archive:
        return {member.name: member for member in archive}


def deflate(data: bytes, level: int = 6) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def sample(writer: LayerWriter) -> None:
    """One entry of every kind, in order."""
    data = b"spam and eggs\n" * 100_000
    writer.file("etc/passwd", b"root:x:0:0::/root:/bin/sh\n", owner="base")
    writer.directory("home/nonroot", 0o700, ids=(65532, 65532))
    raw = b"".join(stored_blocks([data]))  # the same bytes with every zlib
    writer.deflated("opt/a.txt", [raw[:7], raw[7:]], len(data), zlib.crc32(data), owner="a")
    writer.stream("opt/b.sh", [b"#!", b"", b"/bin/sh"], 9, 0o755, owner="b")
    writer.hardlink("opt/c.sh", "opt/b.sh", 0o755, owner="b")
    writer.deflated("opt/empty", [b"\3\0"], 0, 0)
    writer.file("opt/" + "long/" * 30 + "name", b"x")
    writer.file("opt/naïve", b"y")
    writer.directory("tmp", 0o1777)
    writer.symlink("usr/bin/python", "/opt/" + "é" * 60, owner="venv")


def test_entries_are_what_was_asked_for() -> None:
    found = listed(written(sample)[0])
    assert all(m.mtime == 0 and m.uname == m.gname == "" for m in found.values())
    nonroot = found["home/nonroot"]
    assert (nonroot.mode, nonroot.uid, nonroot.gid, nonroot.isdir()) == (0o700, 65532, 65532, True)
    assert found["tmp"].mode == 0o1777
    assert (found["opt/b.sh"].mode, found["opt/b.sh"].size) == (0o755, 9)
    assert (found["opt/c.sh"].type, found["opt/c.sh"].linkname) == (tarfile.LNKTYPE, "opt/b.sh")
    assert found["usr/bin/python"].linkname == "/opt/" + "é" * 60
    assert found["opt/a.txt"].size == 1_400_000
    assert (found["opt/naïve"].size, found["opt/" + "long/" * 30 + "name"].size) == (1, 1)


def test_missing_directories_are_added_once_before_their_entries() -> None:
    def write(writer: LayerWriter) -> None:
        writer.directory("a", 0o700)
        writer.file("a.txt", b"")
        writer.file("a/b/c", b"")
        writer.file("a/b/d", b"")
        writer.file("b/c", b"")

    found = listed(written(write)[0])
    assert list(found) == ["a", "a.txt", "a/b", "a/b/c", "a/b/d", "b", "b/c"]
    assert (found["a"].mode, found["a/b"].mode) == (0o700, 0o755)


def test_gnu_tar_extracts_the_same(tmp_path: Path) -> None:
    layer = tmp_path / "layer.tar.gz"
    layer.write_bytes(written(sample)[0])
    flags = ["--no-same-owner", "--delay-directory-restore"]
    subprocess.run(["tar", "-xzf", layer, *flags, "-C", tmp_path], check=True)
    assert (tmp_path / "opt/a.txt").read_bytes() == b"spam and eggs\n" * 100_000
    assert (tmp_path / "opt/c.sh").samefile(tmp_path / "opt/b.sh")
    assert (tmp_path / "usr/bin/python").readlink() == Path("/opt/" + "é" * 60)
    assert (tmp_path / "opt/naïve").stat().st_mtime == 0


def test_paths_list_files_and_links_with_content_mode_and_owner() -> None:
    lines = written(sample)[1].paths
    passwd = f"26:{Digest.of(b'root:x:0:0::/root:/bin/sh' + bytes([10])).hex}"
    script = f"9:{Digest.of(b'#!/bin/sh').hex}"
    large = zlib.crc32(b"spam and eggs\n" * 100_000)
    assert f"opt/a.txt\t1400000:{large:08x}\t644\ta\n" in lines
    assert lines[0] == f"etc/passwd\t{passwd}\t644\tbase\n"
    assert f"opt/b.sh\t{script}\t755\tb\n" in lines
    assert f"opt/c.sh\t{script}\t755\tb\n" in lines
    assert f"usr/bin/python\t-> /opt/{'é' * 60}\t777\tvenv\n" in lines
    assert lines == sorted(lines, key=str.encode)
    assert len(lines) == 8


@settings(deadline=None)
@given(st.dictionaries(PATH, st.binary(max_size=1500), max_size=8))
def test_any_files_come_back(files: dict[str, bytes]) -> None:
    above = {p[:i] for p in files for i, c in enumerate(p) if c == "/"}
    kept = {path: data for path, data in sorted(files.items()) if path not in above}

    def write(writer: LayerWriter) -> None:
        for path, data in kept.items():
            if len(data) % 2:
                writer.deflated(path, [deflate(data)], len(data), zlib.crc32(data))
            else:
                writer.file(path, data)

    found = listed(written(write)[0])
    assert {n: m.size for n, m in found.items() if m.isreg()} == {
        n: len(d) for n, d in kept.items()
    }
    assert {n for n, m in found.items() if m.isdir()} == {
        a for p in kept for a in above if p.startswith(a + "/")
    }


@pytest.mark.parametrize("cut", [1, 511, 512, 1 << 20, 3 << 20])
def test_layers_do_not_depend_on_how_content_is_cut(cut: int) -> None:
    data = bytes(range(256)) * 10_000  # more than two pieces
    raw = deflate(data)

    def pieces(whole: bytes) -> Iterator[bytes]:
        step = cut if cut > 1 else 100_001
        yield from (whole[at : at + step] for at in range(0, len(whole), step))
        yield b""

    def write(cut_up: Callable[[bytes], Iterable[bytes]]) -> Callable[[LayerWriter], None]:
        def entries(writer: LayerWriter) -> None:
            writer.stream("a", cut_up(data), len(data))
            writer.deflated("b", cut_up(raw), len(data), zlib.crc32(data))

        return entries

    assert written(write(pieces))[0] == written(write(lambda whole: [whole]))[0]


def test_content_that_fills_a_piece_exactly_leaves_nothing_to_pack() -> None:
    def write(pieces: list[bytes]) -> Callable[[LayerWriter], None]:
        return lambda writer: writer.stream("a", pieces, (1 << 20) - 512)

    half = bytes((1 << 19) - 256)
    assert written(write([half, half]))[0] == written(write([half + half, b""]))[0]


def test_golden_layer() -> None:
    sha256 = "07875b1587e6064d58940554edd4d47d625953c8777cee0d6fbbb29454a8e588"
    assert hashlib.sha256(written(sample)[0]).hexdigest() == sha256


def test_a_raw_stream_is_copied_verbatim() -> None:
    data = b"incompressible enough" * 50
    raw = deflate(data, 9)
    layer, _ = written(lambda w: w.deflated("a", [raw], len(data), zlib.crc32(data)))
    assert raw in layer


def test_sizes_over_8_gib_use_pax() -> None:
    size = 8**11
    head = _headers("big", b"0", 0o644, (0, 0), size=size)
    info = tarfile.TarInfo.frombuf(head[:512], "utf-8", "strict")
    assert info.type == tarfile.XHDTYPE
    assert b"19 size=8589934592\n" in head
    assert len(_headers("big", b"0", 0o644, (0, 0), size=size - 1)) == 512


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("n" * 100, 1),
        ("n" * 101, 3),
        ("p/" * 77 + "p/" + "n" * 100, 1),
        ("p/" * 77 + "pp/" + "n" * 100, 3),
        ("p/" + "n" * 101, 3),
        ("é", 3),
    ],
)
def test_pax_is_used_only_where_ustar_has_no_room(name: str, blocks: int) -> None:
    layer, _ = written(lambda writer: writer.symlink(name, "x"))
    tar = gzip.decompress(layer)
    assert len(tar) == (name.count("/") + blocks + 2) * 512
    assert name in listed(layer)


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "./a", "a/.", "a\0b", "a\nb", "a\tb"],
)
def test_paths_that_cannot_be_in_an_image_are_refused(path: str) -> None:
    with pytest.raises(ActionError, match="is not a path inside an image"):
        written(lambda writer: writer.file(path, b""))


@pytest.mark.parametrize(
    "path", ["a/" + "b" * 256, "é" * 128, "a" * 300 + "/b", "d/" * 2047 + "xy"]
)
def test_paths_that_no_file_system_can_hold_are_refused(path: str) -> None:
    with pytest.raises(ActionError, match="is too long for any file system"):
        written(lambda writer: writer.file(path, b""))


@pytest.mark.parametrize(
    "path", ["a/" + "b" * 255, "é" * 127, "d/" * 1500 + "x", "d/" * 2046 + "x"]
)
def test_paths_that_a_file_system_can_hold_are_packed(path: str) -> None:
    layer, _ = written(lambda writer: writer.file(path, b""))
    assert path in listed(layer)


def test_a_path_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(ActionError) as caught:
        written(lambda writer: writer.file("a\udcff", b""))
    assert str(caught.value) == r"`'a\udcff'` is not UTF-8"


def test_a_link_to_nothing_is_refused() -> None:
    with pytest.raises(ActionError, match="`a` links to ``"):
        written(lambda writer: writer.symlink("a", "", owner="demo"))


def test_a_file_below_a_file_or_a_link_is_refused() -> None:
    def write(writer: LayerWriter) -> None:
        writer.symlink("a", "/etc")
        writer.file("a/passwd", b"")

    with pytest.raises(ActionError) as caught:
        written(write)
    assert str(caught.value) == "`a` is not a directory, so `a/passwd` cannot be in it"


def test_a_wrong_order_is_a_bug() -> None:
    def write(writer: LayerWriter) -> None:
        writer.file("b", b"")
        writer.file("a", b"")

    with pytest.raises(AssertionError, match="BUG: `a` comes after `b`"):
        written(write)


DATA = b"content " * 1000


@pytest.mark.parametrize(
    ("raw", "size", "crc32", "message"),
    [
        (deflate(DATA), 8000, 0x12345678, "does not have the CRC-32 `12345678`"),
        (deflate(DATA), 7999, zlib.crc32(DATA), "is longer than the `7999` bytes"),
        (deflate(DATA), 8001, zlib.crc32(DATA), "is shorter than the `8001` bytes"),
        (deflate(DATA)[:-1], 8000, zlib.crc32(DATA), "is shorter than the `8000` bytes"),
        (deflate(DATA) + b"x", 8000, zlib.crc32(DATA), "goes on after the end"),
        (deflate(DATA) * 2, 8000, zlib.crc32(DATA), "goes on after the end"),
        (b"\xff" + deflate(DATA), 8000, zlib.crc32(DATA), "cannot be inflated"),
        (deflate(bytes(1 << 26)), 10, 0, "is longer than the `10` bytes"),
        (b"", 0, 0, "is shorter than the `0` bytes"),
    ],
)
@pytest.mark.parametrize("step", [1, 1000, 1 << 20])
def test_a_damaged_stream_is_refused(
    raw: bytes, size: int, crc32: int, message: str, step: int
) -> None:
    pieces = [raw[at : at + step] for at in range(0, len(raw), step)]
    with pytest.raises(FetchError, match="the content of `a` " + message) as caught:
        written(lambda writer: writer.deflated("a", pieces, size, crc32, owner="demo.whl"))
    assert caught.value.problems[0].where == "demo.whl"


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=400), st.data())
def test_no_changed_byte_of_a_stream_goes_unnoticed(data: bytes, draw: st.DataObject) -> None:
    raw = bytearray(deflate(data))
    raw[draw.draw(st.integers(0, len(raw) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    try:
        layer, _ = written(lambda w: w.deflated("a", [bytes(raw)], len(data), zlib.crc32(data)))
    except FetchError:
        return
    # A flipped bit may be one that decoders ignore; what the layer holds must still be right.
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(layer))) as archive:
        file = archive.extractfile("a")
        assert file is not None
        assert file.read() == data


@pytest.mark.parametrize("chunks", [[b"abc"], [b"ab", b"cde"], []])
def test_a_stream_of_another_size_is_refused(chunks: list[bytes]) -> None:
    with pytest.raises(FetchError, match="the content of `a` is not `4` bytes"):
        written(lambda writer: writer.stream("a", chunks, 4))


def test_outputs_are_layer_info_and_paths(tmp_path: Path) -> None:
    work = make_work(tmp_path / "work", {}, {})
    with layer_outputs(work, "a comment") as writer:
        writer.file("a/b", b"hello", owner="me")
    layer = tmp_path / "work/layer"
    diff_id = hashlib.sha256(gzip.decompress(layer.read_bytes())).hexdigest()
    info = (tmp_path / "work/info").read_text()
    assert info == f'{{"comment":"a comment","diff_id":"sha256:{diff_id}"}}'
    assert (tmp_path / "work/paths").read_text() == f"a/b\t5:{Digest.of(b'hello').hex}\t644\tme\n"
    assert contents(layer) == {"a/b": b"hello"}
    assert list(members(layer)) == ["a", "a/b"]


def test_ticks_count_the_tar_and_can_interrupt(tmp_path: Path) -> None:
    ticks: list[int] = []
    work = make_work(tmp_path / "one", {}, {}, tick=ticks.append)
    data = bytes(5 << 20)
    with layer_outputs(work, "x") as writer:
        writer.deflated("a", [deflate(data)], len(data), zlib.crc32(data))
        writer.file("b", data)
    assert sum(ticks) == len(gzip.decompress((tmp_path / "one/layer").read_bytes()))
    assert max(ticks) < 2 << 20

    def cancel(done: int) -> None:
        raise Interrupted("cancelled")

    work = make_work(tmp_path / "two", {}, {}, tick=cancel)
    with pytest.raises(Interrupted), layer_outputs(work, "x") as writer:
        writer.deflated("a", [deflate(data)], len(data), zlib.crc32(data))
    assert not (tmp_path / "two/info").exists()
