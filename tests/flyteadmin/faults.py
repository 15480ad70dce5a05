"""Faults: what goes wrong with a call, before or after it took effect."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from grpc import StatusCode

from tests.flyteadmin.refusals import Refused

PUT = "PUT"
"""The name of an upload, among those of RPCs."""


class Cut(Exception):
    """The connection is gone; nothing can be answered."""


@dataclass(frozen=True)
class Call:
    """A call that is being answered: `perform` does what it asks for, once."""

    rpc: str
    request: Any
    perform: Callable[[], Any]
    cut: Callable[[], None]


Fault = Callable[[Call], Any]
"""Answers a call in place of the double, or raises Refused or Cut."""


def cut(*, after: bool = False) -> Fault:
    """The connection breaks, before the call took effect or after, whatever it was answered."""

    def fault(call: Call) -> Any:
        if after:
            _perform(call)
        call.cut()
        raise Cut

    return fault


def answer(code: StatusCode, message: str = "injected", *, after: bool = False) -> Fault:
    """The call is answered with an error, before it took effect or after."""

    def fault(call: Call) -> Any:
        if after:
            _perform(call)
        raise Refused(code, message)

    return fault


def _perform(call: Call) -> None:
    """Do what a call asks for; what it would have been answered is lost."""
    with suppress(Refused):
        call.perform()


def delay(until: threading.Event, *, after: bool = False) -> Fault:
    """The answer is held back, before the call took effect or after, until the event is set.

    A minute at most, so that a test that fails before it does so ends.
    """

    def fault(call: Call) -> Any:
        if not after:
            until.wait(60)
        try:
            return call.perform()
        finally:
            if after:
                until.wait(60)

    return fault


def lie(change: Callable[[Any], None]) -> Fault:
    """The call takes effect, and `change` alters the answer in place."""

    def fault(call: Call) -> Any:
        response = call.perform()
        told = type(response)()
        told.CopyFrom(response)  # what was answered may be what is kept
        change(told)
        return told

    return fault


@dataclass
class Faults:
    """The faults that wait for their calls, and what was called.

    `calls` counts by name of RPC (uploads under PUT), `requests` has each call in its order.
    """

    calls: Counter[str] = field(default_factory=Counter)
    requests: list[tuple[str, Any]] = field(default_factory=list)
    _waiting: dict[tuple[str, int], Fault] = field(default_factory=dict)
    _always: dict[str, Fault] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, rpc: str, fault: Fault, *, call: int = 1) -> None:
        """Put a fault on the `call`-th call of `rpc` from now on."""
        with self._lock:
            self._waiting[rpc, self.calls[rpc] + call] = fault

    def always(self, rpc: str, fault: Fault | None) -> None:
        """Put a fault on every call of `rpc` that has none of its own; None takes it away."""
        with self._lock:
            if fault is None:
                self._always.pop(rpc, None)
            else:
                self._always[rpc] = fault

    def clear(self) -> None:
        """Take all faults away."""
        with self._lock:
            self._waiting.clear()
            self._always.clear()

    def answer(self, call: Call) -> Any:
        """Count a call and answer it, as its fault says if it has one."""
        with self._lock:
            self.calls[call.rpc] += 1
            self.requests.append((call.rpc, call.request))
            fault = self._waiting.pop((call.rpc, self.calls[call.rpc]), None)
            fault = fault or self._always.get(call.rpc)
        return fault(call) if fault else call.perform()
