"""Wheels that an attacker or a bad disk made: refused with the wheel and the member named."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfbuild.errors import ActionError, FetchError
from mfbuild.python import layer
from mfbuild.python.wheel import Scheme, read_wheel
from tests.wheels import make_wheel
from tests.work import contents, make_work

SCHEME = Scheme(prefix="opt/venv", python="3.11")


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A good wheel with a file `demo/aaa`."""
    return make_wheel(tmp_path, {"demo/aaa": "spam" * 100, "demo/bbb": "eggs"})


def patch_central(wheel: Path, name: bytes, offset: int, value: bytes) -> None:
    """Overwrite a field of the central directory header of `name` (APPNOTE 4.3.12)."""
    data = bytearray(wheel.read_bytes())
    at = data.rindex(name) - 46
    assert data[at : at + 4] == b"PK\1\2"
    data[at + offset : at + offset + len(value)] = value
    wheel.write_bytes(data)


def refusal(wheel: Path) -> list[str]:
    with pytest.raises(FetchError) as caught:
        read_wheel(wheel, wheel.name, SCHEME)
    assert {problem.where for problem in caught.value.problems} == {wheel.name}
    return [problem.message for problem in caught.value.problems]


def baked(wheel: Path) -> dict[str, bytes]:
    """What the tool `wheel.layer` makes of it, by path below site-packages."""
    params = {"python": "3.11", "prefix": "opt/venv", "wheels": [wheel.name], "comment": "x"}
    work = make_work(wheel.parent / f"work-{wheel.name}", params, {wheel.name: wheel})
    layer.run(work)
    site = f"{SCHEME.site}/"
    return {p.removeprefix(site): d for p, d in contents(work.outputs["layer"]).items()}


@pytest.mark.parametrize(
    "name",
    [
        *(b"/etc/abc", b"../demo/", b"demo/../", b"demo/./a", b"demo//ab", b".../../b"),
        *(b"dem\\aaaa", b"C:\\demoa", b"demo/a\0b", b"demo/a\nb", b"demo/a\x7fb"),
    ],
)
def test_names_that_lead_elsewhere(wheel: Path, name: bytes) -> None:
    assert len(name) == len(b"demo/aaa")
    wheel.write_bytes(wheel.read_bytes().replace(b"demo/aaa", name))
    assert refusal(wheel) == [f"`{name.decode()}` is not a safe relative path"]


def test_all_bad_names_are_reported(wheel: Path) -> None:
    data = wheel.read_bytes().replace(b"demo/aaa", b"/etc/abc").replace(b"demo/bbb", b"../../xx")
    wheel.write_bytes(data)
    assert len(refusal(wheel)) == 2


@pytest.mark.parametrize(
    "name",
    ["demo/" + "a" * 256, "é" * 128, "demo-1.0.data/data/" + "d/" * 2045 + "x", "d/" * 2047 + "x"],
)
def test_names_that_no_file_system_can_hold(tmp_path: Path, name: str) -> None:
    """No node and no Docker could unpack the image."""
    (message,) = refusal(make_wheel(tmp_path, {name: ""}))
    assert message.endswith("is too long for any file system")
    command = "[console_scripts]\n" + "c" * 256 + " = demo:main\n"
    (message,) = refusal(make_wheel(tmp_path, {}, info={"entry_points.txt": command}))
    assert message.endswith("is too long for any file system")


def test_names_that_a_file_system_can_hold(tmp_path: Path) -> None:
    names = {"demo/" + "a" * 252 + ".py": "", "d/" * 1500 + "x.py": ""}
    assert set(names) <= set(baked(make_wheel(tmp_path, names)))


@pytest.mark.parametrize("kind", [0o060644, 0o010644, 0o040755])
def test_links_and_devices(wheel: Path, kind: int) -> None:
    patch_central(wheel, b"demo/aaa", 38, struct.pack("<I", kind << 16))
    assert refusal(wheel) == ["`demo/aaa` is a device or another special file"]


def test_a_directory_that_says_it_is_a_file_is_harmless(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, {"demo/": "", "demo/a": "x"})
    assert baked(wheel)["demo/a"] == b"x"


@pytest.mark.parametrize("flag", [0x1, 0x20, 0x40, 0x2000])
def test_encryption_and_patches(wheel: Path, flag: int) -> None:
    patch_central(wheel, b"demo/aaa", 8, struct.pack("<H", flag))
    assert "`demo/aaa` is encrypted" in refusal(wheel)


def test_a_name_that_is_there_twice(wheel: Path) -> None:
    wheel.write_bytes(wheel.read_bytes().replace(b"demo/bbb", b"demo/aaa"))
    assert refusal(wheel) == ["`demo/aaa` is there twice"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("demo/aaa/", "`demo/aaa` is there twice"),
        ("demo/aaa/x", "`demo/aaa` is a file and a directory"),
    ],
)
def test_a_file_that_is_a_directory_too(wheel: Path, name: str, message: str) -> None:
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr(name, "")
    assert refusal(wheel) == [message]


def test_a_local_header_with_another_name(wheel: Path) -> None:
    wheel.write_bytes(wheel.read_bytes().replace(b"demo/aaa", b"demo/xyz", 1))
    assert refusal(wheel) == ["`demo/aaa` has another name in its local header"]


def test_members_that_share_bytes(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("demo/inner", "spam" * 1000)
        quoted = inner.getvalue()
    wheel = make_wheel(tmp_path, {"demo/outer": quoted}, method=zipfile.ZIP_STORED)
    with zipfile.ZipFile(wheel, "a") as archive:
        info = archive.infolist()[0]
        with zipfile.ZipFile(io.BytesIO(inner.getvalue())) as other:
            hidden = other.infolist()[0]
        hidden.header_offset = info.header_offset + 30 + len("demo/outer")
        archive.filelist.append(hidden)
        archive.writestr("demo/last", "")
    assert refusal(wheel) == ["`demo/inner` overlaps with another member"]


def test_a_member_that_reaches_into_the_directory(wheel: Path) -> None:
    patch_central(wheel, b"demo-1.0.dist-info/RECORD", 20, struct.pack("<I", 100_000))
    assert refusal(wheel) == ["members overlap with the directory"]


def test_a_bomb_by_its_declared_size(wheel: Path) -> None:
    patch_central(wheel, b"demo/aaa", 24, struct.pack("<I", (1 << 30) + 1))
    assert len(refusal(wheel)) == 1
    assert refusal(wheel)[0].endswith("bytes, more than `1073741824`")


@pytest.mark.parametrize(("size", "message"), [(399, "longer"), (401, "shorter"), (0, "longer")])
def test_a_member_of_another_size_than_declared(wheel: Path, size: int, message: str) -> None:
    patch_central(wheel, b"demo/aaa", 24, struct.pack("<I", size))
    with pytest.raises(FetchError) as caught:
        baked(wheel)
    problem = caught.value.problems[0]
    expected = f"`{SCHEME.site}/demo/aaa` is {message} than the `{size}` bytes that are declared"
    assert problem.message == f"the content of {expected}"
    assert problem.where == wheel.name


def test_a_member_with_another_checksum(wheel: Path) -> None:
    patch_central(wheel, b"demo/aaa", 16, b"\1\2\3\4")
    with pytest.raises(FetchError, match="demo/aaa` does not have the CRC-32 `04030201`"):
        baked(wheel)


def test_a_member_with_data_after_its_end(tmp_path: Path) -> None:
    packer = zlib.compressobj(wbits=-15)
    raw = packer.compress(b"y") + packer.flush()
    wheel = make_wheel(tmp_path, {"demo/aaa": raw + b"hidden"}, method=zipfile.ZIP_STORED)
    wheel.write_bytes(wheel.read_bytes().replace(b"PK\3\4\x14\0\0\0\0", b"PK\3\4\x14\0\0\0\x08", 1))
    patch_central(wheel, b"demo/aaa", 10, b"\x08\0")
    patch_central(wheel, b"demo/aaa", 16, struct.pack("<I", zlib.crc32(b"y")))
    patch_central(wheel, b"demo/aaa", 24, struct.pack("<I", 1))
    with pytest.raises(FetchError, match="demo/aaa` goes on after the end of its DEFLATE stream"):
        baked(wheel)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_under_other_methods(tmp_path: Path, method: int) -> None:
    data = bytes(range(256)) * 20
    wheel = make_wheel(tmp_path, {"demo/aaa": data}, method=method)
    assert baked(wheel)["demo/aaa"] == data
    patch_central(wheel, b"demo/aaa", 16, b"\1\2\3\4")
    (tmp_path / "again").mkdir()
    wheel = wheel.rename(tmp_path / "again" / wheel.name)
    with pytest.raises(FetchError, match="`demo/aaa` cannot be read"):
        baked(wheel)


def test_an_unknown_method(wheel: Path) -> None:
    wheel.write_bytes(wheel.read_bytes().replace(b"\x14\0\0\0\x08\0", b"\x14\0\0\0\x63\0"))
    assert any("cannot be read as a wheel" in message for message in refusal(wheel))


@pytest.mark.parametrize("keep", [0, 1, 100, -1, -22, -100])
def test_a_truncated_file(wheel: Path, keep: int) -> None:
    wheel.write_bytes(wheel.read_bytes()[:keep])
    assert refusal(wheel)[0].startswith("cannot be read as a wheel: ")


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_any_damage_ends_in_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    points = "[console_scripts]\ndemo = demo:main\n"
    method = data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    files = {"demo/a.py": "spam" * 20, "demo-1.0.data/scripts/s": "#!python\n"}
    wheel = make_wheel(folder, files, info={"entry_points.txt": points}, method=method)
    damaged = bytearray(wheel.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    wheel.write_bytes(damaged)
    try:
        found = baked(wheel)
    except (FetchError, ActionError) as error:
        assert error.problems[0].where in (wheel.name, None)
    else:
        assert "demo-1.0.dist-info/RECORD" in found


def test_a_link_is_a_file_with_the_name_of_its_target(wheel: Path) -> None:
    """As pip and uv lay it down."""
    patch_central(wheel, b"demo/aaa", 38, struct.pack("<I", 0o120777 << 16))
    [entry] = [e for e in read_wheel(wheel, wheel.name, SCHEME) if e.path.endswith("demo/aaa")]
    assert entry.mode == 0o644
    assert baked(wheel)["demo/aaa"] == b"spam" * 100
