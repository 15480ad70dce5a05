"""The loop that tries again: how often, how long it waits, and what ends it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfbuild.errors import Interrupted
from mfbuild.http.errors import Passing
from mfbuild.http.retry import ATTEMPTS, LONGEST, persist
from tests.http.serving import nothing


def failing(*failures: Exception) -> Callable[[], str]:
    """An attempt that fails so, then gives a word."""
    left = list(failures)

    def attempt() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return attempt


@given(st.integers(0, ATTEMPTS - 1), st.floats(0, 1e9))
def test_waits_grow_and_are_at_least_what_a_server_asks_for(count: int, after: float) -> None:
    waited: list[float] = []
    failures = [Passing("failed", after) for _ in range(count)]
    assert persist(failing(*failures), nothing, waited.append) == "done"
    asked = min(after, LONGEST) * count
    assert asked - 1e-6 <= sum(waited) <= max(LONGEST, 12.0) * count
    assert all(0 < seconds <= 0.25 for seconds in waited), "in pieces, so that a tick can end it"
    if after == 0:
        grown = sum(0.5 * 2**n for n in range(count))
        assert 0.5 * grown <= sum(waited) <= 1.5 * grown


def test_the_last_failure_is_told() -> None:
    failures = [Passing(f"failed {n}", why="so") for n in range(ATTEMPTS)]
    with pytest.raises(Passing) as caught:
        persist(failing(*failures), nothing, lambda seconds: None)
    assert caught.value is failures[-1]
    assert str(caught.value) == f"failed {ATTEMPTS - 1}: so"


def test_two_clients_do_not_come_back_at_the_same_time() -> None:
    """The servers that answered `503` to many would get all of them at once again."""
    totals = set()
    for _ in range(5):
        waited: list[float] = []
        persist(failing(Passing("failed")), nothing, waited.append)
        totals.add(sum(waited))
    assert len(totals) == 5


def test_other_failures_are_final() -> None:
    waited: list[float] = []
    with pytest.raises(ValueError, match="no"):
        persist(failing(ValueError("no")), nothing, waited.append)
    assert waited == []


def test_patience_that_is_over() -> None:
    waited: list[float] = []
    with pytest.raises(Passing):
        persist(failing(Passing("failed"), Passing("again")), nothing, waited.append, patience=-1)
    assert waited == []


def test_a_tick_ends_the_waiting() -> None:
    def tick(count: int) -> None:
        if len(waited) == 2:
            raise Interrupted("interrupted")

    waited: list[float] = []
    with pytest.raises(Interrupted):
        persist(failing(Passing("failed", 30)), tick, waited.append)
    assert len(waited) == 2
