"""How a request fails: in passing, by a final answer, or before there is one."""

from __future__ import annotations

from collections.abc import Mapping

from mfbuild.errors import FetchError


class Passing(Exception):
    """A failure that may pass; `after` are the seconds that the server wants us to wait.

    `reason` says what the server did, as in "answered `503`", and `why` what this machine says of
    it, if anything. `times` is how often it was tried.
    """

    def __init__(self, reason: str, after: float = 0.0, why: str = "") -> None:
        super().__init__(f"{reason}{why and ': '}{why}")
        self.reason, self.after, self.why, self.times = reason, after, why, 1


class RequestError(FetchError):
    """A request that fails however often it is sent; `reason` says what its server does."""

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(f"the server {reason}", hint=hint)
        self.reason, self.hint = reason, hint


class CertificateError(RequestError):
    """The server's certificate is by no authority that is trusted, or not for its name."""

    def __init__(self) -> None:
        hint = "trust its authority through REQUESTS_CA_BUNDLE if the server is your own"
        super().__init__("shows a TLS certificate that is not accepted", hint)


class StatusError(FetchError):
    """A final answer that is not 2xx; `body` has the first 64 KiB of what it says."""

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        url: str,
        body: bytes,
        message: str = "",
        hint: str | None = None,
    ) -> None:
        super().__init__(message or f"the server answered `{status}`", hint=hint)
        self.status, self.headers, self.url, self.body = status, headers, url, body
