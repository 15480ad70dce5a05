"""What a call that failed means: whether it may pass, and what people are told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from mfbuild.errors import FlyteError
from mfbuild.flyte.settings import Settings

MAX_WORDS = 600

_PASSING = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "ABORTED")
_CUT = re.compile("RST_STREAM|GOAWAY|stream (removed|terminated)|connection reset", re.IGNORECASE)
_TLS = re.compile("handshake|certificate|SSL_|tls", re.IGNORECASE)
_UNKNOWN_HOST = re.compile("domain name not found|name or service not known|NXDOMAIN", re.I)
_NO_TLS = "WRONG_VERSION_NUMBER"
_OF_TLS = re.compile(r"OPENSSL_internal:(.+?)(: OK)?$")
_CONNECTING = ("failed to connect", "errors resolving", "dns resolution failed")


class Refusal(FlyteError):
    """Flyte answered a call with an error; `code` is gRPC's name of it, `words` what it said."""

    def __init__(self, message: str, *, code: str, words: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.words = words


@dataclass(frozen=True, slots=True)
class CallFailure:
    """One call that failed: gRPC's code by name, and the server's words on one line."""

    code: str
    words: str

    @classmethod
    def of(cls, error: Any) -> CallFailure:
        """What a grpc.RpcError of a call says; not its text, which holds whatever metadata came."""
        return cls(error.code().name, _line(error.details() or ""))

    @property
    def may_pass(self) -> bool:
        """Whether the same call is worth sending again; none of ours does harm when repeated."""
        if self.code in ("INTERNAL", "UNKNOWN", "CANCELLED"):
            return bool(_CUT.search(self.words))
        if self._is_about_size or (self.code == "UNAVAILABLE" and self._is_final_connection):
            return False
        return self.code in _PASSING

    @property
    def _is_about_size(self) -> bool:
        return self.code == "RESOURCE_EXHAUSTED" and "larger than max" in self.words

    @property
    def _is_final_connection(self) -> bool:
        final = _TLS.search(self.words) or _UNKNOWN_HOST.search(self.words)
        return self._is_of_connecting and final is not None

    @property
    def _is_of_connecting(self) -> bool:
        return self.words.lower().startswith(_CONNECTING)

    def error(self, settings: Settings, doing: str) -> FlyteError:
        """The error that this means; `doing` is what was asked, as in `register task `x``."""
        name = f"`{settings.endpoint}`"
        if self.code == "UNAVAILABLE":
            failed = "cannot be reached"
            if not self._is_of_connecting:
                failed = f"gave no answer when asked to {doing}"
            message = f"{name} {failed}: {self._cause}"
            return FlyteError(message, hint=self._way(settings))
        if self.code == "DEADLINE_EXCEEDED":
            message = f"{name} did not answer in time when asked to {doing}"
            return FlyteError(message, hint=self._way(settings))
        message = f"{name} refuses to {doing}: {_cut(self.words or self.code)}"
        return Refusal(message, code=self.code, words=self.words, hint=self._hint(settings))

    @property
    def _cause(self) -> str:
        if _NO_TLS in self.words:
            return "it does not speak TLS"
        if of_tls := _OF_TLS.search(self.words):
            return of_tls[1].replace("_", " ").lower()
        if self._is_of_connecting:
            return self.words.rpartition(": ")[2].rstrip("]").lower()
        return _cut(self.words) or "the connection broke"

    def _way(self, settings: Settings) -> str:
        """What may be wrong with the way to the server."""
        if _NO_TLS in self.words:
            return f"if it is not to, the endpoint is `http://{settings.endpoint}`"
        if self._is_of_connecting and _TLS.search(self.words):
            return "trust its authority with `admin.caCertFilePath` of flytekit's configuration"
        if self._is_of_connecting and settings.insecure and self.words.endswith("Socket closed"):
            return f"if it speaks TLS, the endpoint is `https://{settings.endpoint}`"
        return f"the endpoint is from {settings.source}"

    def _hint(self, settings: Settings) -> str | None:
        if self._is_about_size:
            return "Flyte's `grpc.maxMessageSizeBytes` sets the limit"
        if self.code == "PERMISSION_DENIED":
            return "it knows who calls; whoever runs it grants what is missing"
        if self.code == "UNIMPLEMENTED":
            return f"is `{settings.endpoint}` (from {settings.source}) the API of a Flyte 1?"
        return None


def _line(text: str) -> str:
    """Text of a server on one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _cut(text: str) -> str:
    return text if len(text) <= MAX_WORDS else f"{text[:MAX_WORDS]}…"
