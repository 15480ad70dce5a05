from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest

from mfbuild.errors import ActionError, FetchError
from tests.debs import Item, Package, deb, directory, hardlink, merge, symlink

LIBC = deb(
    "libc6",
    directory("./"),
    directory("./lib"),
    directory("./lib/x86_64-linux-gnu"),
    Item("./lib/x86_64-linux-gnu/libc.so.6", b"\x7fELF" + bytes(3000), 0o755),
    directory("./lib64"),
    symlink("./lib64/ld.so", target="/lib/x86_64-linux-gnu/ld.so"),
    directory("./usr"),
    directory("./usr/share/libc-bin"),
    Item("./usr/share/libc-bin/nsswitch.conf", b"hosts: files dns\n"),
    version="2.36-9",
)
TOOL = deb(
    "tool",
    directory("./usr"),
    directory("./usr/bin"),
    Item("./usr/bin/tool", b"#!tool\n", 0o6755),
    hardlink("./usr/bin/same", target="./usr/bin/tool"),
    directory("./var/local", mode=0o2775),
    directory("./var/tmp", mode=0o1777),
    directory("./usr/share/doc/tool"),
    Item("./usr/share/doc/tool/copyright", b"free\n"),
    Item("./usr/share/doc/tool/README", b"long\n"),
    Item("./usr/share/man/man1/tool.1.gz", b"man"),
    directory("./usr/share/locale"),
    Item("./usr/share/locale/de/tool.mo", b"de"),
    Item("./usr/lib/tool/__pycache__/x.pyc", b"pyc"),
    directory("./var/cache"),
    Item("./var/cache/tool/x", b"x"),
    symlink("./usr/share/doc/libtool", target="tool"),
    architecture="all",
    suffix=".gz",
)
CERTIFICATES = deb(
    "ca-certificates",
    Item("./usr/share/ca-certificates/mozilla/B.crt", b"b\n"),
    Item("./usr/share/ca-certificates/mozilla/A.crt", b"a"),
)
GOLDEN = "1d8b3b9647e1f1fe33c514bd7574dd99041ae24e11ea8e16011b648abcd56dae"
GOLDEN_DIFF_ID = "ef6a0c02a545458f49211d09032f5a2d374454ff5a9900782fc1a2832673cd19"


def complaints(folder: Path, *packages: Package) -> list[str]:
    with pytest.raises(ActionError) as raised:
        merge(folder, *packages)
    return [problem.message for problem in raised.value.problems]


def test_packages_become_one_layer(tmp_path: Path) -> None:
    merged = merge(tmp_path, TOOL, LIBC, CERTIFICATES)
    kinds = {
        path: info.linkname or ("/" if info.isdir() else info.size)
        for path, info in merged.entries.items()
    }
    assert kinds == {
        "etc": "/",
        "etc/group": 44,
        "etc/nsswitch.conf": 17,
        "etc/passwd": 149,
        "etc/ssl": "/",
        "etc/ssl/certs": "/",
        "etc/ssl/certs/ca-certificates.crt": 4,
        "bin": "usr/bin",
        "home": "/",
        "home/nonroot": "/",
        "lib": "usr/lib",
        "lib64": "usr/lib64",
        "tmp": "/",
        "usr": "/",
        "usr/bin": "/",
        "usr/bin/same": 7,
        "usr/bin/tool": 7,
        "usr/lib": "/",
        "usr/lib/ssl": "/",
        "usr/lib/ssl/cert.pem": "/etc/ssl/certs/ca-certificates.crt",
        "usr/lib/ssl/certs": "/etc/ssl/certs",
        "usr/lib/x86_64-linux-gnu": "/",
        "usr/lib/x86_64-linux-gnu/libc.so.6": 3004,
        "usr/lib64": "/",
        "usr/lib64/ld.so": "/lib/x86_64-linux-gnu/ld.so",
        "usr/share": "/",
        "usr/share/ca-certificates": "/",
        "usr/share/ca-certificates/mozilla": "/",
        "usr/share/ca-certificates/mozilla/A.crt": 1,
        "usr/share/ca-certificates/mozilla/B.crt": 2,
        "usr/share/doc": "/",
        "usr/share/doc/libtool": "tool",
        "usr/share/doc/tool": "/",
        "usr/share/doc/tool/copyright": 5,
        "usr/share/libc-bin": "/",
        "usr/share/libc-bin/nsswitch.conf": 17,
        "var": "/",
        "var/cache": "/",
        "var/lib": "/",
        "var/lib/dpkg": "/",
        "var/lib/dpkg/status.d": "/",
        "var/lib/dpkg/status.d/ca-certificates": 58,
        "var/lib/dpkg/status.d/libc6": 51,
        "var/lib/dpkg/status.d/tool": 45,
        "var/local": "/",
        "var/tmp": "/",
    }
    assert merged.info["comment"] == "3 Debian packages for amd64"
    assert merged.read("etc/ssl/certs/ca-certificates.crt") == b"a\nb\n"
    assert merged.read("var/lib/dpkg/status.d/libc6").startswith(b"Package: libc6\nVersion: 2.36-9")


def test_the_layer_has_golden_digests(tmp_path: Path) -> None:
    merged = merge(tmp_path, TOOL, LIBC, CERTIFICATES)
    assert merged.info["diff_id"] == f"sha256:{sha256(merged.layer).hexdigest()}"
    assert merged.info["diff_id"] == f"sha256:{GOLDEN_DIFF_ID}"
    assert sha256(merged.gzipped).hexdigest() == GOLDEN


def test_the_layer_does_not_depend_on_its_surroundings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = merge(tmp_path / "one", TOOL, LIBC)
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    before = os.umask(0o077)
    try:
        other = merge(tmp_path / "a/folder/elsewhere", TOOL, LIBC)
    finally:
        os.umask(before)
    assert (one.info, one.gzipped, one.paths) == (other.info, other.gzipped, other.paths)


def test_everything_is_roots_and_nothing_has_a_set_id_bit(tmp_path: Path) -> None:
    entries = merge(tmp_path, TOOL, LIBC).entries
    owners = {path: (info.uid, info.gid) for path, info in entries.items()}
    assert owners.pop("home/nonroot") == (65532, 65532)
    assert set(owners.values()) == {(0, 0)}
    assert {info.mtime for info in entries.values()} == {0}
    modes = {path: info.mode for path, info in entries.items()}
    assert [p for p, mode in modes.items() if mode & 0o6000] == []
    assert modes["usr/bin/tool"] == 0o755
    assert modes["var/local"] == 0o775
    assert modes["var/tmp"] == modes["tmp"] == 0o1777


def test_the_paths_name_the_packages(tmp_path: Path) -> None:
    lines = merge(tmp_path, TOOL, LIBC).paths.splitlines()
    owners = {path: owner for path, _, _, owner in (line.split("\t") for line in lines)}
    assert owners["usr/bin/tool"] == owners["var/lib/dpkg/status.d/tool"] == "tool"
    assert owners["usr/lib/x86_64-linux-gnu/libc.so.6"] == "libc6"
    assert owners["etc/passwd"] == ""
    assert list(owners) == sorted(owners, key=str.encode)


@pytest.mark.parametrize(
    ("user", "passwd", "group"),
    [
        ("1000:100", "nonroot:x:1000:100:nonroot:/home/nonroot:/sbin/nologin", "nonroot:x:100:"),
        ("0:0", "nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin", "nogroup:x:65534:"),
    ],
)
def test_the_user_has_an_account(tmp_path: Path, user: str, passwd: str, group: str) -> None:
    merged = merge(tmp_path, LIBC, user=user)
    assert merged.read("etc/passwd").decode().splitlines()[-1] == passwd
    assert merged.read("etc/group").decode().splitlines()[-1] == group
    assert ("home/nonroot" in merged.entries) == (user != "0:0")


def test_what_a_package_brings_is_not_generated(tmp_path: Path) -> None:
    own = deb("base-passwd", Item("./etc/passwd", b"own\n", 0o600))
    assert merge(tmp_path, own, LIBC).read("etc/passwd") == b"own\n"


def test_packages_may_share_what_they_agree_on(tmp_path: Path) -> None:
    items = (directory("./etc"), Item("./etc/same", b"x" * 9), symlink("./etc/link", target="same"))
    merged = merge(tmp_path, deb("one", *items), deb("two", *items))
    assert merged.read("etc/same") == b"x" * 9


def test_all_disagreements_are_named(tmp_path: Path) -> None:
    one = deb(
        "one",
        Item("./etc/content", b"1"),
        Item("./etc/mode", mode=0o600),
        symlink("./etc/link", target="a"),
        Item("./etc/kind"),
        directory("./srv", mode=0o700),
        Item("./lib/merged", b"1"),
    )
    two = deb(
        "two",
        Item("./etc/content", b"2"),
        Item("./etc/mode", mode=0o644),
        symlink("./etc/link", target="b"),
        directory("./etc/kind"),
        directory("./srv", mode=0o755),
        Item("./usr/lib/merged", b"2"),
    )
    assert complaints(tmp_path, one, two) == [
        f"the packages `one` and `two` disagree on `/{path}`"
        for path in ("etc/content", "etc/mode", "etc/link", "etc/kind", "srv", "usr/lib/merged")
    ]


def test_a_file_below_a_link_is_refused(tmp_path: Path) -> None:
    one = deb("one", symlink("./srv/data", target="/etc"))
    two = deb("two", Item("./srv/data/deep/passwd", b"evil"))
    assert complaints(tmp_path, one, two) == [
        "`/srv/data/deep/passwd` of `two` is below the symlink `/srv/data` of `one`"
    ]


def test_a_hard_link_is_to_a_file_of_its_own_package(tmp_path: Path) -> None:
    one = deb("one", Item("./etc/secret"))
    two = deb("two", hardlink("./etc/copy", target="./etc/secret"))
    assert complaints(tmp_path, one, two) == [
        "`/etc/copy` of `two` is a hard link to `/etc/secret`, not a file of it"
    ]


def test_a_package_is_merged_once(tmp_path: Path) -> None:
    text = "`1_tool_2.0_all.deb` is a second package `tool`"
    assert complaints(tmp_path, TOOL, deb("tool", version="2.0", architecture="all")) == [text]


def test_a_package_of_another_architecture_is_refused(tmp_path: Path) -> None:
    other = deb("tool", architecture="arm64")
    text = "the package `0_tool_1.0_arm64.deb` is not for amd64"
    assert complaints(tmp_path / "a", other) == [text]
    assert "bin" not in merge(tmp_path / "b", other, architecture="arm64").entries


def test_a_package_needs_a_name(tmp_path: Path) -> None:
    text = "the package `0_.._1.0_amd64.deb` has no valid name"
    assert complaints(tmp_path, deb("..")) == [text]


def test_a_damaged_package_leaves_no_layer(tmp_path: Path) -> None:
    cut = Package("tool", "1.0", "all", TOOL.data[:-100])
    with pytest.raises(FetchError, match=r"the package `0_tool_1\.0_all\.deb` cannot be used"):
        merge(tmp_path, cut)
    assert not (tmp_path / "layer").exists()
