"""A client of the double of flyteadmin that hardly waits, and tells how long it would have."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from mfbuild.flyte.admin.client import Client
from mfbuild.flyte.admin.executions import AdminExecutions
from mfbuild.flyte.admin.registrations import AdminRegistrations
from mfbuild.flyte.settings import Settings
from tests.flyteadmin.double import Double


@dataclass
class Place:
    """The ports over a double; `waited` are the seconds of each pause."""

    double: Double
    settings: Settings
    seconds: float = 10.0
    waited: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = Client(self.settings, {}, self._pause, self.seconds)
        self.registrations = AdminRegistrations(self.client)
        self.executions = AdminExecutions(self.client)

    def _pause(self, seconds: float) -> None:
        self.waited.append(seconds)
        time.sleep(0.02)


def place(double: Double, seconds: float = 10.0) -> Place:
    return Place(double, Settings(double.endpoint, "a test", insecure=True), seconds)
