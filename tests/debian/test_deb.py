from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfbuild.debian.deb import ArMember, open_deb
from mfbuild.errors import FetchError
from tests.debs import Item, Package, ar, compressed, deb, directory, hardlink, symlink, tar

FILES = (
    directory("./"),
    directory("./usr"),
    Item("./usr/tool", b"#!tool\n", 0o4755),
    hardlink("./usr/same", target="./usr/tool"),
    symlink("./usr/link", target="../etc/tool"),
)


def read(data: bytes) -> list[tuple[ArMember, bytes]]:
    package = open_deb(io.BytesIO(data), "x.deb")
    return [(member, b"".join(content)) for member, content in package.members()]


def refusal(package: Package) -> str:
    with pytest.raises(FetchError) as raised:
        read(package.data)
    return str(raised.value).removeprefix("the package `x.deb` cannot be used: ")


@pytest.mark.parametrize("suffix", [".xz", ".gz", ""])
def test_the_members_of_a_package_are_read(suffix: str) -> None:
    package = deb("tool", *FILES, suffix=suffix)
    assert read(package.data) == [
        (ArMember("usr", "directory", 0o755), b""),
        (ArMember("usr/tool", "file", 0o4755), b"#!tool\n"),
        (ArMember("usr/same", "hardlink", 0o644, "usr/tool"), b""),
        (ArMember("usr/link", "symlink", 0o777, "../etc/tool"), b""),
    ]
    control = "Package: tool\nVersion: 1.0\nArchitecture: amd64\n"
    assert open_deb(io.BytesIO(package.data), "x.deb").control() == control


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb is not installed")
@pytest.mark.parametrize("compression", ["xz", "gzip", "none"])
def test_what_dpkg_deb_builds_is_read(tmp_path: Path, compression: str) -> None:
    tree, path = tmp_path / "tree", tmp_path / "x.deb"
    (tree / "DEBIAN").mkdir(parents=True, mode=0o755)
    control = "Package: tool\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: x\n"
    (tree / "DEBIAN/control").write_text(control)
    long = f"opt/{'d' * 120}/{'f' * 120}"
    (tree / long).parent.mkdir(parents=True)
    (tree / long).write_bytes(b"content")
    (tree / "opt/link").symlink_to(long.removeprefix("opt/"))
    command = [
        "dpkg-deb",
        f"-Z{compression}",
        "--root-owner-group",
        "--build",
        str(tree),
        str(path),
    ]
    subprocess.run(command, check=True, capture_output=True)
    found = {member.path: (member, content) for member, content in read(path.read_bytes())}
    assert found[long][1] == b"content"
    assert found["opt/link"][0].target == long.removeprefix("opt/")
    assert open_deb(io.BytesIO(path.read_bytes()), "x.deb").control() == control


def test_paths_are_merged_into_usr() -> None:
    package = deb(
        "libc6",
        directory("./lib"),
        Item("./lib/libc.so"),
        symlink("./lib64/ld.so", target="/lib/ld.so"),
        Item("./library"),
        symlink("./bin", target="usr/bin"),
    )
    paths = [member.path for member, _ in read(package.data)]
    assert paths == ["usr/lib", "usr/lib/libc.so", "usr/lib64/ld.so", "library"]


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x", "./usr/../../x", "usr//x", "./usr/./x", "x\ny", "x\x7f"]
)
def test_a_path_out_of_the_image_is_refused(path: str) -> None:
    assert refusal(deb("evil", Item(path))) == f"`{path!a}` is not a path inside an image"


@pytest.mark.parametrize("path", ["usr/" + "b" * 256, "é" * 128, "d/" * 2047 + "xy"])
def test_a_path_that_no_file_system_can_hold_is_refused(path: str) -> None:
    assert refusal(deb("evil", Item(path))).endswith("` is too long for any file system")
    expected = "`link` links to what is too long for any file system"
    assert refusal(deb("evil", symlink("link", target="a" * 4096))) == expected


def test_a_path_that_is_not_utf8_is_refused_in_a_package() -> None:
    assert "can't decode byte 0xff" in refusal(deb("evil", Item("a\udcff")))


@pytest.mark.parametrize("target", ["../../x", "a/../../../x", "/../x", "", "x\n"])
def test_a_symlink_out_of_the_image_is_refused(target: str) -> None:
    package = deb("evil", symlink("./usr/link", target=target))
    assert refusal(package) == f"`usr/link` links to `{target!a}`, out of the image"


def test_a_hardlink_out_of_the_image_is_refused() -> None:
    package = deb("evil", hardlink("./a", target="/etc/shadow"))
    assert refusal(package) == "`'/etc/shadow'` is not a path inside an image"


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_are_refused(kind: bytes) -> None:
    package = deb("evil", Item("./dev/x", kind=kind))
    assert refusal(package) == "`./dev/x` is neither a plain file nor a directory nor a link"


def test_a_path_may_be_there_once() -> None:
    assert refusal(deb("evil", Item("./a", b"1"), Item("a", b"2"))) == "it holds `a` twice"


def test_zstd_is_not_supported() -> None:
    text = refusal(deb("new", suffix=".zst"))
    assert text == "its compression `.zst` is not supported, only gzip and xz are"


def test_a_header_that_lies_about_the_size_is_refused() -> None:
    archive = bytearray(tar([Item("./a", b"x" * 100)]))
    info = tarfile.TarInfo("./a")
    info.size = 1 << 40
    archive[:512] = info.tobuf(tarfile.GNU_FORMAT)
    assert refusal(deb("evil", archive=bytes(archive))) == "unexpected end of data"


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
@pytest.mark.parametrize("size", [b"\xff" * 11 + b"\0", b"\x80" + b"\0" * 5 + b"\x7f" * 6])
def test_a_size_that_is_negative_or_absurd_is_refused(kind: bytes, size: bytes) -> None:
    info = tarfile.TarInfo("./a")
    info.type = kind
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136], header[148:156] = size, b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    refusal(deb("evil", archive=bytes(header) + bytes(4096)))


def test_a_bomb_is_not_unpacked() -> None:
    package = deb("evil", Item("./a", bytes(65 << 20)))
    assert refusal(package) == f"it unpacks to more than {64 << 20} bytes"


def test_a_broken_tar_header_does_not_end_the_archive() -> None:
    archive = bytearray(tar([Item("./a", b"1"), Item("./b", b"2")]))
    archive[1024] ^= 1
    assert refusal(deb("evil", archive=bytes(archive))) == (
        "it is truncated or has a broken tar header"
    )


def test_content_after_the_end_is_refused() -> None:
    archive = tar([Item("./a", b"1")]) + tar([Item("./b", b"2")])
    text = refusal(deb("evil", archive=archive))
    assert text == "it goes on after the end of its archive"


def test_an_archive_may_not_just_stop() -> None:
    text = refusal(deb("evil", archive=tar([Item("./a", b"1")])[:1024]))
    assert text == "it is truncated or has a broken tar header"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("data.tar", b"")], "`x.deb` is not a Debian package"),
        ([("debian-binary", b"2.0\n")] * 2, "the package `x.deb` holds `debian-binary` twice"),
        (
            [("debian-binary", b"2.0\n")],
            "the package `x.deb` cannot be used: it has 0 members `data.tar`",
        ),
        (
            [("debian-binary", b"2.0\n"), ("data.tar", b""), ("data.tar.xz", b"")],
            "the package `x.deb` cannot be used: it has 2 members `data.tar`",
        ),
    ],
)
def test_an_ar_archive_must_be_that_of_a_package(
    members: list[tuple[str, bytes]], message: str
) -> None:
    with pytest.raises(FetchError) as raised:
        read(ar(*members))
    assert str(raised.value) == message


def test_a_package_without_control_file_is_refused() -> None:
    control = compressed(tar([Item("./md5sums")]), ".xz")
    data = ar(("debian-binary", b"2.0\n"), ("control.tar.xz", control))
    with pytest.raises(FetchError, match="it has no control file"):
        open_deb(io.BytesIO(data), "x.deb").control()


WHOLE = deb("tool", *FILES).data
PLAIN = tar(FILES)


@given(st.integers(min_value=0, max_value=len(WHOLE) - 2))
def test_a_package_cut_anywhere_is_refused(end: int) -> None:
    with pytest.raises(FetchError):
        read(WHOLE[:end])


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=len(WHOLE) - 1), st.integers(min_value=1, max_value=255))
def test_a_changed_byte_is_refused_or_harmless(at: int, change: int) -> None:
    data = bytearray(WHOLE)
    data[at] ^= change
    try:
        assert read(bytes(data)) == read(WHOLE)
    except FetchError as error:
        assert "x.deb" in str(error)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.tuples(st.integers(min_value=0, max_value=len(PLAIN) - 1), st.binary(max_size=12)),
        min_size=1,
        max_size=4,
    )
)
def test_no_archive_leads_out_of_the_image(changes: list[tuple[int, bytes]]) -> None:
    archive = bytearray(PLAIN)
    for at, text in changes:
        archive[at : at + len(text)] = text
    try:
        members = read(deb("evil", archive=bytes(archive), suffix="").data)
    except FetchError:
        return
    for member, _ in members:
        parts = member.path.split("/")
        assert not {"", ".", ".."} & set(parts) and "\0" not in member.path
