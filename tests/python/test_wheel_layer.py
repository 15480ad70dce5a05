"""The tool wheel.layer: bytes, pools of wheels, collisions, and what real installers say."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import IO

import pytest

from mfbuild.errors import ActionError
from mfbuild.python import layer
from tests.wheels import make_wheel
from tests.work import contents, make_work, members

SITE = "opt/venv/lib/python3.11/site-packages"


def bake(folder: Path, *wheels: Path) -> Path:
    """The folder with the outputs of `wheel.layer` for these wheels."""
    names = [wheel.name for wheel in wheels]
    params = {"python": "3.11", "prefix": "opt/venv", "wheels": names, "comment": "wheels"}
    work = make_work(folder, params, {wheel.name: wheel for wheel in wheels})
    layer.run(work)
    return folder


def sample(folder: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    files: dict[str, str | bytes] = {
        "demo/__init__.py": "",
        "demo/data.bin": bytes(range(256)) * 1000,
        "demo/naïve.txt": "é" * 100,
        "demo-1.0.data/scripts/tool": "#!python\nprint('tool')\n",
        "demo-1.0.data/data/share/demo.conf": "[demo]\n",
        "demo-1.0.data/headers/demo.h": "int demo;\n",
    }
    points = "[console_scripts]\ndemo = demo:main\n"
    folder.mkdir(exist_ok=True)
    return make_wheel(folder, files, info={"entry_points.txt": points}, method=method)


def test_a_layer_holds_the_files_of_the_wheel(tmp_path: Path) -> None:
    wheel = sample(tmp_path)
    outputs = bake(tmp_path / "out", wheel)
    found = contents(outputs / "layer")
    with zipfile.ZipFile(wheel) as archive:
        for name in ("demo/__init__.py", "demo/data.bin", "demo/naïve.txt"):
            assert found[f"{SITE}/{name}"] == archive.read(name)
    assert found["opt/venv/bin/tool"] == b"#!/opt/venv/bin/python\nprint('tool')\n"
    assert found["opt/venv/share/demo.conf"] == b"[demo]\n"
    assert members(outputs / "layer")["opt/venv/bin/demo"].mode == 0o755


def test_deflated_bytes_of_the_wheel_are_in_the_layer(tmp_path: Path) -> None:
    wheel = sample(tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        info = archive.getinfo("demo/data.bin")
        start = info.header_offset + 30 + len(info.filename)
    raw = wheel.read_bytes()[start : start + info.compress_size]
    assert raw in (bake(tmp_path / "out", wheel) / "layer").read_bytes()


@pytest.mark.parametrize(
    "method",
    [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA],
)
def test_the_tar_does_not_depend_on_the_zip_method(tmp_path: Path, method: int) -> None:
    outputs = bake(tmp_path / "out", sample(tmp_path / "in", method))
    tar = gzip.decompress((outputs / "layer").read_bytes())
    sha256 = "dfe04ccc5e6cbba78802d048bbd0e81441132a7f20f31fca901738137aa0d119"
    assert hashlib.sha256(tar).hexdigest() == sha256


def test_golden_layer_of_a_stored_wheel(tmp_path: Path) -> None:
    outputs = bake(tmp_path / "out", sample(tmp_path / "in", zipfile.ZIP_STORED))
    sha256 = hashlib.sha256((outputs / "layer").read_bytes()).hexdigest()
    assert sha256 == "1dd677e4c293f89fc4a953299b4fcd866de66b4b60a2355d5691b9b59485093b"


class Unseekable(io.RawIOBase):
    """A pipe-like file, for which zipfile writes data descriptors."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        assert isinstance(data, bytes | bytearray | memoryview)
        return self._file.write(data)


@pytest.mark.parametrize("zip64", [False, True])
def test_data_descriptors_and_zip64(tmp_path: Path, zip64: bool) -> None:
    wheel = sample(tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    (tmp_path / "streamed").mkdir()
    streamed = tmp_path / "streamed" / wheel.name
    with streamed.open("wb") as out, zipfile.ZipFile(Unseekable(out), "w") as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(info, "w", force_zip64=zip64) as file:
                file.write(data)
    first, second = bake(tmp_path / "1", wheel), bake(tmp_path / "2", streamed)
    assert (first / "layer").read_bytes() == (second / "layer").read_bytes()


def test_pooled_wheels_are_sorted_over_all_of_them(tmp_path: Path) -> None:
    one = make_wheel(tmp_path, {"a/x.py": "x", "ns/one.py": "1", "z.py": "z"}, name="one")
    two = make_wheel(tmp_path, {"b/y.py": "y", "ns/two.py": "2"}, name="two")
    first, second = bake(tmp_path / "1", one, two), bake(tmp_path / "2", two, one)
    for name in ("layer", "info", "paths"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    paths = [line.split("\t") for line in (first / "paths").read_text().splitlines()]
    assert [row[0] for row in paths] == sorted(row[0] for row in paths)
    owners = {row[0].removeprefix(f"{SITE}/"): row[3] for row in paths}
    assert (owners["ns/one.py"], owners["ns/two.py"]) == (one.name, two.name)


def test_a_path_that_wheels_agree_on_is_there_once(tmp_path: Path) -> None:
    shared = "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n"
    wheels = [make_wheel(tmp_path, {"ns/__init__.py": shared}, name=name) for name in ("b", "a")]
    outputs = bake(tmp_path / "out", *wheels)
    assert list(members(outputs / "layer")).count(f"{SITE}/ns/__init__.py") == 1
    assert owners(outputs, "ns/__init__.py") == [wheels[1].name, wheels[1].name, wheels[0].name]


def test_of_equal_files_the_first_is_taken_byte_for_byte(tmp_path: Path) -> None:
    """So that a pool keeps its digest where another wheel only repeats what is there."""
    text = "spam\n" * 1000
    one = make_wheel(tmp_path, {"ns/__init__.py": text}, name="one")
    two = make_wheel(tmp_path, {"ns/__init__.py": text}, name="two", method=zipfile.ZIP_STORED)
    with zipfile.ZipFile(one) as archive:
        info = archive.getinfo("ns/__init__.py")
        start = info.header_offset + 30 + len(info.filename)
    raw = one.read_bytes()[start : start + info.compress_size]
    assert raw in (bake(tmp_path / "out", two, one) / "layer").read_bytes()


def test_of_different_files_the_last_is_taken_and_all_are_told(tmp_path: Path) -> None:
    one = make_wheel(tmp_path, {"tests/a.py": "1", "tests/b.py": "1"}, name="one")
    two = make_wheel(tmp_path, {"tests/a.py": "2", "tests/b.py": "1"}, name="two")
    outputs = bake(tmp_path / "out", two, one)
    assert contents(outputs / "layer")[f"{SITE}/tests/a.py"] == b"2"
    assert owners(outputs, "tests/a.py") == [two.name, one.name, two.name]
    assert owners(outputs, "tests/b.py") == [one.name, one.name, two.name]


def owners(outputs: Path, path: str) -> list[str]:
    """The wheel whose file is in the layer, and then all that bring the path."""
    rows = [line.split("\t") for line in (outputs / "paths").read_text().splitlines()]
    return [row[3] for row in rows if row[0] == f"{SITE}/{path}"]


def test_a_file_of_one_wheel_below_a_file_of_another(tmp_path: Path) -> None:
    one = make_wheel(tmp_path, {"tests": "a file"}, name="one")
    two = make_wheel(tmp_path, {"tests/a.py": ""}, name="two")
    for wheels in ((one, two), (two, one)):
        with pytest.raises(ActionError) as caught:
            bake(tmp_path / f"out of {wheels[0].name}", *wheels)
        message = f"`{one.name}` and `{two.name}` bring different content to `{SITE}/tests`"
        assert [problem.message for problem in caught.value.problems] == [message]


def test_uv_installs_the_same_files(tmp_path: Path) -> None:
    """uv, from the wheel alone, into a virtual environment at another place."""
    wheel = sample(tmp_path)
    minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
    environment = tmp_path / "opt/venv"
    venv.create(environment)
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline", "--no-config"]
    command += ["--no-cache", "--no-deps", "--python", str(environment), str(wheel)]
    subprocess.run(command, check=True)
    params = {"python": minor, "prefix": "opt/venv", "wheels": [wheel.name], "comment": "x"}
    work = make_work(tmp_path / "out", params, {wheel.name: wheel})
    layer.run(work)
    ours = contents(work.outputs["layer"])
    info = f"opt/venv/lib/python{minor}/site-packages/demo-1.0.dist-info"
    for path in ours.keys() - {f"{info}/RECORD", f"{info}/INSTALLER", "opt/venv/bin/demo"}:
        shebang = f"#!{environment}/bin/python".encode()
        installed = (tmp_path / path).read_bytes().replace(shebang, b"#!/opt/venv/bin/python")
        assert ours[path] == installed, path
    theirs = listed((tmp_path / info / "RECORD").read_text())
    added = {"REQUESTED", "direct_url.json", "uv_cache.json"}
    assert listed(ours[f"{info}/RECORD"].decode()) == theirs - {
        f"demo-1.0.dist-info/{n}" for n in added
    }


def listed(record: str) -> set[str]:
    return {row[0] for row in csv.reader(record.splitlines())}
