"""Finds the newest version of packages in the signed indexes of a Debian mirror."""

from __future__ import annotations

import lzma
import re
import shutil
import subprocess
import tempfile
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from mfbuild.debian.apt import SECURITY_SETTING, Mirror, Mirrors
from mfbuild.debian.control import paragraph
from mfbuild.debian.fetch import Missing, download
from mfbuild.debian.model import DEBIAN, SECURITY, LockedDeb
from mfbuild.debian.version import version_key
from mfbuild.errors import FetchError, Problem, ResolveError
from mfbuild.http.parallel import Tick

_COMPONENT = "main"
_MAX_RELEASE = 16 << 20
_PIECE = 1 << 20
_PACKAGE = re.compile(rb"^Package: *(\S+)", re.MULTILINE)
_BEGIN, _END = "-----BEGIN PGP SIGNED MESSAGE-----\n", "-----BEGIN PGP SIGNATURE-----"


@dataclass(frozen=True, slots=True)
class _Release:
    """A suite's verified InRelease: file name -> (sha256 in hex, size in bytes)."""

    mirror: Mirror
    archive: str
    suite: str
    files: Mapping[str, tuple[str, int]]
    by_hash: bool


def latest(
    mirrors: Mirrors,
    suites: Sequence[str],
    packages: Sequence[str],
    architectures: Sequence[str],
    tick: Tick = lambda n: None,
) -> tuple[LockedDeb, ...]:
    """The newest version of each package for each architecture (Debian's names) over the suites.

    A suite `…-security` is of the archive `debian-security`, any other of `debian`; the component
    is main. Sorted, each package of architecture `all` once. ResolveError names every package
    that is missing; FetchError where an index cannot be had or trusted. Valid-Until is not
    enforced: a lock may be made from a snapshot of a mirror.
    """
    newest: dict[tuple[str, str], LockedDeb] = {}
    with tempfile.TemporaryDirectory(prefix="mfbuild-debian-") as scratch:
        for suite in suites:
            release = _release(mirrors, suite, Path(scratch), tick)
            for architecture in architectures:
                for deb in _packages(release, architecture, set(packages), Path(scratch), tick):
                    best = newest.setdefault((deb.package, architecture), deb)
                    if version_key(deb.version) > version_key(best.version):
                        newest[deb.package, architecture] = deb
    wanted = [(p, a) for p in sorted(set(packages)) for a in architectures]
    missing = [
        Problem(f"no package `{p}` for {a} in {', '.join(suites)}")
        for p, a in wanted
        if (p, a) not in newest
    ]
    if missing:
        raise ResolveError.all_of(missing)
    return tuple(sorted(set(newest.values())))


# The release file of a suite.


def _release(mirrors: Mirrors, suite: str, scratch: Path, tick: Tick) -> _Release:
    archive = SECURITY if suite.endswith("-security") else DEBIAN
    path = scratch / "InRelease"
    try:
        download(mirrors[archive], f"dists/{suite}/InRelease", path, tick, limit=_MAX_RELEASE)
    except Missing as error:
        hint = f"the security archive has a setting of its own, `{SECURITY_SETTING}`"
        raise FetchError(
            f"the Debian mirror has no suite `{suite}`", hint=hint if archive == SECURITY else None
        ) from error
    fields = paragraph(_verified(path, mirrors[archive], suite, scratch))
    files = {}
    for line in fields.get("sha256", "").splitlines():
        if len(words := line.split()) == 3 and words[1].isdecimal():
            files[words[2]] = (words[0], int(words[1]))
    by_hash = fields.get("acquire-by-hash", "no").lower() == "yes"
    return _Release(mirrors[archive], archive, suite, files, by_hash)


def _verified(path: Path, mirror: Mirror, suite: str, scratch: Path) -> str:
    """The text of an InRelease whose signature is good, or that came over https alone."""
    gpgv = shutil.which("gpgv")
    if gpgv and mirror.keyrings:
        return _gpgv(gpgv, path, mirror, suite, scratch)
    if not mirror.url.startswith("https://"):
        raise FetchError(
            f"the index of `{suite}` came over http and its signature cannot be verified: "
            + ("gpgv is not installed" if not gpgv else "no keyring of Debian is known"),
            hint="install gpgv and debian-archive-keyring, or use a mirror over https",
        )
    text = path.read_text(encoding="utf-8")
    if text.startswith(_BEGIN):  # RFC 9580, section 7: the cleartext signature framework
        text = text.partition("\n\n")[2].partition(_END)[0]
    return text


def _gpgv(gpgv: str, path: Path, mirror: Mirror, suite: str, scratch: Path) -> str:
    """One good signature is enough, as for apt: a suite is also signed with its successor's key."""
    text = scratch / "Release"
    text.unlink(missing_ok=True)
    rings = [f"--keyring={_binary(ring, scratch)}" for ring in mirror.keyrings]
    command = [gpgv, f"--homedir={scratch}", "--status-fd=1", f"--output={text}", *rings, str(path)]
    status = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    words = [line.split()[1] for line in status.stdout.splitlines() if line.startswith("[GNUPG:] ")]
    if "VALIDSIG" not in words or "BADSIG" in words or not text.is_file():
        raise FetchError(
            f"the signature of the index of `{suite}` is not good",
            hint=f"it must be made by a key of {', '.join(str(k) for k in mirror.keyrings)}",
        )
    return text.read_text(encoding="utf-8")


def _binary(keyring: Path, scratch: Path) -> Path:
    """The keyring as gpgv reads it: armor (RFC 9580, section 6.2) is taken off."""
    data = keyring.read_bytes()
    if not data.startswith(b"-----BEGIN PGP"):
        return keyring
    blocks = re.findall(rb"-----BEGIN PGP [^\n]*\n(?:[^\n]+\n)*\s*\n(.*?)\n(?:=|-----)", data, re.S)
    path = scratch / f"{sha256(data).hexdigest()}.gpg"
    path.write_bytes(b"".join(map(b64decode, blocks)))
    return path


# The package indexes of a suite.


def _packages(
    release: _Release, architecture: str, wanted: set[str], scratch: Path, tick: Tick
) -> Iterator[LockedDeb]:
    name = f"{_COMPONENT}/binary-{architecture}/Packages.xz"
    if name not in release.files:
        raise ResolveError(f"the suite `{release.suite}` has no packages for {architecture}")
    digest, size = release.files[name]
    folder = f"dists/{release.suite}/{name.rpartition('/')[0]}"
    path = f"{folder}/by-hash/SHA256/{digest}" if release.by_hash else f"{folder}/Packages.xz"
    local = scratch / "Packages.xz"
    download(release.mirror, path, local, tick, limit=size)
    if sha256(local.read_bytes()).hexdigest() != digest:
        raise FetchError(
            f"`{name}` of `{release.suite}` is not what its signed index promises",
            hint="the mirror may be in the middle of an update: try again in some minutes",
        )
    for text in _paragraphs(local, {p.encode() for p in wanted}):
        yield _locked(paragraph(text.decode("utf-8", "replace")), release)


def _paragraphs(index: Path, wanted: set[bytes]) -> Iterator[bytes]:
    """The paragraphs of the wanted packages; the others (50 MB of them) are not parsed."""
    held = b""
    with lzma.open(index) as stream:
        while piece := stream.read(_PIECE):
            *whole, held = (held + piece).split(b"\n\n")
            yield from (p for p in whole if (m := _PACKAGE.search(p)) and m[1] in wanted)
    if (match := _PACKAGE.search(held)) and match[1] in wanted:
        yield held


def _locked(fields: Mapping[str, str], release: _Release) -> LockedDeb:
    try:
        deb = LockedDeb(
            package=fields["package"],
            version=fields["version"],
            architecture=fields["architecture"],
            archive=release.archive,
            path=fields["filename"],
            size=int(fields["size"]),
            sha256=fields["sha256"].lower(),
        )
        version_key(deb.version)
    except (KeyError, ValueError) as error:
        raise FetchError(f"the index of `{release.suite}` is damaged: {error!r}") from error
    return deb
