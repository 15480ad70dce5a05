from __future__ import annotations

import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mfbuild.debian.apt import Mirror
from mfbuild.debian.index import latest
from mfbuild.debian.model import LockedDeb
from mfbuild.errors import FetchError, ResolveError
from tests.debs import MirrorServer, Package, deb, serve

OLD = deb("libc6", version="2.36-9")
NEW = deb("libc6", version="2.36-10")
ARM = deb("libc6", version="2.36-9", architecture="arm64")
DATA = deb("tzdata", version="2026a", architecture="all")
RELEASE = "debian/dists/bookworm/InRelease"

# Accepts what stands between the lines that a signed message begins and ends with, if its
# signature is `good`; anything but the expected command line is an error.
GPGV = """
import sys
from pathlib import Path
home, fd, output, *rings, signed = sys.argv[1:]
assert home.startswith("--homedir=/") and Path(home[10:]).is_dir(), home
assert fd == "--status-fd=1" and output.startswith("--output=/"), (fd, output)
keys = [Path(ring.removeprefix("--keyring=")).read_bytes() for ring in rings]
assert keys == [b"key"], keys
text = Path(signed).read_text()
head, _, rest = text.partition("\\n\\n")
body, _, signature = rest.partition("-----BEGIN PGP SIGNATURE-----\\n")
assert head.startswith("-----BEGIN PGP SIGNED MESSAGE-----"), head
Path(output[9:]).write_text(body)
for word in signature.split():
    print("[GNUPG:]", word, "0123456789ABCDEF")
sys.exit(0 if signature.strip() == "VALIDSIG" else 2)
"""


@pytest.fixture
def server() -> Iterator[MirrorServer]:
    with serve() as server:
        yield server


@pytest.fixture
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A keyring for the fake gpgv, which is then the only program on PATH."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/gpgv").write_text(f"#!{sys.executable} -I\n{GPGV}")
    (tmp_path / "bin/gpgv").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "key.gpg").write_bytes(b"key")
    return tmp_path / "key.gpg"


def sign(server: MirrorServer, suite: str = "bookworm", signature: str = "VALIDSIG") -> None:
    archive = "debian-security" if suite.endswith("-security") else "debian"
    path = f"{archive}/dists/{suite}/InRelease"
    server.files[path] = (
        b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n"
        + server.files[path]
        + f"-----BEGIN PGP SIGNATURE-----\n{signature}\n".encode()
    )


def find(
    server: MirrorServer,
    keyring: Path,
    *packages: str,
    suites: tuple[str, ...] = ("bookworm",),
    architectures: tuple[str, ...] = ("amd64",),
) -> tuple[LockedDeb, ...]:
    known = {a: Mirror(f"{server.url}/{a}", (keyring,)) for a in ("debian", "debian-security")}
    return latest(known, suites, packages, architectures)


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


def test_the_newest_version_over_the_suites_is_found(server: MirrorServer, keyring: Path) -> None:
    server.publish("bookworm", OLD, ARM, DATA, architectures=("amd64", "arm64"))
    server.publish("bookworm-security", NEW, architectures=("amd64", "arm64"))
    sign(server)
    sign(server, "bookworm-security")
    suites, architectures = ("bookworm", "bookworm-security"), ("amd64", "arm64")
    found = find(server, keyring, "tzdata", "libc6", suites=suites, architectures=architectures)
    assert found == (locked(NEW, "debian-security"), locked(ARM), locked(DATA))


def test_all_missing_packages_are_named_at_once(server: MirrorServer, keyring: Path) -> None:
    server.publish("bookworm", OLD, ARM, architectures=("amd64", "arm64"))
    sign(server)
    with pytest.raises(ResolveError) as raised:
        find(server, keyring, "libc6", "nope", "tini", architectures=("amd64", "arm64"))
    assert [problem.message for problem in raised.value.problems] == [
        "no package `nope` for amd64 in bookworm",
        "no package `nope` for arm64 in bookworm",
        "no package `tini` for amd64 in bookworm",
        "no package `tini` for arm64 in bookworm",
    ]


def test_a_suite_without_the_architecture_is_an_error(server: MirrorServer, keyring: Path) -> None:
    server.publish("bookworm", OLD)
    sign(server)
    with pytest.raises(ResolveError, match="the suite `bookworm` has no packages for riscv64"):
        find(server, keyring, "libc6", architectures=("riscv64",))


def test_an_unknown_suite_is_an_error(server: MirrorServer, keyring: Path) -> None:
    for suite in ("bookwyrm", "bookwyrm-security"):
        with pytest.raises(FetchError) as raised:
            find(server, keyring, "libc6", suites=(suite,))
        assert str(raised.value) == f"the Debian mirror has no suite `{suite}`"
    hint = "the security archive has a setting of its own, `MFBUILD_DEBIAN_SECURITY_MIRROR`"
    assert raised.value.problems[0].hint == hint


@pytest.mark.parametrize("signature", ["BADSIG", "NO_PUBKEY", "VALIDSIG BADSIG", ""])
def test_a_bad_signature_is_refused(server: MirrorServer, keyring: Path, signature: str) -> None:
    server.publish("bookworm", OLD)
    sign(server, signature=signature)
    with pytest.raises(FetchError) as raised:
        find(server, keyring, "libc6")
    (problem,) = raised.value.problems
    assert problem.message == "the signature of the index of `bookworm` is not good"
    assert problem.hint == f"it must be made by a key of {keyring}"


def test_one_good_signature_is_enough(server: MirrorServer, keyring: Path) -> None:
    server.publish("bookworm", OLD)
    sign(server, signature="VALIDSIG ERRSIG NO_PUBKEY")
    assert find(server, keyring, "libc6") == (locked(OLD),)


def test_armor_is_taken_off_keyrings(server: MirrorServer, keyring: Path) -> None:
    server.publish("bookworm", OLD)
    sign(server)
    keyring.write_text(
        "-----BEGIN PGP PUBLIC KEY BLOCK-----\nComment: mine\n\na2V5\n=abcd\n"
        "-----END PGP PUBLIC KEY BLOCK-----\n"
    )
    assert find(server, keyring, "libc6") == (locked(OLD),)


@pytest.mark.parametrize("missing", ["gpgv is not installed", "no keyring of Debian is known"])
def test_http_without_a_signature_is_refused(
    server: MirrorServer, keyring: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    server.publish("bookworm", OLD)
    known = {"debian": Mirror(f"{server.url}/debian", () if "keyring" in missing else (keyring,))}
    if "gpgv" in missing:
        monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(FetchError) as raised:
        latest(known, ("bookworm",), ("libc6",), ("amd64",))
    assert str(raised.value) == (
        "the index of `bookworm` came over http and its signature cannot be verified: " + missing
    )
    assert server.asked == [RELEASE]


def test_an_index_must_be_the_one_that_was_signed(server: MirrorServer, keyring: Path) -> None:
    server.publish("bookworm", OLD)
    sign(server)
    (path,) = [p for p in server.files if "by-hash" in p]
    server.files[path] = bytes(len(server.files[path]))
    with pytest.raises(FetchError) as raised:
        find(server, keyring, "libc6")
    assert str(raised.value) == (
        "`main/binary-amd64/Packages.xz` of `bookworm` is not what its signed index promises"
    )


def test_a_mirror_without_by_hash_is_read(server: MirrorServer, keyring: Path) -> None:
    server.publish("bookworm", OLD)
    server.files[RELEASE] = server.files[RELEASE].replace(b"Acquire-By-Hash: yes\n", b"")
    sign(server)
    (path,) = [p for p in server.files if "by-hash" in p]
    server.files[f"{path.partition('/by-hash')[0]}/Packages.xz"] = server.files.pop(path)
    assert find(server, keyring, "libc6") == (locked(OLD),)


@pytest.mark.parametrize(
    ("old", "new"), [("SHA256: ", "SHA512: "), ("Size: ", "Size: x"), ("Version: ", "Version: x:")]
)
def test_a_damaged_index_is_refused(
    server: MirrorServer, keyring: Path, old: str, new: str
) -> None:
    class Damaged(Package):
        @property
        def stanza(self) -> str:
            return super().stanza.replace(old, new)

    server.publish("bookworm", Damaged(OLD.name, OLD.version, OLD.architecture, OLD.data))
    sign(server)
    with pytest.raises(FetchError, match="the index of `bookworm` is damaged"):
        find(server, keyring, "libc6")


@pytest.mark.skipif(
    not (shutil.which("gpg") and shutil.which("gpgv")), reason="gpg and gpgv are not installed"
)
def test_real_signatures_are_verified(server: MirrorServer) -> None:
    server.publish("bookworm", OLD)
    unsigned = server.files[RELEASE]
    # Not below tmp_path: the path of the agent's socket may not be longer than 107 bytes.
    with tempfile.TemporaryDirectory(prefix="gpg") as home:
        keyring = Path(home, "key.asc")

        def gpg(*arguments: str, text: bytes = b"") -> bytes:
            command = ["gpg", "--homedir", home, "--batch", "--quiet", "--passphrase", ""]
            done = subprocess.run([*command, *arguments], input=text, capture_output=True)
            assert done.returncode == 0, done.stderr
            return done.stdout

        try:
            gpg("--quick-generate-key", "archive@mirror.invalid", "ed25519", "sign", "never")
            keyring.write_bytes(gpg("--armor", "--export"))
            server.files[RELEASE] = gpg("--clearsign", text=unsigned)
        finally:
            kill = ["gpgconf", "--homedir", home, "--kill", "all"]
            subprocess.run(kill, check=True, capture_output=True)
        assert find(server, keyring, "libc6") == (locked(OLD),)
        server.files[RELEASE] = server.files[RELEASE].replace(
            b"Suite: bookworm", b"Suite: bookwurm"
        )
        with pytest.raises(
            FetchError, match="the signature of the index of `bookworm` is not good"
        ):
            find(server, keyring, "libc6")


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
def test_https_stands_in_for_a_signature(
    server: MirrorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish("bookworm", OLD)
    sign(server)
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
        with pytest.raises(FetchError, match="the certificate of the Debian mirror cannot be"):
            latest(known, ("bookworm",), ("libc6",), ("amd64",))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert latest(known, ("bookworm",), ("libc6",), ("amd64",)) == (locked(OLD),)
        secure.redirect = server.url
        with pytest.raises(FetchError, match="the Debian mirror redirects from https to http"):
            latest(known, ("bookworm",), ("libc6",), ("amd64",))
