from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from mfbuild.bases.folder import load_base, read_image
from mfbuild.bases.lock import lock_images
from mfbuild.debian.model import FoundDebs, LockedDeb
from mfbuild.engine.model import Digest
from mfbuild.errors import ResolveError, UsageError
from mfbuild.oci.types import LAYER_GZIP, BaseLayer, Descriptor, ForeignBase, Platform

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
DEBIAN = """\
python = "3.12"
interpreter = "/usr/bin/python3.12"
glibc = "2.36"
env = { LANG = "C.UTF-8" }

[debian]
suites = ["bookworm"]
packages = ["tzdata", "libc6"]
"""
DATE = datetime(2026, 1, 10, 10, 41, 16, tzinfo=timezone.utc)
FOREIGN = f"""\
from = "registry.invalid/python@sha256:{"a" * 64}"
python = "3.12"
interpreter = "/usr/local/bin/python3.12"
glibc = "2.41"
user = "1000:1000"
"""


def image(workspace: Path, text: str, name: str = "mine") -> Path:
    folder = workspace / "images" / name
    folder.mkdir(parents=True)
    (folder / "image.toml").write_text(text)
    return folder


def latest(
    suites: Sequence[str], packages: Sequence[str], architectures: Sequence[str]
) -> FoundDebs:
    """Every package in one version, tzdata for all architectures."""
    debs = (
        LockedDeb(p, "1.0", a, "debian", f"pool/{p}_{a}.deb", 7, "b" * 64)
        for p in packages
        for a in (["all"] if p == "tzdata" else architectures)
    )
    return FoundDebs(tuple(debs), dict.fromkeys(suites, DATE))


LAYER = Descriptor(LAYER_GZIP, Digest("c" * 64), 11)
BASE = ForeignBase("registry.invalid/python", (BaseLayer(LAYER, Digest("d" * 64)),), ("A=1",))


def resolve(reference: str, platforms: Sequence[Platform]) -> Mapping[Platform, ForeignBase]:
    assert reference == f"registry.invalid/python@sha256:{'a' * 64}"
    return {p: replace(BASE, env=(*BASE.env, f"P={p}")) for p in platforms}


def lock(workspace: Path, name: str = "mine", *platforms: Platform) -> Path:
    wanted = platforms or (AMD64, ARM64)
    (path,) = lock_images([name], workspace, wanted, latest=latest, foreign=resolve)
    return path


def test_an_image_of_packages_is_locked_and_loaded(tmp_path: Path) -> None:
    folder = image(tmp_path, DEBIAN)
    assert lock(tmp_path) == folder / "image.lock"
    base = load_base("mine", tmp_path, (ARM64, AMD64))
    assert (base.name, base.python, base.interpreter) == ("mine", "3.12", "/usr/bin/python3.12")
    assert (base.glibc, base.user, base.env) == ("2.36", "65532:65532", {"LANG": "C.UTF-8"})
    found = {p: [(d.package, d.architecture) for d in debs] for p, debs in base.debs.items()}
    assert found == {
        ARM64: [("libc6", "arm64"), ("tzdata", "all")],
        AMD64: [("libc6", "amd64"), ("tzdata", "all")],
    }
    assert base.foreign == {}


def test_a_lock_has_a_line_for_each_package(tmp_path: Path) -> None:
    image(tmp_path, DEBIAN)
    assert lock(tmp_path, "mine", AMD64).read_text() == (
        '{\n "debian": [\n'
        '  {"architecture":"amd64","archive":"debian","package":"libc6",'
        f'"path":"pool/libc6_amd64.deb","sha256":"{"b" * 64}","size":7,"version":"1.0"}},\n'
        '  {"architecture":"all","archive":"debian","package":"tzdata",'
        f'"path":"pool/tzdata_all.deb","sha256":"{"b" * 64}","size":7,"version":"1.0"}}\n'
        " ],\n"
        ' "digest": "sha256:'
        'd0a7ad255175c5fdb4047145d5e1c92f89691d2e267b2ea4a866fcc2c86b9b0e",\n'
        ' "format": 1,\n'
        ' "releases": {"bookworm":"2026-01-10T10:41:16Z"}\n}\n'
    )


@pytest.mark.parametrize("format", ["with releases", "without releases"])
def test_a_lock_never_goes_back_to_an_older_release(tmp_path: Path, format: str) -> None:
    def older(
        suites: Sequence[str], packages: Sequence[str], architectures: Sequence[str]
    ) -> FoundDebs:
        found = latest(suites, packages, architectures)
        return replace(found, releases={"bookworm": DATE - timedelta(days=1)})

    image(tmp_path, DEBIAN)
    path = lock(tmp_path)
    if format == "without releases":  # as locks were written before
        content = json.loads(path.read_text())
        del content["releases"]
        path.write_text(json.dumps(content))
        assert load_base("mine", tmp_path, (AMD64,)).debs
        lock_images(["mine"], tmp_path, [AMD64], latest=older, foreign=resolve)
        return
    before = path.read_bytes()
    with pytest.raises(ResolveError) as raised:
        lock_images(["mine"], tmp_path, [AMD64, ARM64], latest=older, foreign=resolve)
    (problem,) = raised.value.problems
    assert problem.message == (
        "the Debian mirror has `bookworm` of 2026-01-09 10:41 UTC; "
        "the lock is of 2026-01-10 10:41 UTC"
    )
    assert "--allow-older" in (problem.hint or "")
    assert path.read_bytes() == before
    lock_images(["mine"], tmp_path, [AMD64, ARM64], latest=older, foreign=resolve, allow_older=True)
    assert path.read_bytes() == before.replace(b"2026-01-10T", b"2026-01-09T")


def test_no_lock_is_written_where_one_cannot_be_made(tmp_path: Path) -> None:
    def fails(
        suites: Sequence[str], packages: Sequence[str], architectures: Sequence[str]
    ) -> FoundDebs:
        if "tini" in packages:
            raise ResolveError("no package `tini`")
        return latest(suites, packages, architectures)

    image(tmp_path, DEBIAN, "first")
    image(tmp_path, DEBIAN.replace("tzdata", "tini"), "second")
    with pytest.raises(ResolveError, match="tini"):
        lock_images(["first", "second"], tmp_path, [AMD64], latest=fails, foreign=resolve)
    assert not list(tmp_path.rglob("image.lock"))


def test_an_image_by_digest_is_locked_and_loaded(tmp_path: Path) -> None:
    image(tmp_path, FOREIGN)
    lock(tmp_path)
    base = load_base("mine", tmp_path, (AMD64,))
    assert base.foreign == {AMD64: replace(BASE, env=("A=1", "P=linux/amd64"))}
    assert (base.debs, base.user) == ({}, "1000:1000")


def test_locking_again_changes_nothing(tmp_path: Path) -> None:
    for text, name in ((DEBIAN, "mine"), (FOREIGN, "other")):
        image(tmp_path, text, name)
        before = lock(tmp_path, name).read_bytes()
        assert lock(tmp_path, name, ARM64, AMD64).read_bytes() == before
        assert json.loads(before)["format"] == 1


def test_a_shipped_image_is_loaded_without_a_workspace_copy(tmp_path: Path) -> None:
    base = load_base("python3.11", tmp_path, (AMD64, ARM64))
    for platform in (AMD64, ARM64):
        assert {"libc6", "python3.11-minimal", "tini"} <= {d.package for d in base.debs[platform]}
    assert (base.python, base.interpreter) == ("3.11", "/usr/bin/python3.11")
    assert base.python_release == "3.11.2"


def test_a_shipped_image_is_copied_when_its_lock_is_renewed(tmp_path: Path) -> None:
    (path,) = lock_images(
        ["python3.11"], tmp_path, [AMD64], latest=latest, foreign=resolve, allow_older=True
    )
    assert path == tmp_path / "images/python3.11/image.lock"
    shipped = Path(__file__).parents[2] / "images/python3.11/image.toml"
    assert path.with_name("image.toml").read_bytes() == shipped.read_bytes()
    assert {d.version for d in load_base("python3.11", tmp_path, (AMD64,)).debs[AMD64]} == {"1.0"}
    assert sorted(p.name for p in path.parent.iterdir()) == ["image.lock", "image.toml"]


def test_the_glibc_of_a_shipped_image_is_that_of_its_lock(tmp_path: Path) -> None:
    base = load_base("python3.11", tmp_path, (AMD64, ARM64))
    for debs in base.debs.values():
        (libc,) = [d for d in debs if d.package == "libc6"]
        assert libc.version.startswith(f"{base.glibc}-")


def test_an_unknown_image_is_an_error_with_a_guess(tmp_path: Path) -> None:
    image(tmp_path, DEBIAN)
    with pytest.raises(UsageError) as raised:
        load_base("python3.1", tmp_path, (AMD64,))
    (problem,) = raised.value.problems
    assert problem.message == "there is no base image `python3.1`"
    assert problem.hint == "did you mean `python3.11`?"


@pytest.mark.parametrize("name", ["../mine", "/etc", "", "mine/../mine"])
def test_an_image_is_no_path(tmp_path: Path, name: str) -> None:
    image(tmp_path, DEBIAN)
    with pytest.raises(UsageError, match="there is no base image"):
        load_base(name, tmp_path, (AMD64,))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (None, "does not exist"),
        ({"digest": f"sha256:{'0' * 64}"}, "is stale"),
        ({"debian": []}, "does not cover `linux/amd64`, `linux/arm64`"),
        ({"format": 2}, "cannot be read: ValueError('`2` is not a known format')"),
        ({"debian": [{"package": "x"}]}, "cannot be read: TypeError("),
        ({"oci": 7}, "cannot be read: Malformed("),
        ({"releases": {"bookworm": "today"}}, "cannot be read: ValueError("),
    ],
)
def test_a_lock_that_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, Any] | None, reason: str
) -> None:
    image(tmp_path, DEBIAN)
    path = lock(tmp_path)
    if change is None:
        path.unlink()
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ResolveError) as raised:
        load_base("mine", tmp_path, (AMD64, ARM64))
    (problem,) = raised.value.problems
    assert problem.message.startswith(f"the lock of the base image `mine` {reason}")
    assert (problem.where, problem.hint) == (str(path), "run `mfbuild lock --images`")


@pytest.mark.parametrize(
    "change",
    [{"path": "../../etc/passwd"}, {"archive": "evil"}, {"sha256": "short"}, {"size": "7"}],
)
def test_a_lock_cannot_name_what_no_mirror_has(tmp_path: Path, change: dict[str, str]) -> None:
    image(tmp_path, DEBIAN)
    path = lock(tmp_path)
    content = json.loads(path.read_text())
    content["debian"][0] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(ResolveError, match="cannot be read: ValueError"):
        load_base("mine", tmp_path, (AMD64,))


def test_another_package_makes_the_lock_stale(tmp_path: Path) -> None:
    folder = image(tmp_path, DEBIAN)
    lock(tmp_path)
    toml = (folder / "image.toml").read_text()
    (folder / "image.toml").write_text(toml.replace('"tzdata", "libc6"', '"libc6", "tzdata"'))
    load_base("mine", tmp_path, (AMD64,))
    (folder / "image.toml").write_text(toml.replace('"libc6"', '"libc6", "tini"'))
    with pytest.raises(ResolveError, match="is stale"):
        load_base("mine", tmp_path, (AMD64,))


def test_a_platform_that_debian_does_not_have_is_refused(tmp_path: Path) -> None:
    image(tmp_path, DEBIAN)
    with pytest.raises(UsageError, match="Debian packages for `windows/amd64` is not supported"):
        lock(tmp_path, "mine", Platform("windows", "amd64"))


def test_everything_wrong_with_an_image_is_said_at_once(tmp_path: Path) -> None:
    text = DEBIAN.replace('python = "3.12"', "pyton = 3.12\nuser = 'root'")
    text = text.replace('glibc = "2.36"', "glibc = 2.36").replace("suites", "suite")
    folder = image(tmp_path, text)
    with pytest.raises(UsageError) as raised:
        read_image(folder / "image.toml")
    assert [(p.message, p.hint) for p in raised.value.problems] == [
        ("unknown key `pyton`", "did you mean `python`?"),
        ("unknown key `debian.suite`", "did you mean `suites`?"),
        ("`python` is missing", None),
        ("`debian.suites` is missing", None),
        ('`user` must be `uid:gid` in numbers, not `"root"`', None),
        ("`glibc` must be a version like `2.36`, not `2.36`", None),
    ]
    assert {p.where for p in raised.value.problems} == {str(folder / "image.toml")}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[debian]", "x = [", "reading `image.toml`: "),
        ("[debian]", "debian = 1\n[other]", "`debian` must be a table"),
        ('["tzdata", "libc6"]', '["../x"]', "`packages` must be a list of package names"),
        ('["tzdata", "libc6"]', '"libc6"', "`packages` must be a list of package names"),
        ('{ LANG = "C.UTF-8" }', "{ LANG = 1 }", "`env` must be a table of strings"),
        ("python =", 'from = "x:latest"\npython =', "an image needs either `from` or `[debian]`"),
    ],
)
def test_a_wrong_image_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    folder = image(tmp_path, DEBIAN.replace(old, new))
    with pytest.raises(UsageError) as raised:
        read_image(folder / "image.toml")
    assert str(raised.value).startswith(message)


def test_an_image_by_tag_is_refused(tmp_path: Path) -> None:
    folder = image(tmp_path, FOREIGN.replace(f"@sha256:{'a' * 64}", ":3.12"))
    with pytest.raises(UsageError, match="`from` must be an image by digest"):
        read_image(folder / "image.toml")
