"""Finds the newest version of packages in the signed indexes of a Debian mirror."""

from __future__ import annotations

import lzma
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from mfbuild.debian.apt import Mirrors
from mfbuild.debian.control import paragraph
from mfbuild.debian.fetch import download
from mfbuild.debian.model import FoundDebs, LockedDeb
from mfbuild.debian.release import Release, read_release
from mfbuild.debian.version import version_key
from mfbuild.errors import FetchError, Problem, ResolveError
from mfbuild.http.client import HttpClient
from mfbuild.http.parallel import Tick

_COMPONENT = "main"
_PIECE = 1 << 20
_MAX_PARAGRAPH = 4 << 20
_PACKAGE = re.compile(rb"^Package: *(\S+)", re.MULTILINE)


def latest(
    http: HttpClient,
    mirrors: Mirrors,
    suites: Sequence[str],
    packages: Sequence[str],
    architectures: Sequence[str],
    tick: Tick = lambda n: None,
    note: Callable[[str], None] = lambda text: None,
) -> FoundDebs:
    """The newest version of each package for each architecture (Debian's names) over the suites.

    The component is main. Sorted, each package of architecture `all` once. ResolveError names
    every package that is missing; FetchError where an index cannot be had or trusted.
    """
    newest: dict[tuple[str, str], LockedDeb] = {}
    releases: dict[str, datetime] = {}
    with tempfile.TemporaryDirectory(prefix="mfbuild-debian-") as scratch:
        for suite in suites:
            release = read_release(http, mirrors, suite, Path(scratch), tick, note)
            releases[suite] = release.date
            for architecture in architectures:
                for deb in _packages(
                    http, release, architecture, set(packages), Path(scratch), tick
                ):
                    best = newest.setdefault((deb.package, architecture), deb)
                    if version_key(deb.version) > version_key(best.version):
                        newest[deb.package, architecture] = deb
    wanted = [(p, a) for p in sorted(set(packages)) for a in architectures]
    missing = [
        Problem(f"no package `{p}` for {a} in {', '.join(suites)}")
        for p, a in wanted
        if (p, a) not in newest
    ]
    ResolveError.raise_for(missing)
    return FoundDebs(tuple(sorted(set(newest.values()))), releases)


# The package indexes of a suite.


def _packages(
    http: HttpClient,
    release: Release,
    architecture: str,
    wanted: set[str],
    scratch: Path,
    tick: Tick,
) -> Iterator[LockedDeb]:
    name = f"{_COMPONENT}/binary-{architecture}/Packages.xz"
    known = not release.architectures or architecture in release.architectures
    if name not in release.files or not known:
        raise ResolveError(f"the suite `{release.suite}` has no packages for {architecture}")
    digest, size = release.files[name]
    folder = f"dists/{release.suite}/{name.rpartition('/')[0]}"
    path = f"{folder}/by-hash/SHA256/{digest}" if release.by_hash else f"{folder}/Packages.xz"
    local = scratch / "Packages.xz"
    download(http, release.mirror, path, local, tick, limit=size)
    if sha256(local.read_bytes()).hexdigest() != digest:
        raise FetchError(
            f"`{name}` of `{release.suite}` is not what its signed index promises",
            hint="the mirror may be in the middle of an update: try again in some minutes",
        )
    try:
        for text in _paragraphs(local, {p.encode() for p in wanted}):
            yield _locked(paragraph(text.decode("utf-8", "replace")), architecture, release.archive)
    except (KeyError, ValueError, EOFError, lzma.LZMAError) as error:
        raise FetchError(f"the index of `{release.suite}` is damaged: {error!r}") from error


def _paragraphs(index: Path, wanted: set[bytes]) -> Iterator[bytes]:
    """The paragraphs of the wanted packages; the others (50 MB of them) are not parsed."""
    held = b""
    with lzma.open(index) as stream:
        while piece := stream.read(_PIECE):
            *whole, held = (held + piece).split(b"\n\n")
            if len(held) > _MAX_PARAGRAPH:
                raise ValueError(f"a paragraph of more than {_MAX_PARAGRAPH} bytes")
            yield from (p for p in whole if (m := _PACKAGE.search(p)) and m[1] in wanted)
    if (match := _PACKAGE.search(held)) and match[1] in wanted:
        yield held


def _locked(fields: Mapping[str, str], architecture: str, archive: str) -> LockedDeb:
    if fields["architecture"] not in (architecture, "all"):
        raise ValueError(f"`{fields['architecture']}` among the packages for {architecture}")
    deb = LockedDeb(
        package=fields["package"],
        version=fields["version"],
        architecture=fields["architecture"],
        archive=archive,
        path=fields["filename"],
        size=int(fields["size"]),
        sha256=fields["sha256"].lower(),
    )
    version_key(deb.version)
    return deb
