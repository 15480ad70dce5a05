"""PEP 751: what is read of a pylock.toml, and a lock that others can install."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest
import tomli
import uv
from packaging.pylock import Pylock

from mfbuild.errors import ResolveError
from mfbuild.oci.types import Platform
from mfbuild.python.model import Lock, LockedEnvironment, LockedWheel, Request
from mfbuild.python.pylock import export_pylock, read_pylock
from mfbuild.python.resolve import resolve
from mfbuild.python.urls import UrlCache, known_urls
from tests.index import sdist, serve, settings_for, wheel

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
REQUEST = Request("3.11", "2.36", (), ("one",))


def document(*packages: str) -> str:
    return 'lock-version = "1.0"\ncreated-by = "tests"\n' + "".join(packages)


def package(name: str, *files: str, extra: str = "") -> str:
    listed = ", ".join(
        f'{{ name = "{f}", url = "https://one.example/{f}", hashes = {{ sha256 = "{i:064}" }} }}'
        for i, f in enumerate(files)
    )
    return f'[[packages]]\nname = "{name}"\nversion = "1.0"\n{extra}\nwheels = [{listed}]\n'


def test_files_come_best_first() -> None:
    text = document(
        package(
            "one",
            "one-1.0-py3-none-any.whl",
            "one-1.0-1-py3-none-any.whl",
            "one-1.0-cp311-cp311-manylinux_2_17_x86_64.whl",
            "one-1.0-cp312-cp312-manylinux_2_17_x86_64.whl",
            "one-1.0-cp39-abi3-manylinux_2_17_aarch64.whl",
        )
    )
    found = [f.filename for f in read_pylock(text, REQUEST, AMD64)["one"]]
    assert found == [
        "one-1.0-cp311-cp311-manylinux_2_17_x86_64.whl",
        "one-1.0-1-py3-none-any.whl",
        "one-1.0-py3-none-any.whl",
    ]
    assert read_pylock(text, REQUEST, ARM64)["one"][0].filename.endswith("aarch64.whl")


def test_markers_choose_the_packages() -> None:
    text = document(
        package(
            "arm", "arm-1.0-py3-none-any.whl", extra="marker = \"platform_machine == 'aarch64'\""
        ),
        package("win", "win-1.0-py3-none-any.whl", extra="marker = \"sys_platform == 'win32'\""),
        package(
            "group", "group-1.0-py3-none-any.whl", extra="marker = \"'dev' in dependency_groups\""
        ),
        package("new", "new-1.0-py3-none-any.whl", extra="marker = \"python_version >= '3.11'\""),
    )
    assert list(read_pylock(text, REQUEST, AMD64)) == ["new"]
    assert list(read_pylock(text, REQUEST, ARM64)) == ["arm", "new"]


def test_a_package_from_elsewhere_has_no_files() -> None:
    archive = (
        '[[packages]]\nname = "one"\nversion = "1.0"\n'
        f'archive = {{ url = "https://one.example/one.zip", hashes = {{ sha256 = "{0:064}" }} }}\n'
    )
    assert read_pylock(document(archive), REQUEST, AMD64) == {"one": ()}


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "",
        'lock-version = "2.0"\ncreated-by = "x"\npackages = []',
        document(package("one", "two-1.0-py3-none-any.whl")),
        document(package("one", "../one-1.0.whl")),
        document(package("One", "one-1.0-py3-none-any.whl")),
    ],
)
def test_what_is_no_pylock_is_refused(text: str) -> None:
    with pytest.raises(ResolveError, match=r"not a pylock\.toml") as caught:
        read_pylock(text, REQUEST, AMD64, "pylock.toml")
    assert caught.value.problems[0].where == "pylock.toml"


def test_a_package_that_is_named_twice_is_refused() -> None:
    twice = document(package("one", "one-1.0-py3-none-any.whl") * 2)
    with pytest.raises(ResolveError, match="`one` is named more than once for linux/amd64"):
        read_pylock(twice, REQUEST, AMD64)


def locked(name: str, version: str, tag: str, digit: str) -> LockedWheel:
    return LockedWheel(f"{name}-{version}-{tag}.whl", name, version, 10, digit * 64)


def test_an_export_is_valid_and_selects_the_same_wheels() -> None:
    both = locked("any", "1.0", "py3-none-any", "1")
    amd = locked("fast", "2.0", "cp311-cp311-manylinux_2_17_x86_64", "2")
    arm = locked("fast", "1.9", "cp311-cp311-manylinux_2_17_aarch64", "3")
    built = LockedWheel(
        "old-1.0-py3-none-any.whl", "old", "1.0", 3, "4" * 64, "old-1.0.tar.gz", "5" * 64
    )
    wheels = {AMD64: (both, amd, built), ARM64: (both, arm)}
    lock = Lock({REQUEST.digest(): LockedEnvironment(REQUEST, wheels)})
    urls = {c * 64: f"https://one.example/{c}" for c in "1235"}
    text = export_pylock(lock, REQUEST, urls)
    Pylock.from_dict(tomli.loads(text)).validate()
    for platform, expected in ((AMD64, [both, amd]), (ARM64, [both, arm])):
        found = read_pylock(text, REQUEST, platform)
        files = {name: files[0].sha256 for name, files in found.items()}
        for one in expected:
            assert files.pop(one.name) == one.sha256
        assert files == ({"old": "5" * 64} if platform == AMD64 else {})
    assert "marker = \"sys_platform == 'linux' and (platform_machine == 'aarch64')\"" in text


def test_an_export_needs_every_address_and_the_environment() -> None:
    one = locked("one", "1.0", "py3-none-any", "1")
    lock = Lock({REQUEST.digest(): LockedEnvironment(REQUEST, {AMD64: (one,)})})
    with pytest.raises(ResolveError, match=r"no index that is configured has `one-1\.0"):
        export_pylock(lock, REQUEST, {})
    with pytest.raises(ResolveError, match="the lock does not hold this environment"):
        export_pylock(Lock({}), REQUEST, {})


def test_uv_installs_an_export(tmp_path: Path) -> None:
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    request = Request(python, "2.36", (), ("one", "old"))
    with serve(wheel("one", "1.0", ["two"]), wheel("two", "1.0"), sdist("old", "1.0")) as index:
        settings = settings_for(index, tmp_path)
        cache = UrlCache(tmp_path / "urls.json")
        lock = resolve({request: "step"}, [AMD64, ARM64], settings=settings, cache=cache)
        path = tmp_path / "pylock.toml"
        path.write_text(export_pylock(lock, request, known_urls(lock, settings, cache)))
        target = tmp_path / "venv"
        venv.create(target)
        command = [uv.find_uv_bin(), "pip", "sync", "--python", str(target), str(path)]
        command += ["--python-platform", "x86_64-manylinux_2_36"]
        done = subprocess.run(
            command, env=dict(settings.environ), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    installed = {p.name for p in target.glob("lib/*/site-packages/*.dist-info")}
    assert installed == {f"{name}-1.0.dist-info" for name in ("one", "two", "old")}
