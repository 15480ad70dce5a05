"""Which Debian mirrors to use: a setting, or this machine's own apt configuration.

A mirror's address never enters a lock, a key or a file of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from mfbuild.debian.control import paragraphs
from mfbuild.debian.model import ARCHIVES, DEBIAN, SECURITY
from mfbuild.errors import UsageError

SETTING, SECURITY_SETTING = "MFBUILD_DEBIAN_MIRROR", "MFBUILD_DEBIAN_SECURITY_MIRROR"

_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+\S+\s+(?P<components>.+)")
_SNAPSHOT = re.compile(r"/\d{8}T\d{6}Z\Z")  # how addresses in Debian's snapshot archive end
_OFF = ("no", "false", "0", "off", "without", "disable")
_TRUSTED = (
    "usr/share/keyrings/debian-archive-keyring.gpg",
    "etc/apt/trusted.gpg.d/*.asc",
    "etc/apt/trusted.gpg.d/*.gpg",
)


@dataclass(frozen=True, slots=True)
class Mirror:
    """One archive of a mirror: its URL (no slash at the end), and who may sign its indexes.

    `keyrings` are OpenPGP key files, binary or armored. With `snapshot`, its indexes may have
    expired.
    """

    url: str = field(repr=False)
    keyrings: tuple[Path, ...] = ()
    snapshot: bool = False


Mirrors = Mapping[str, Mirror]
"""Archive (`debian`, `debian-security`) -> where it is."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A `deb` source: `signed_by` is apt's Signed-By, None where it is not given.

    `expires` is its Check-Valid-Until.
    """

    uri: str
    signed_by: str | None
    components: tuple[str, ...]
    expires: bool = True


def mirrors(env: Mapping[str, str], root: Path = Path("/")) -> Mirrors:
    """The mirrors that `env` or else the apt configuration below `root` names.

    The security archive defaults to the sibling `debian-security` of the main one. UsageError
    where there is neither.
    """
    configured = {} if env.get(SETTING) else _configured(root)
    found = configured | {
        archive: _mirror(_checked(setting, env[setting]), _trusted(root))
        for archive, setting in ((DEBIAN, SETTING), (SECURITY, SECURITY_SETTING))
        if env.get(setting)
    }
    if DEBIAN not in found:
        raise UsageError(
            "no Debian mirror is known: apt is not configured for one here",
            hint=f"set `{SETTING}` to the URL of a Debian mirror (`https://<host>/debian`)",
        )
    main = found[DEBIAN]
    time = _SNAPSHOT.search(main.url)
    parent = main.url.removesuffix(time[0] if time else "").rpartition("/")[0]
    sibling = f"{parent}/{SECURITY}{time[0] if time else ''}"
    return {SECURITY: replace(main, url=sibling), **found}


def _mirror(url: str, keyrings: tuple[Path, ...], *, expires: bool = True) -> Mirror:
    url = url.rstrip("/")
    return Mirror(url, keyrings, snapshot=not expires or bool(_SNAPSHOT.search(url)))


def _checked(setting: str, url: str) -> str:
    if not _is_web(url):
        # The value is not shown: it may hold a password.
        raise UsageError(f"`{setting}` is not an http or https URL")
    return url


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _trusted(root: Path) -> tuple[Path, ...]:
    return tuple(sorted(p for pattern in _TRUSTED for p in root.glob(pattern) if p.is_file()))


def _configured(root: Path) -> dict[str, Mirror]:
    """What apt uses, the first one of each archive.

    Other vendors have a path like `/linux/debian` too; Debian's own mirrors are seldom below a
    folder, so the shorter path wins.
    """
    known = [e for e in _entries(root) if "main" in e.components and _archive(e.uri)]
    known.sort(key=lambda e: _path(e.uri).count("/"))
    return {
        _archive(e.uri): _mirror(e.uri, _keyrings(e.signed_by, root), expires=e.expires)
        for e in reversed(known)
    }


def _archive(uri: str) -> str:
    last = _path(uri).rpartition("/")[2] if _is_web(uri) else ""
    return last if last in ARCHIVES else ""


def _path(uri: str) -> str:
    """The path of a mirror's URL, without the time of a snapshot."""
    return _SNAPSHOT.sub("", urlsplit(uri).path.rstrip("/"))


def _keyrings(signed_by: str | None, root: Path) -> tuple[Path, ...]:
    """Signed-By names files; where it holds a fingerprint or a key instead, none is known."""
    if signed_by is None:
        return _trusted(root)
    files = re.split(r"[\s,]+", signed_by)
    if not all(f.startswith("/") for f in files):
        return ()
    return tuple(p for f in files if (p := root / f.lstrip("/")).is_file())


def _entries(root: Path) -> Iterator[_Entry]:
    folder = root / "etc/apt/sources.list.d"
    for path in (root / "etc/apt/sources.list", *sorted(folder.glob("*"))):
        if path.suffix in (".list", ".sources") and path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            for entry in _one_line(text) if path.suffix == ".list" else _deb822(text):
                yield from _expanded(entry, root)


def _one_line(text: str) -> Iterator[_Entry]:
    """`deb [option=value …] uri suite component…` (sources.list(5))."""
    for line in text.splitlines():
        if match := _LINE.fullmatch(line.partition("#")[0].strip()):
            options = dict(o.partition("=")[::2] for o in (match["options"] or "").split())
            signed_by = options.get("signed-by")
            expires = options.get("check-valid-until", "yes").lower() not in _OFF
            yield _Entry(match["uri"], signed_by, tuple(match["components"].split()), expires)


def _deb822(text: str) -> Iterator[_Entry]:
    for fields in paragraphs(text):
        enabled = fields.get("enabled", "yes").lower() not in _OFF
        expires = fields.get("check-valid-until", "yes").lower() not in _OFF
        if enabled and "deb" in fields.get("types", "").split():
            components = tuple(fields.get("components", "").split())
            for uri in fields.get("uris", "").split():
                yield _Entry(uri, fields.get("signed-by"), components, expires)


def _expanded(entry: _Entry, root: Path) -> Iterator[_Entry]:
    """`mirror+file:` names a list of mirrors (apt-transport-mirror(1)), as cloud images do."""
    scheme, _, path = entry.uri.partition(":")
    if scheme != "mirror+file":
        yield entry
        return
    listed = root / path.lstrip("/")
    if listed.is_file():
        for line in listed.read_text(encoding="utf-8", errors="replace").splitlines():
            if words := line.partition("#")[0].split():
                yield replace(entry, uri=words[0])
