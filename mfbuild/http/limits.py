"""How slow a server may be: the one place where that is set, for every transfer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mfbuild.errors import UsageError
from mfbuild.http.errors import RequestError

SECONDS = "MFBUILD_TRANSFER_SECONDS"
SPEED = "MFBUILD_TRANSFER_SPEED"


@dataclass(frozen=True, slots=True)
class Limits:
    """A transfer, which is a file or a document with all its attempts, may take `seconds`.

    A connection on which less than `speed` bytes a second move for `window` seconds is broken, to
    be tried again; so is one on which nothing comes for `silence` seconds, or for `storing` after
    something was sent, which servers may copy before they answer.
    """

    seconds: int = 3600
    speed: int = 1000
    window: float = 60.0
    connect: float = 15.0
    silence: float = 60.0
    storing: float = 300.0

    def timeout(self, sends: bool) -> tuple[float, float]:
        """What requests takes: seconds to connect, and to wait for bytes."""
        return self.connect, self.storing if sends else self.silence


LIMITS = Limits()


def limits_of(environ: Mapping[str, str]) -> Limits:
    """LIMITS with what the environment says otherwise; UsageError for what is not a number."""
    found = LIMITS
    if text := environ.get(SECONDS):
        found = replace(found, seconds=_number(SECONDS, text))
    if text := environ.get(SPEED):
        found = replace(found, speed=_number(SPEED, text))
    return found


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:10]) < 10**9):
        raise UsageError(f"`{name}` must be a whole number above 0, not `{text}`")
    return int(text)


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a transfer that begins now is to have ended."""

    limits: Limits
    at: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", time.monotonic() + self.limits.seconds)

    def check(self) -> None:
        """RequestError when it is over."""
        if time.monotonic() > self.at:
            reason = f"takes more than the `{self.limits.seconds}` seconds of a transfer"
            raise RequestError(reason, f"`{SECONDS}` allows more")
