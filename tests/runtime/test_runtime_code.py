"""The code tarball: what is fetched is what was promised, and nothing leaves its folder."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfbuild.runtime.code import extract, fetch, split_address, unpack
from mfbuild.runtime.errors import Failure, NonRecoverable
from tests.runtime.containers import tarball


class Bucket:
    """A storage of one object, which counts how often it is read."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.reads = 0
        self.address = f"s3://b/code#sha256={hashlib.sha256(content).hexdigest()}"

    def get(self, url: str) -> bytes:
        assert url == "s3://b/code"
        self.reads += 1
        return self.content


def test_code_is_unpacked_once(tmp_path: Path) -> None:
    script = tarfile.TarInfo("bin/run")
    script.mode = 0o755
    bucket = Bucket(tarball({"flow.py": b"1", "pkg/data": b"\0"}, script))
    environ = {"MFBUILD_WORKDIR": str(tmp_path / "work")}
    code = unpack(bucket.address, bucket.get, environ)
    assert unpack(bucket.address, bucket.get, environ) == code
    assert bucket.reads == 1
    found = {str(p.relative_to(code.folder)) for p in code.folder.rglob("*") if p.is_file()}
    assert found == {"flow.py", "pkg/data", "bin/run"}
    assert os.access(code.folder / "bin/run", os.X_OK)
    assert not os.access(code.folder / "flow.py", os.X_OK)
    assert code.archive.read_bytes() == bucket.content
    assert [p.name for p in (tmp_path / "work").iterdir()] == [code.folder.parent.name]


def test_other_content_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    bucket = Bucket(tarball({"flow.py": b"1"}))
    bucket.content += b"\0"
    with pytest.raises(NonRecoverable, match=r"`s3://b/code` has the sha256 .* it was changed"):
        unpack(bucket.address, bucket.get, {"MFBUILD_WORKDIR": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []


def test_a_bad_archive_leaves_nothing(tmp_path: Path) -> None:
    bucket = Bucket(tarball({"flow.py": b"1", "../flow.py": b"2"}))
    with pytest.raises(NonRecoverable):
        unpack(bucket.address, bucket.get, {"MFBUILD_WORKDIR": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_others_can_write_is_not_trusted(tmp_path: Path) -> None:
    bucket = Bucket(tarball({"flow.py": b"1"}))
    environ = {"MFBUILD_WORKDIR": str(tmp_path)}
    home = unpack(bucket.address, bucket.get, environ).folder.parent
    home.chmod(0o777)
    with pytest.raises(NonRecoverable, match="can be written by others"):
        unpack(bucket.address, bucket.get, environ)
    home.rename(tmp_path / "elsewhere")
    home.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NonRecoverable, match="can be written by others"):
        unpack(bucket.address, bucket.get, environ)


def test_where_nothing_can_be_written_it_says_so() -> None:
    bucket = Bucket(tarball({"flow.py": b"1"}))
    with pytest.raises(Failure, match="the code cannot be unpacked in `/dev/null`: "):
        unpack(bucket.address, bucket.get, {"MFBUILD_WORKDIR": "/dev/null"})


def _member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    "member",
    [
        _member("/etc/passwd"),
        _member("../x"),
        _member("a/../../x"),
        _member(".."),
        _member("../d", tarfile.DIRTYPE),
        _member("link", tarfile.SYMTYPE, "/etc/passwd"),
        _member("link", tarfile.SYMTYPE, "flow.py"),
        _member("hard", tarfile.LNKTYPE, "flow.py"),
        _member("null", tarfile.CHRTYPE),
        _member("disk", tarfile.BLKTYPE),
        _member("pipe", tarfile.FIFOTYPE),
        _member("flow.py"),
        _member("flow.py/below"),
        _member("flow.py", tarfile.DIRTYPE),
        _member("."),
    ],
    ids=lambda m: f"{m.name[:20]}-{m.type.decode()}",
)
def test_a_hostile_member_is_refused(member: tarfile.TarInfo, tmp_path: Path) -> None:
    archive = tarball({"flow.py": b"1"}, member)
    with pytest.raises(NonRecoverable):
        extract(archive, tmp_path / "code")
    assert [p.name for p in tmp_path.iterdir()] == ["code"]
    assert {p.name for p in (tmp_path / "code").iterdir()} <= {"flow.py"}


@given(st.binary(max_size=2000), st.integers(0, 2000), st.booleans())
def test_a_damaged_archive_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int, packed: bool
) -> None:
    archive = tarball({"flow.py": b"1" * 100, "a/b": b"2"})
    plain = gzip.decompress(archive)
    damaged = (archive if packed else plain)[:at] + noise + (archive if packed else plain)[at:]
    folder = tmp_path_factory.mktemp("damaged")
    with contextlib.suppress(NonRecoverable):
        extract(damaged, folder / "code")
    assert [p.name for p in folder.iterdir()] == ["code"]


@pytest.mark.parametrize(
    "address", ["", "s3://b/x", "s3://b/x#sha256=", f"x#sha256={'A' * 64}", f"x#md5={'a' * 64}"]
)
def test_an_address_without_a_digest_is_refused(address: str) -> None:
    with pytest.raises(NonRecoverable, match="does not end in #sha256="):
        fetch(address, lambda _: b"")


def test_a_key_may_hold_a_mark() -> None:
    assert split_address(f"s3://b/a#b?c#sha256={'0' * 64}") == ("s3://b/a#b?c", "0" * 64)
