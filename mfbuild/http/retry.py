"""The one loop that tries again: waits that grow, with jitter, or as long as a server asks for."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from mfbuild.http.errors import Passing
from mfbuild.http.parallel import Tick

T = TypeVar("T")

ATTEMPTS = 5
FIRST = 0.5
"""Seconds before the second attempt; each wait is twice the one before it, give or take half."""

LONGEST = 60.0
"""Seconds of one wait, whatever a server asks for."""


def persist(
    attempt: Callable[[], T],
    tick: Tick,
    sleep: Callable[[float], None] = time.sleep,
    patience: float = float("inf"),
) -> T:
    """What `attempt` gives; it is made again while it fails with Passing.

    The last Passing when it stays so: after ATTEMPTS, or when `patience` seconds are over. `tick`
    may end the waiting.
    """
    number, began = 1, time.monotonic()
    while True:
        try:
            return attempt()
        except Passing as failure:
            if number == ATTEMPTS or time.monotonic() - began > patience:
                failure.times = number
                raise
            after = failure.after
        wait = FIRST * 2 ** (number - 1) * random.uniform(0.5, 1.5)
        _pause(min(max(wait, after), LONGEST), tick, sleep)
        number += 1


def _pause(seconds: float, tick: Tick, sleep: Callable[[float], None]) -> None:
    """Wait, in small pieces so that `tick` can end it."""
    while seconds > 0:
        tick(0)
        sleep(min(seconds, 0.25))
        seconds -= 0.25
