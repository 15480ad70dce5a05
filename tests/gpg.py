"""OpenPGP keys made by GnuPG for tests, of any date and in any state."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PAST = "20200101T000000"
"""When keys that have expired since were made, as GnuPG's --faked-system-time takes it."""


class Gpg:
    """A GnuPG home; keys are named by their user ID."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def __call__(self, *arguments: str, text: bytes = b"", at: str = "") -> bytes:
        """What gpg writes, run as if at the time `at`."""
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--passphrase", ""]
        if at:
            command += ["--faked-system-time", at]
        done = subprocess.run([*command, *arguments], input=text, capture_output=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def key(self, user: str, expires: str = "never", at: str = "") -> str:
        """A new key for signatures; its user ID."""
        self("--quick-generate-key", user, "ed25519", "sign", expires, at=at)
        return user

    def fingerprint(self, user: str) -> str:
        listed = self("--with-colons", "--list-keys", user).decode().splitlines()
        return next(line.split(":")[9] for line in listed if line.startswith("fpr:"))

    def revocation(self, user: str) -> bytes:
        """The certificate that gpg makes with each key, as one that is published."""
        path = self.home / "openpgp-revocs.d" / f"{self.fingerprint(user)}.rev"
        return path.read_bytes().replace(b":-----BEGIN", b"-----BEGIN")

    def sign(self, text: bytes, *users: str, at: str = "", options: tuple[str, ...] = ()) -> bytes:
        """`text` as a message that is signed in the clear by all of `users`."""
        signers = [word for user in users for word in ("--local-user", user)]
        return self(*options, *signers, "--clearsign", text=text, at=at)


@contextmanager
def gnupg() -> Iterator[Gpg]:
    """An empty GnuPG home until the block ends; a test that needs it is skipped without GnuPG."""
    if not (shutil.which("gpg") and shutil.which("gpgv")):
        pytest.skip("gpg and gpgv are not installed")
    # Not below tmp_path: the path of the agent's socket may not be longer than 107 bytes.
    with tempfile.TemporaryDirectory(prefix="gpg") as home:
        try:
            yield Gpg(Path(home))
        finally:
            kill = ["gpgconf", "--homedir", home, "--kill", "all"]
            subprocess.run(kill, check=True, capture_output=True)
