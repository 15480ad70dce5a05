"""What the tests of the client share: a client that does not wait, and what it asked."""

from __future__ import annotations

from collections.abc import Mapping

from mfbuild.http.client import HttpClient
from mfbuild.http.trust import Trust


class Client(HttpClient):
    """A client of nobody's environment; `waited` are the seconds that it would have waited."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self.waited: list[float] = []
        super().__init__(Trust(environ or {}), self.waited.append)


def nothing(count: int) -> None:
    """A tick that ends nothing."""
