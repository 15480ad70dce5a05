"""The same work for many items in several threads, ended by the first failure or by ^C."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection
from queue import Empty, SimpleQueue
from typing import TypeVar

from mfbuild.errors import Interrupted

T = TypeVar("T")
Tick = Callable[[int], None]
"""Hears how many bytes have moved; may raise, to end the work."""

_LOOK = 0.5


def for_each(items: Collection[T], work: Callable[[T, Tick], None], jobs: int) -> None:
    """Call `work(item, tick)` for each of `items`, begun in their order, at most `jobs` at once.

    Raises the first failure; from then on `tick` raises Interrupted. KeyboardInterrupt does not
    wait for the threads, which a silent server may hold up for long: they are daemons.
    """
    waiting, ended = deque(items), SimpleQueue[BaseException | None]()
    cancelled = threading.Event()

    def tick(count: int) -> None:
        if cancelled.is_set():
            raise Interrupted("interrupted")

    def go() -> None:
        try:
            while not cancelled.is_set():
                try:
                    item = waiting.popleft()
                except IndexError:
                    break
                work(item, tick)
            ended.put(None)
        except BaseException as error:
            cancelled.set()
            ended.put(error)

    threads = [threading.Thread(target=go, daemon=True) for _ in range(min(jobs, len(items)))]
    try:
        for thread in threads:
            thread.start()
        failures = [error for _ in threads if (error := _next(ended))]
    except BaseException:
        cancelled.set()
        raise
    if failures:
        raise next((e for e in failures if not isinstance(e, Interrupted)), failures[0])


def _next(ended: SimpleQueue[BaseException | None]) -> BaseException | None:
    """What the next thread has ended with. A signal that another thread of the process was given
    wakes nobody who waits without end, so this looks up now and then."""
    while True:
        try:
            return ended.get(timeout=_LOOK)
        except Empty:
            continue
