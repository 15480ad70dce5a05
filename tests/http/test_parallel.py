"""Work in several threads: begun in order, as many at once as allowed, ended by a failure."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from mfbuild.errors import FetchError, Interrupted
from mfbuild.http.parallel import Tick, for_each


@pytest.mark.parametrize("jobs", [1, 3, 8])
def test_each_is_done_once_and_begun_in_order(jobs: int) -> None:
    begun: list[int] = []
    for_each(range(100), lambda item, tick: begun.append(item), jobs)
    assert sorted(begun) == list(range(100))
    assert jobs > 1 or begun == sorted(begun)


def test_nothing_is_nothing() -> None:
    for_each((), lambda item, tick: pytest.fail("called"), 4)


def test_as_many_at_once_as_there_are_jobs() -> None:
    """Four meet, twice, or the barrier breaks; a fifth of them would be one too many."""
    together = threading.Barrier(4)
    running = threading.Semaphore(4)

    def work(item: int, tick: Tick) -> None:
        assert running.acquire(blocking=False)
        together.wait(30)
        running.release()

    for_each(range(8), work, 4)


def test_the_first_failure_ends_the_others() -> None:
    failed = threading.Event()
    begun: list[int] = []

    def work(item: int, tick: Tick) -> None:
        begun.append(item)
        if item == 1:
            failed.set()
            raise FetchError("no")
        failed.wait(30)
        while True:
            tick(0)

    with pytest.raises(FetchError, match="no"):
        for_each(range(100), work, 2)
    assert sorted(begun) == [0, 1]


def test_a_bug_is_raised_as_it_is() -> None:
    def work(item: int, tick: Tick) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        for_each([1], work, 1)


def test_an_interruption_from_outside_is_one() -> None:
    def work(item: int, tick: Tick) -> None:
        raise Interrupted("stopped")

    with pytest.raises(Interrupted, match="stopped"):
        for_each([1], work, 1)


STUCK = """
import os, signal, threading
from mfbuild.http.parallel import for_each

def work(item, tick):
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait()

try:
    for_each([1], work, 1)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_does_not_wait_for_a_thread_that_is_stuck() -> None:
    done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("interrupted\n", 0), done.stderr
