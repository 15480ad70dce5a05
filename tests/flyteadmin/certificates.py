"""A certificate authority of its own, and a certificate for the loopback."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.build import command


@dataclass(frozen=True)
class Tls:
    """Files: the authority's certificate, the server's, and the server's key."""

    authority: Path
    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """What an HTTP server on the loopback uses."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def tls(folder: Path) -> Tls:
    """Make an authority, and a certificate of it for 127.0.0.1 and localhost."""
    folder.mkdir(parents=True, exist_ok=True)
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    authority, key = folder / "authority.crt", folder / "server.key"
    _openssl("req", "-x509", *new_key, "-subj", "/CN=mfbuild tests",
             "-keyout", folder / "authority.key", "-out", authority)  # fmt: skip
    _openssl("req", "-x509", *new_key, "-subj", "/CN=127.0.0.1",
             "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
             "-addext", "basicConstraints=critical,CA:FALSE",
             "-CA", authority, "-CAkey", folder / "authority.key",
             "-keyout", key, "-out", folder / "server.crt")  # fmt: skip
    return Tls(authority, folder / "server.crt", key)


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run([command("openssl"), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
