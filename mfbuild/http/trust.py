"""Whose TLS certificates are believed: the one place where authorities are chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mfbuild.errors import UsageError


@dataclass(frozen=True, slots=True)
class Trust:
    """The authorities of one client.

    `file` goes before what `environ` names; with `system`, the system's go before those that
    requests brings; with `anybody`, no certificate is verified at all.
    """

    environ: Mapping[str, str] = field(repr=False)
    file: Path | None = None
    system: bool = False
    anybody: bool = False

    def verify(self) -> str | bool:
        """What requests takes: a file or folder of authorities, True for its own, False for none.

        UsageError if what REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names is not there.
        """
        if self.anybody:
            return False
        return str(self.file) if self.file else self._named() or self._of_system() or True

    def _named(self) -> str | None:
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            if path := self.environ.get(name):
                if not Path(path).exists():
                    raise UsageError(f"`{name}` names `{path}`, which is not there")
                return path
        # OpenSSL goes by its own where these lead nowhere.
        return _first(self.environ.get("SSL_CERT_FILE"), self.environ.get("SSL_CERT_DIR"))

    def _of_system(self) -> str | None:
        if not self.system:
            return None
        import ssl

        paths = ssl.get_default_verify_paths()
        return _first(paths.cafile, paths.capath)


def _first(*paths: str | None) -> str | None:
    return next((path for path in paths if path and Path(path).exists()), None)
