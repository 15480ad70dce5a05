from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mfbuild.bases.lock import lock_images
from mfbuild.debian.apt import Mirror, Mirrors
from mfbuild.debian.index import latest
from mfbuild.debian.model import LockedDeb
from mfbuild.errors import FetchError, ResolveError
from mfbuild.http.client import HttpClient
from mfbuild.http.trust import Trust
from mfbuild.oci.types import Platform
from tests.debs import MirrorServer, Package, deb, serve
from tests.gpg import Gpg, gnupg

OLD = deb("libc6", version="2.36-9")
NEW = deb("libc6", version="2.36-10")
ARM = deb("libc6", version="2.36-9", architecture="arm64")
DATA = deb("tzdata", version="2026a", architecture="all")
IMAGE = """\
python = "3.11"
interpreter = "/usr/bin/python3.11"
glibc = "2.36"

[debian]
suites = ["bookworm"]
packages = ["libc6"]
"""


@pytest.fixture
def server() -> Iterator[MirrorServer]:
    with serve() as server:
        yield server


class Archive:
    """Signs suites with the key that is in `keyring`."""

    def __init__(self, gpg: Gpg) -> None:
        self.gpg, self.keyring = gpg, gpg.home / "archive.gpg"
        gpg.key("archive@mirror.invalid")
        self.keyring.write_bytes(gpg("--export"))

    def sign(self, server: MirrorServer, suite: str = "bookworm") -> None:
        archive = "debian-security" if suite.endswith("-security") else "debian"
        path = f"{archive}/dists/{suite}/InRelease"
        server.files[path] = self.gpg.sign(server.files[path], "archive@mirror.invalid")

    def mirrors(self, server: MirrorServer) -> Mirrors:
        return {
            name: Mirror(f"{server.url}/{name}", (self.keyring,))
            for name in ("debian", "debian-security")
        }


@pytest.fixture(scope="module")
def archive() -> Iterator[Archive]:
    with gnupg() as gpg:
        yield Archive(gpg)


def http() -> HttpClient:
    return HttpClient(Trust(os.environ))


def find(
    server: MirrorServer,
    archive: Archive,
    *packages: str,
    suites: tuple[str, ...] = ("bookworm",),
    architectures: tuple[str, ...] = ("amd64",),
) -> tuple[LockedDeb, ...]:
    known = {
        a: Mirror(f"{server.url}/{a}", (archive.keyring,)) for a in ("debian", "debian-security")
    }
    return latest(http(), known, suites, packages, architectures).debs


def locked(package: Package, archive: str = "debian") -> LockedDeb:
    return LockedDeb(
        package=package.name,
        version=package.version,
        architecture=package.architecture,
        archive=archive,
        path=package.path,
        size=len(package.data),
        sha256=dict(line.split(": ") for line in package.stanza.splitlines())["SHA256"],
    )


def test_the_newest_version_over_the_suites_is_found(
    server: MirrorServer, archive: Archive
) -> None:
    server.publish("bookworm", OLD, ARM, DATA, architectures=("amd64", "arm64"))
    server.publish("bookworm-security", NEW, architectures=("amd64", "arm64"))
    archive.sign(server)
    archive.sign(server, "bookworm-security")
    suites, architectures = ("bookworm", "bookworm-security"), ("amd64", "arm64")
    found = find(server, archive, "tzdata", "libc6", suites=suites, architectures=architectures)
    assert found == (locked(NEW, "debian-security"), locked(ARM), locked(DATA))


def test_all_missing_packages_are_named_at_once(server: MirrorServer, archive: Archive) -> None:
    server.publish("bookworm", OLD, ARM, architectures=("amd64", "arm64"))
    archive.sign(server)
    with pytest.raises(ResolveError) as raised:
        find(server, archive, "libc6", "nope", "tini", architectures=("amd64", "arm64"))
    assert [problem.message for problem in raised.value.problems] == [
        "no package `nope` for amd64 in bookworm",
        "no package `nope` for arm64 in bookworm",
        "no package `tini` for amd64 in bookworm",
        "no package `tini` for arm64 in bookworm",
    ]


def test_a_suite_without_the_architecture_is_refused(
    server: MirrorServer, archive: Archive
) -> None:
    server.publish("bookworm", OLD)
    archive.sign(server)
    with pytest.raises(ResolveError, match="the suite `bookworm` has no packages for riscv64"):
        find(server, archive, "libc6", architectures=("riscv64",))


def test_an_unknown_suite_is_an_error(server: MirrorServer, archive: Archive) -> None:
    for suite in ("bookwyrm", "bookwyrm-security"):
        with pytest.raises(FetchError) as raised:
            find(server, archive, "libc6", suites=(suite,))
        assert str(raised.value) == f"the Debian mirror has no suite `{suite}`"
    hint = "the security archive has a setting of its own, `MFBUILD_DEBIAN_SECURITY_MIRROR`"
    assert raised.value.problems[0].hint == hint


def test_a_lock_of_images_never_goes_back(
    server: MirrorServer, archive: Archive, tmp_path: Path
) -> None:
    """A mirror that serves yesterday's release, validly signed, would bring its bugs back."""
    folder = tmp_path / "images/mine"
    folder.mkdir(parents=True)
    (folder / "image.toml").write_text(IMAGE)

    def lock(package: Package, date: str, *, allow_older: bool = False) -> str:
        server.publish("bookworm", package, fields={"Date": date})
        archive.sign(server)
        newest = partial(latest, http(), archive.mirrors(server))
        (path,) = lock_images(
            ["mine"],
            tmp_path,
            [Platform("linux", "amd64")],
            latest=newest,
            foreign=lambda reference, platforms: {},
            allow_older=allow_older,
        )
        return path.read_text()

    old, new = "Sat, 10 Jan 2026 10:41:16 UTC", "Sat, 10 Jan 2026 20:41:16 +0300"
    assert '"releases": {"bookworm":"2026-01-10T17:41:16Z"}' in lock(NEW, new)
    with pytest.raises(ResolveError, match="the Debian mirror has `bookworm` of 2026-01-10 10:41"):
        lock(OLD, old)
    assert NEW.version in (folder / "image.lock").read_text()
    assert OLD.version in lock(OLD, old, allow_older=True)
    assert OLD.version in lock(OLD, old)


def test_an_index_must_be_the_one_that_was_signed(server: MirrorServer, archive: Archive) -> None:
    server.publish("bookworm", OLD)
    archive.sign(server)
    (path,) = [p for p in server.files if "by-hash" in p]
    server.files[path] = bytes(len(server.files[path]))
    with pytest.raises(FetchError) as raised:
        find(server, archive, "libc6")
    assert str(raised.value) == (
        "`main/binary-amd64/Packages.xz` of `bookworm` is not what its signed index promises"
    )


def test_a_mirror_without_by_hash_is_read(server: MirrorServer, archive: Archive) -> None:
    server.publish("bookworm", OLD, fields={"Acquire-By-Hash": ""})
    archive.sign(server)
    (path,) = [p for p in server.files if "by-hash" in p]
    server.files[f"{path.partition('/by-hash')[0]}/Packages.xz"] = server.files.pop(path)
    assert find(server, archive, "libc6") == (locked(OLD),)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SHA256: ", "SHA512: "),
        ("SHA256: ", "SHA256: x"),
        ("Size: ", "Size: x"),
        ("Version: ", "Version: x:"),
        ("Filename: ", "Filename: ../"),
        ("Filename: ", "Filename: /"),
        ("Architecture: amd64", "Architecture: arm64"),
        ("Package: libc6", "Package: libc6" + "\nDescription: long" + "\n more" * (1 << 20)),
    ],
)
def test_a_damaged_index_is_refused(
    server: MirrorServer, archive: Archive, old: str, new: str
) -> None:
    class Damaged(Package):
        @property
        def stanza(self) -> str:
            return super().stanza.replace(old, new)

    server.publish("bookworm", Damaged(OLD.name, OLD.version, OLD.architecture, OLD.data))
    archive.sign(server)
    with pytest.raises(FetchError, match="the index of `bookworm` is damaged"):
        find(server, archive, "libc6")


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
def test_https_stands_in_for_a_signature(
    server: MirrorServer, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish("bookworm", OLD)
    archive.sign(server)
    certificate = tmp_path / "cert.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(certificate)]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, tmp_path / "key.pem")
    monkeypatch.setenv("PATH", "/nonexistent")
    with serve(context) as secure:
        secure.files = server.files
        known = {"debian": Mirror(f"{secure.url}/debian")}
        with pytest.raises(FetchError, match="the Debian mirror shows a TLS certificate that"):
            latest(http(), known, ("bookworm",), ("libc6",), ("amd64",))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert latest(http(), known, ("bookworm",), ("libc6",), ("amd64",)).debs == (locked(OLD),)
        secure.redirect = server.url
        with pytest.raises(FetchError, match="redirects to an address that is not https"):
            latest(http(), known, ("bookworm",), ("libc6",), ("amd64",))


STANZA = st.dictionaries(
    st.sampled_from(["Package", "Version", "Architecture", "Filename", "Size", "SHA256", "Other"]),
    st.sampled_from(
        ["libc6", "amd64", "1.0", "7", "a" * 64, "pool/x.deb", "../x", "", "-1", "9" * 5000]
    )
    | st.text(),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(STANZA, min_size=1, max_size=3))
def test_any_index_is_read_or_refused(
    server: MirrorServer, archive: Archive, stanzas: list[dict[str, str]]
) -> None:
    text = "\n".join("".join(f"{k}: {v}\n" for k, v in fields.items()) for fields in stanzas)

    class Odd(Package):
        @property
        def stanza(self) -> str:
            return text.encode("utf-8", "replace").decode()

    server.publish("bookworm", Odd(OLD.name, OLD.version, OLD.architecture, OLD.data))
    archive.sign(server)
    try:
        found = find(server, archive, "libc6")
    except (FetchError, ResolveError):
        return
    assert [(d.package, d.size >= 0, ".." in d.path.split("/")) for d in found] == [
        ("libc6", True, False)
    ]
