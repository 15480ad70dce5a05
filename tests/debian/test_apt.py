from __future__ import annotations

from pathlib import Path

import pytest

from mfbuild.debian.apt import Mirror, mirrors
from mfbuild.errors import UsageError

RING = "usr/share/keyrings/debian-archive-keyring.gpg"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc/apt/sources.list.d").mkdir(parents=True)
    (tmp_path / RING).parent.mkdir(parents=True)
    (tmp_path / RING).write_bytes(b"keys")
    return tmp_path


def source(root: Path, name: str, text: str) -> None:
    (root / "etc/apt" / name).write_text(text)


def test_one_line_sources_are_read(root: Path) -> None:
    source(
        root,
        "sources.list",
        "# deb http://comment.invalid/debian bookworm main\n"
        "deb-src http://source.invalid/debian bookworm main\n"
        "deb [ arch=amd64,arm64 ] http://mirror.invalid/debian/ bookworm main contrib # why\n"
        "deb http://security.invalid/debian-security bookworm-security main\n",
    )
    keyrings = (root / RING,)
    assert mirrors({}, root) == {
        "debian": Mirror("http://mirror.invalid/debian", keyrings),
        "debian-security": Mirror("http://security.invalid/debian-security", keyrings),
    }


def test_deb822_sources_are_read(root: Path) -> None:
    source(
        root,
        "sources.list.d/debian.sources",
        "Types: deb\nURIs: http://off.invalid/debian\nSuites: bookworm\nComponents: main\n"
        "Enabled: no\n\n"
        "Types: deb deb-src\n# a comment\nURIs:\n http://mirror.invalid/debian\n"
        " http://other.invalid/debian\nSuites: bookworm\n bookworm-updates\nComponents: main\n"
        f"Signed-By: /{RING}\n",
    )
    assert mirrors({}, root)["debian"] == Mirror("http://mirror.invalid/debian", (root / RING,))


def test_the_security_archive_is_a_sibling_where_none_is_named(root: Path) -> None:
    source(root, "sources.list", "deb http://mirror.invalid/pub/debian bookworm main")
    assert mirrors({}, root)["debian-security"].url == "http://mirror.invalid/pub/debian-security"


@pytest.mark.parametrize(
    "line",
    [
        "deb https://vendor.invalid/linux/debian bookworm main",
        "deb https://vendor.invalid/debian bookworm stable",
        "deb file:/srv/debian bookworm main",
        "deb http://[/debian bookworm main",
        "deb cdrom:[Debian 12]/debian bookworm main",
    ],
)
def test_other_vendors_and_media_are_passed_over(root: Path, line: str) -> None:
    source(root, "sources.list.d/a.list", line)
    source(root, "sources.list.d/b.list", "deb http://mirror.invalid/debian bookworm main")
    assert mirrors({}, root)["debian"].url == "http://mirror.invalid/debian"


def test_lists_of_mirrors_are_followed(root: Path) -> None:
    (root / "etc/apt/mirrors").mkdir()
    source(root, "mirrors/debian.list", "# mine\nhttps://mirror.invalid/debian\tpriority:1\n")
    line = "deb mirror+file:/etc/apt/mirrors/debian.list bookworm main"
    source(root, "sources.list", line)
    assert mirrors({}, root)["debian"].url == "https://mirror.invalid/debian"


def test_signed_by_limits_the_keyrings(root: Path) -> None:
    (root / "etc/own.gpg").write_bytes(b"key")
    uri = "http://mirror.invalid/debian bookworm main"
    source(root, "sources.list", f"deb [signed-by=/etc/own.gpg,/etc/gone.gpg] {uri}")
    assert mirrors({}, root)["debian"].keyrings == (root / "etc/own.gpg",)
    source(root, "sources.list", f"deb [signed-by=0123456789ABCDEF] {uri}")
    assert mirrors({}, root)["debian"].keyrings == ()


def test_apts_trusted_keys_are_used_without_signed_by(root: Path) -> None:
    (root / "etc/apt/trusted.gpg.d").mkdir()
    source(root, "trusted.gpg.d/corporate.asc", "key")
    source(root, "sources.list", "deb http://mirror.invalid/debian bookworm main")
    expected = (root / "etc/apt/trusted.gpg.d/corporate.asc", root / RING)
    assert mirrors({}, root)["debian"].keyrings == expected


def test_settings_win_over_apt(root: Path) -> None:
    source(
        root,
        "sources.list",
        "deb http://apt.invalid/debian bookworm main\n"
        "deb http://apt.invalid/debian-security bookworm-security main\n",
    )
    env = {"MFBUILD_DEBIAN_MIRROR": "https://set.invalid/debian/"}
    assert {k: m.url for k, m in mirrors(env, root).items()} == {
        "debian": "https://set.invalid/debian",
        "debian-security": "https://set.invalid/debian-security",
    }
    env = {"MFBUILD_DEBIAN_SECURITY_MIRROR": "https://set.invalid/sec"}
    assert {k: m.url for k, m in mirrors(env, root).items()} == {
        "debian": "http://apt.invalid/debian",
        "debian-security": "https://set.invalid/sec",
    }


def test_without_apt_the_error_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        mirrors({}, tmp_path)
    (problem,) = raised.value.problems
    assert problem.message == "no Debian mirror is known: apt is not configured for one here"
    assert problem.hint == (
        "set `MFBUILD_DEBIAN_MIRROR` to the URL of a Debian mirror (`https://<host>/debian`)"
    )


@pytest.mark.parametrize(
    "url", ["mirror.invalid/debian", "ftp://user:secret@host/debian", "http://["]
)
def test_a_setting_must_be_a_web_address_and_is_not_shown(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError) as raised:
        mirrors({"MFBUILD_DEBIAN_MIRROR": url}, tmp_path)
    assert str(raised.value) == "`MFBUILD_DEBIAN_MIRROR` is not an http or https URL"


def test_a_mirror_does_not_show_its_address() -> None:
    assert "secret" not in repr(Mirror("https://user:secret@mirror.invalid/debian"))


TIME = "20260110T104116Z"


def test_a_snapshot_is_known_by_its_url(root: Path) -> None:
    url = f"http://snapshot.invalid/archive/debian/{TIME}"
    security = f"http://snapshot.invalid/archive/debian-security/{TIME}"
    expected = {
        "debian": Mirror(url, (root / RING,), snapshot=True),
        "debian-security": Mirror(security, (root / RING,), snapshot=True),
    }
    assert mirrors({"MFBUILD_DEBIAN_MIRROR": f"{url}/"}, root) == expected
    source(root, "sources.list", f"deb {url}/ bookworm main")
    assert mirrors({}, root) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.list", "deb [ check-valid-until=no ] http://mirror.invalid/debian bookworm main"),
        (
            "a.sources",
            "Types: deb\nURIs: http://mirror.invalid/debian\nSuites: bookworm\n"
            "Components: main\nCheck-Valid-Until: no\n",
        ),
    ],
)
def test_apt_may_be_told_that_an_index_does_not_expire(root: Path, name: str, text: str) -> None:
    source(root, f"sources.list.d/{name}", text)
    assert mirrors({}, root)["debian"].snapshot
    source(root, f"sources.list.d/{name}", text.replace("=no", "=yes").replace("l: no", "l: yes"))
    assert not mirrors({}, root)["debian"].snapshot
