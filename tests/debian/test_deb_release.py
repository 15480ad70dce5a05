"""Whose release file of a suite is believed, with real keys and signatures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfbuild.debian.apt import Mirror
from mfbuild.debian.control import paragraph
from mfbuild.debian.release import (
    Release,
    check_dates,
    check_suite,
    read_release,
    release_files,
)
from mfbuild.errors import FetchError
from mfbuild.http.client import HttpClient
from mfbuild.http.trust import Trust
from tests.debs import MirrorServer, deb, serve
from tests.gpg import PAST, Gpg, gnupg

LIBC = deb("libc6")
PATH = "debian/dists/bookworm/InRelease"
GOOD, OTHER, STRANGER = "good@x.invalid", "other@x.invalid", "stranger@x.invalid"
EXPIRED, REVOKED, LATE = "expired@x.invalid", "revoked@x.invalid", "late@x.invalid"
OLD = "old@x.invalid"


@dataclass(frozen=True)
class Keys:
    """Keys in all states; all but the stranger's are in the keyring."""

    gpg: Gpg
    keyring: Path


@pytest.fixture(scope="module")
def keys() -> Iterator[Keys]:
    with gnupg() as gpg, gnupg() as published:
        for user in (GOOD, OTHER, REVOKED, STRANGER):
            gpg.key(user)
        gpg.key(EXPIRED, "2d", at=PAST)
        gpg.key(OLD, at=PAST)
        gpg.key(LATE, "1y", at=PAST)
        published("--import", text=gpg("--export", GOOD, OTHER, REVOKED, EXPIRED, OLD, LATE))
        published("--import", text=gpg.revocation(REVOKED))
        keyring = gpg.home / "keyring.gpg"
        keyring.write_bytes(published("--export"))
        # Its owner can still sign, after what the published key says.
        gpg("--quick-set-expire", gpg.fingerprint(LATE), "never", at="20200102T000000")
        yield Keys(gpg, keyring)


@pytest.fixture
def server() -> Iterator[MirrorServer]:
    with serve() as server:
        yield server


def read(
    server: MirrorServer, keys: Keys, scratch: Path, *, snapshot: bool = False
) -> tuple[Release, list[str]]:
    """The release, and what was noted."""
    known = {"debian": Mirror(f"{server.url}/debian", (keys.keyring,), snapshot)}
    notes: list[str] = []
    return read_release(
        HttpClient(Trust({})), known, "bookworm", scratch, lambda n: None, notes.append
    ), notes


def refusal(server: MirrorServer, keys: Keys, scratch: Path) -> str:
    with pytest.raises(FetchError) as raised:
        read(server, keys, scratch)
    return str(raised.value)


@pytest.mark.parametrize("signers", [(GOOD,), (GOOD, OTHER), (STRANGER, GOOD), (EXPIRED, GOOD)])
def test_one_good_signature_is_enough(
    server: MirrorServer, keys: Keys, tmp_path: Path, signers: tuple[str, ...]
) -> None:
    """Debian signs a suite with the key of its time, and with the next."""
    at = "20200101T120000" if EXPIRED in signers else ""
    text = server.publish("bookworm", LIBC, fields={"Date": "Sat, 10 Jan 2026 10:41:16 UTC"})
    if at:  # a signature by each at its own time, in one message
        past = keys.gpg.sign(text, EXPIRED, at=at)
        server.files[PATH] = _joined(past, keys.gpg.sign(text, GOOD), keys.gpg)
    else:
        server.files[PATH] = keys.gpg.sign(text, *signers)
    release, _ = read(server, keys, tmp_path)
    assert release.date == datetime(2026, 1, 10, 10, 41, 16, tzinfo=timezone.utc)
    assert list(release.files) == ["main/binary-amd64/Packages.xz"]


def _joined(first: bytes, second: bytes, gpg: Gpg) -> bytes:
    """The first message with the second's signature besides."""
    begin = b"-----BEGIN PGP SIGNATURE-----"
    packets = b"".join(gpg("--dearmor", text=begin + m.split(begin)[1]) for m in (first, second))
    armored = gpg("--enarmor", text=packets).replace(b"PGP ARMORED FILE", b"PGP SIGNATURE")
    armored = b"\n".join(ln for ln in armored.splitlines() if not ln.startswith(b"Comment"))
    return first.split(begin)[0] + armored + b"\n"


@pytest.mark.parametrize(
    ("signer", "at", "options", "reason"),
    [
        (EXPIRED, "20200101T120000", (), "its key has expired"),
        (LATE, "20220101T000000", (), "its key has expired"),
        (REVOKED, "", (), "its key was revoked"),
        (STRANGER, "", (), "no trusted key made it"),
        (OLD, "20210101T000000", ("--default-sig-expire", "1d"), "it has expired"),
        (GOOD, "", ("--digest-algo", "SHA1"), "gpgv does not vouch for it"),
    ],
)
def test_a_signature_that_is_not_good_is_refused(
    server: MirrorServer,
    keys: Keys,
    tmp_path: Path,
    signer: str,
    at: str,
    options: tuple[str, ...],
    reason: str,
) -> None:
    text = server.publish("bookworm", LIBC)
    server.files[PATH] = keys.gpg.sign(text, signer, at=at, options=options)
    assert refusal(server, keys, tmp_path) == (
        f"the signature of the index of `bookworm` is not good: {reason}"
    )


@pytest.mark.parametrize("kind", ["altered", "before", "after", "twice", "unsigned", "empty"])
def test_only_what_was_signed_is_read(
    server: MirrorServer, keys: Keys, tmp_path: Path, kind: str
) -> None:
    text = server.publish("bookworm", LIBC)
    good = keys.gpg.sign(text, GOOD)
    server.files[PATH] = {
        "altered": good.replace(b"Acquire-By-Hash: yes", b"Acquire-By-Hash: no"),
        "before": text + b"\n" + good,
        "after": good + b"\n" + text,
        "twice": good + good,
        "unsigned": text,
        "empty": b"",
    }[kind]
    reason = "the text was changed after it was signed"
    if kind != "altered":
        reason = "it is not one signed message"
    assert refusal(server, keys, tmp_path).endswith(f"is not good: {reason}")


def test_armor_is_taken_off_keyrings(server: MirrorServer, keys: Keys, tmp_path: Path) -> None:
    server.files[PATH] = keys.gpg.sign(server.publish("bookworm", LIBC), OTHER)
    armored = tmp_path / "key.asc"
    armored.write_bytes(
        keys.gpg("--armor", "--export", GOOD) + keys.gpg("--armor", "--export", OTHER)
    )
    assert read(server, Keys(keys.gpg, armored), tmp_path)
    armored.write_bytes(b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nA\n-----END")
    assert refusal(server, Keys(keys.gpg, armored), tmp_path).startswith("the keyring is damaged")


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"Suite": "oldoldstable", "Codename": "bullseye"}, "`oldoldstable` and `bullseye`"),
        ({"Suite": "bookworm-updates", "Codename": ""}, "`bookworm-updates`"),
        ({"Suite": "", "Codename": ""}, "nothing"),
    ],
)
def test_the_release_of_another_suite_is_refused(
    server: MirrorServer, keys: Keys, tmp_path: Path, fields: dict[str, str], shown: str
) -> None:
    server.files[PATH] = keys.gpg.sign(server.publish("bookworm", LIBC, fields=fields), GOOD)
    assert refusal(server, keys, tmp_path) == (
        f"the index that the Debian mirror has for `bookworm` calls itself {shown}"
    )


def test_a_suite_is_also_found_by_its_changing_name(
    server: MirrorServer, keys: Keys, tmp_path: Path
) -> None:
    fields = {"Suite": "bookworm", "Codename": "x"}
    server.files[PATH] = keys.gpg.sign(server.publish("bookworm", LIBC, fields=fields), GOOD)
    assert read(server, keys, tmp_path)[0].suite == "bookworm"


def test_an_index_that_has_expired_is_taken_from_a_snapshot_alone(
    server: MirrorServer, keys: Keys, tmp_path: Path
) -> None:
    fields = {"Valid-Until": "Sat, 17 Jan 2026 10:41:16 UTC"}
    server.files[PATH] = keys.gpg.sign(server.publish("bookworm", LIBC, fields=fields), GOOD)
    expired = "the index of `bookworm` was valid until 2026-01-17"
    assert refusal(server, keys, tmp_path) == expired
    _, notes = read(server, keys, tmp_path, snapshot=True)
    assert notes == [f"{expired}: taken, since the mirror is a snapshot"]


def test_an_index_that_is_valid_is_not_spoken_of(
    server: MirrorServer, keys: Keys, tmp_path: Path
) -> None:
    soon = format_datetime(datetime.now(timezone.utc) + timedelta(days=1))
    text = server.publish("bookworm", LIBC, fields={"Valid-Until": soon})
    server.files[PATH] = keys.gpg.sign(text, GOOD)
    assert read(server, keys, tmp_path, snapshot=True)[1] == []


@pytest.mark.parametrize(
    ("date", "message"),
    [
        ("", "the index of `bookworm` does not say of when it is"),
        ("tomorrow", "the index of `bookworm` is damaged: `tomorrow` is not a date"),
        ("Sat, 10 Jan 9999 10:41:16 UTC", "the index of `bookworm` is of 9999-01-10 10:41 UTC"),
        ("Sat, 10 Jan 9999 23:59:59 -2359", "the index of `bookworm` is of 9999-01-11"),
        ("Fri, 31 Dec 9999 23:59:59 -2359", "is damaged: `Fri, 31 Dec 9999 23:59:59 -2359`"),
    ],
)
def test_the_date_of_an_index_is_checked(
    server: MirrorServer, keys: Keys, tmp_path: Path, date: str, message: str
) -> None:
    text = server.publish("bookworm", LIBC, fields={"Date": date})
    server.files[PATH] = keys.gpg.sign(text, GOOD)
    assert message in refusal(server, keys, tmp_path)


def test_a_keyring_is_needed_over_http(
    server: MirrorServer, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files[PATH] = keys.gpg.sign(server.publish("bookworm", LIBC), GOOD)
    unverified = "the index of `bookworm` came over http and its signature cannot be verified: "
    known = {"debian": Mirror(f"{server.url}/debian")}
    with pytest.raises(FetchError, match=f"{unverified}no keyring of Debian is known"):
        read_release(
            HttpClient(Trust({})), known, "bookworm", tmp_path, lambda n: None, lambda t: None
        )
    monkeypatch.setenv("PATH", "/nonexistent")
    assert refusal(server, keys, tmp_path) == f"{unverified}gpgv is not installed"


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(),
        st.fixed_dictionaries(
            {},
            optional={
                name: st.text() | st.datetimes().map(format_datetime)
                for name in ("Suite", "Codename", "Date", "Valid-Until", "SHA256", "Architectures")
            },
        ).map(lambda fields: "".join(f"{k}: {v}\n" for k, v in fields.items())),
    )
)
def test_any_text_of_a_release_file_is_read_or_refused(text: str) -> None:
    fields = paragraph(text)
    files = release_files(fields)
    assert all(size >= 0 and len(digest.split()) == 1 for digest, size in files.values())
    try:
        check_suite(fields, "bookworm")
        date = check_dates(fields, Mirror("http://x.invalid"), "bookworm", lambda t: None)
        assert date.tzinfo
    except FetchError:
        pass
