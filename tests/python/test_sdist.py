"""Wheels built from sdists: refused unless pure, and the same bytes wherever they are built."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import pytest

from mfbuild.engine.model import Digest
from mfbuild.errors import ResolveError
from mfbuild.python.sdist import build_wheel, normalized
from tests.index import File, sdist, serve, settings_for, wheel, zipped

INFO = "thing-1.0.dist-info"


def test_a_pure_sdist_builds_its_wheel(tmp_path: Path) -> None:
    source = sdist("thing", "1.0").save(tmp_path)
    with serve() as index:
        settings = settings_for(index, tmp_path)
        built = build_wheel(source, settings, tmp_path)
        (tmp_path / "again").mkdir()
        again = build_wheel(source, settings, tmp_path / "again")
    assert built.name == "thing-1.0-py3-none-any.whl"
    assert built.read_bytes() == again.read_bytes()


def test_a_build_that_fails_says_why(tmp_path: Path) -> None:
    broken = File("thing-1.0.tar.gz", b"not an archive").save(tmp_path)
    with serve() as index, pytest.raises(ResolveError, match=r"`thing-1\.0\.tar\.gz` has no wheel"):
        build_wheel(broken, settings_for(index, tmp_path), tmp_path)


def test_what_builds_a_wheel_comes_from_the_configured_index(tmp_path: Path) -> None:
    """A build requirement that no index has ends the build; nothing of this machine is used."""
    files = {
        "thing-1.0/pyproject.toml": '[build-system]\nrequires = ["absent-backend"]\n'
        'build-backend = "absent"\n',
        "thing-1.0/PKG-INFO": "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n",
    }
    source = File("thing-1.0.zip", zipped(files)).save(tmp_path)
    with serve() as index, pytest.raises(ResolveError, match="absent-backend"):
        build_wheel(source, settings_for(index, tmp_path), tmp_path)


def remade(folder: Path, *, generator: str, mode: int, reverse: bool) -> Path:
    """The same wheel as another build tool would have written it."""
    with zipfile.ZipFile(io.BytesIO(wheel("thing", "1.0").data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files[f"{INFO}/WHEEL"] = files[f"{INFO}/WHEEL"].replace(b"tests", generator.encode())
    files["thing.data/scripts/run"] = b"#!python\n"
    folder.mkdir()
    path = folder / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED if reverse else zipfile.ZIP_DEFLATED) as out:
        out.mkdir("thing.data/") if hasattr(out, "mkdir") and reverse else None
        for name in sorted(files, reverse=reverse):
            entry = zipfile.ZipInfo(name, (2024 if reverse else 2020, 1, 1, 0, 0, 0))
            entry.external_attr = (mode | (0o111 if "scripts" in name else 0)) << 16
            out.writestr(entry, files[name])
    return path


def test_the_bytes_do_not_depend_on_who_built_them(tmp_path: Path) -> None:
    one = remade(tmp_path / "1", generator="tool 1", mode=0o100644, reverse=False)
    two = remade(tmp_path / "2", generator="tool 2", mode=0o100600, reverse=True)
    assert normalized(one) == normalized(two)
    assert Digest.of(normalized(one)).hex == (
        "79f81c086a8e32e40902e90816017efe3037d48165029da7af30213df79a50dc"
    )


def test_a_normalized_wheel_is_whole(tmp_path: Path) -> None:
    path = remade(tmp_path / "1", generator="tool", mode=0o100644, reverse=True)
    with zipfile.ZipFile(io.BytesIO(normalized(path))) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        record = archive.read(f"{INFO}/RECORD").decode()
        modes = {e.filename: e.external_attr >> 16 & 0o777 for e in archive.infolist()}
        assert {e.compress_type for e in archive.infolist()} == {zipfile.ZIP_STORED}
        wheel_file = archive.read(f"{INFO}/WHEEL")
    assert names[-3:] == [f"{INFO}/METADATA", f"{INFO}/RECORD", f"{INFO}/WHEEL"]
    others = sorted(set(names) - {f"{INFO}/RECORD"})
    recorded = [row[0] for row in csv.reader(io.StringIO(record))]
    assert recorded == [*others, f"{INFO}/RECORD"]
    assert modes["thing.data/scripts/run"] == 0o755 and modes["thing.py"] == 0o644
    assert b"Generator" not in wheel_file and b"Root-Is-Purelib: true" in wheel_file


def test_a_normalized_wheel_is_normal(tmp_path: Path) -> None:
    path = remade(tmp_path / "1", generator="tool", mode=0o100644, reverse=False)
    path.write_bytes(normalized(path))
    first = path.read_bytes()
    assert normalized(path) == first
