"""A suite's signed release file: whose signature it bears, and whether it is the one asked for."""

from __future__ import annotations

import re
import shutil
import subprocess
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from hashlib import sha256
from pathlib import Path

from mfbuild.debian.apt import SECURITY_SETTING, Mirror, Mirrors
from mfbuild.debian.control import paragraph
from mfbuild.debian.fetch import Missing, document
from mfbuild.debian.model import DEBIAN, SECURITY
from mfbuild.errors import FetchError
from mfbuild.http.client import HttpClient
from mfbuild.http.parallel import Tick

_MAX_RELEASE = 16 << 20
_UTC = timezone.utc
_MAX_FUTURE = timedelta(minutes=10)
_SHA2 = ("8", "9", "10", "11")  # RFC 9580, section 9.5: SHA-256, SHA-384, SHA-512, SHA-224
_SIGNED = re.compile(  # RFC 9580, section 7, with nothing before or after it
    r"-----BEGIN PGP SIGNED MESSAGE-----\n(?:[A-Za-z]+: [^\n]*\n)*\n"
    r"(?P<text>(?:(?!-----)[^\n]*\n)*)"
    r"-----BEGIN PGP SIGNATURE-----\n(?:(?!-----)[^\n]*\n)*-----END PGP SIGNATURE-----\s*"
)
_REFUSED: Mapping[str, str] = {  # DETAILS of GnuPG, "General status codes"
    "BADSIG": "the text was changed after it was signed",
    "EXPSIG": "it has expired",
    "EXPKEYSIG": "its key has expired",
    "REVKEYSIG": "its key was revoked",
    "ERRSIG": "no trusted key made it",
}


@dataclass(frozen=True, slots=True)
class Release:
    """A suite's release file that is believed; `files`: name -> (sha256 in hex, size in bytes)."""

    mirror: Mirror
    archive: str
    suite: str
    date: datetime
    architectures: tuple[str, ...]
    files: Mapping[str, tuple[str, int]]
    by_hash: bool


def read_release(
    http: HttpClient,
    mirrors: Mirrors,
    suite: str,
    scratch: Path,
    tick: Tick,
    note: Callable[[str], None],
) -> Release:
    """Download and check dists/<suite>/InRelease of the mirror that has the suite.

    A suite `…-security` is of the archive `debian-security`, any other of `debian`. FetchError if
    there is none, or it is not signed by a key that is good today, is of another suite, or has
    expired; a snapshot's has always expired, which is said by `note`.
    """
    archive = SECURITY if suite.endswith("-security") else DEBIAN
    mirror = mirrors[archive]
    path = scratch / "InRelease"
    try:
        name = f"dists/{suite}/InRelease"
        path.write_bytes(document(http, mirror, name, tick, limit=_MAX_RELEASE))
    except Missing as error:
        hint = f"the security archive has a setting of its own, `{SECURITY_SETTING}`"
        raise FetchError(
            f"the Debian mirror has no suite `{suite}`", hint=hint if archive == SECURITY else None
        ) from error
    fields = paragraph(_verified(path, mirror, suite, scratch))
    check_suite(fields, suite)
    date = check_dates(fields, mirror, suite, note)
    by_hash = fields.get("acquire-by-hash", "no").lower() == "yes"
    architectures = tuple(fields.get("architectures", "").split())
    return Release(mirror, archive, suite, date, architectures, release_files(fields), by_hash)


def release_files(fields: Mapping[str, str]) -> dict[str, tuple[str, int]]:
    """The files that a release file lists, lines of another form left out."""
    lines = (line.split() for line in fields.get("sha256", "").split("\n"))
    return {
        words[2]: (words[0].lower(), int(words[1]))
        for words in lines
        if len(words) == 3 and re.fullmatch(r"[0-9]{1,15}", words[1])
    }


# Whose it is.


def _verified(path: Path, mirror: Mirror, suite: str, scratch: Path) -> str:
    """The text of an InRelease whose signature is good, or that came over https alone."""
    gpgv = shutil.which("gpgv")
    signed = _SIGNED.fullmatch(path.read_text(encoding="utf-8", errors="replace"))
    if gpgv and mirror.keyrings:
        if not signed:
            raise _unsigned(mirror, suite, "it is not one signed message")
        return _gpgv(gpgv, path, mirror, suite, scratch)
    if not mirror.url.startswith("https://"):
        raise FetchError(
            f"the index of `{suite}` came over http and its signature cannot be verified: "
            + ("gpgv is not installed" if not gpgv else "no keyring of Debian is known"),
            hint="install gpgv and debian-archive-keyring, or use a mirror over https",
        )
    return signed["text"] if signed else path.read_text(encoding="utf-8", errors="replace")


def _gpgv(gpgv: str, path: Path, mirror: Mirror, suite: str, scratch: Path) -> str:
    """One good signature is enough, as for apt: a suite is also signed with its successor's key."""
    text = scratch / "Release"
    text.unlink(missing_ok=True)
    rings = [f"--keyring={_binary(ring, scratch)}" for ring in mirror.keyrings]
    command = [gpgv, f"--homedir={scratch}", "--status-fd=1", f"--output={text}", *rings, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    said = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("[GNUPG:] ")]
    words = [line[0] for line in said if line]
    if "BADSIG" in words or not any(map(_good, said, said[1:])) or not text.is_file():
        reasons = [_REFUSED[word] for word in words if word in _REFUSED]
        raise _unsigned(mirror, suite, reasons[0] if reasons else "gpgv does not vouch for it")
    return text.read_text(encoding="utf-8", errors="replace")


def _good(status: list[str], following: list[str]) -> bool:
    """Whether gpgv found a signature by a key that has neither expired nor been revoked.

    VALIDSIG alone says only that the numbers agree: it also follows EXPKEYSIG and REVKEYSIG. Its
    fields are fingerprint, date, time of signing, time of expiry, version, reserved, public key
    algorithm, hash algorithm.
    """
    if status[:1] != ["GOODSIG"] or following[:1] != ["VALIDSIG"] or len(following) < 9:
        return False
    return following[8] in _SHA2


def _unsigned(mirror: Mirror, suite: str, reason: str) -> FetchError:
    return FetchError(
        f"the signature of the index of `{suite}` is not good: {reason}",
        hint=f"it must be made by a key of {', '.join(str(k) for k in mirror.keyrings)}",
    )


def _binary(keyring: Path, scratch: Path) -> Path:
    """The keyring as gpgv reads it: armor (RFC 9580, section 6.2) is taken off."""
    data = keyring.read_bytes()
    if not data.startswith(b"-----BEGIN PGP"):
        return keyring
    blocks = re.findall(rb"-----BEGIN PGP [^\n]*\n(?:[^\n]+\n)*\s*\n(.*?)\n(?:=|-----)", data, re.S)
    path = scratch / f"{sha256(data).hexdigest()}.gpg"
    try:
        path.write_bytes(b"".join(map(b64decode, blocks)))
    except NotBase64 as error:
        raise FetchError(f"the keyring is damaged: {error}", where=str(keyring)) from error
    return path


# Whether it is the one that was asked for, and of today.


def check_suite(fields: Mapping[str, str], suite: str) -> None:
    """FetchError for the validly signed release of another suite, an older one say."""
    names = [fields[key] for key in ("suite", "codename") if fields.get(key)]
    if suite not in names:
        shown = " and ".join(f"`{name}`" for name in names) or "nothing"
        raise FetchError(
            f"the index that the Debian mirror has for `{suite}` calls itself {shown}",
            hint="the mirror is not to be trusted, or is set up wrongly: use another one",
        )


def check_dates(
    fields: Mapping[str, str], mirror: Mirror, suite: str, note: Callable[[str], None]
) -> datetime:
    """Of when a release file is; FetchError where that is yet to come, or it has expired."""
    date, until = _date(fields, "date", suite), _date(fields, "valid-until", suite)
    now = datetime.now(_UTC)
    if date is None:
        raise FetchError(f"the index of `{suite}` does not say of when it is")
    if date > now + _MAX_FUTURE:
        raise FetchError(
            f"the index of `{suite}` is of {date:%Y-%m-%d %H:%M} UTC, which is yet to come",
            hint="set this machine's clock",
        )
    if until and until < now:
        expired = f"the index of `{suite}` was valid until {until:%Y-%m-%d}"
        if not mirror.snapshot:
            raise FetchError(
                expired, hint="the mirror is behind: use another one, or a snapshot's URL"
            )
        note(f"{expired}: taken, since the mirror is a snapshot")
    return date


def _date(fields: Mapping[str, str], name: str, suite: str) -> datetime | None:
    """`Sat, 10 Jan 2026 10:41:16 UTC`, or None where the field is missing."""
    if not (text := fields.get(name)):
        return None
    try:
        found = parsedate_to_datetime(text)
        return (
            found.replace(tzinfo=timezone.utc)
            if found.tzinfo is None
            else found.astimezone(timezone.utc)
        )
    except (ValueError, OverflowError) as error:
        raise FetchError(f"the index of `{suite}` is damaged: `{text}` is not a date") from error
