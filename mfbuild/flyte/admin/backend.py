"""A Flyte as a backend."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from mfbuild.flyte.admin.client import Client
from mfbuild.flyte.admin.registrations import AdminRegistrations
from mfbuild.flyte.settings import Settings

if TYPE_CHECKING:
    from mfbuild.flyte.admin.executions import AdminExecutions


class AdminBackend:
    """Both ports of the Flyte at the endpoint `name`."""

    def __init__(self, name: str, client: Client) -> None:
        self.name = name
        self.registrations = AdminRegistrations(client)
        self._client = client

    @cached_property
    def executions(self) -> AdminExecutions:
        """Made when it is asked for: a push starts nothing."""
        from mfbuild.flyte.admin.executions import AdminExecutions

        return AdminExecutions(self._client)


def connect(settings: Settings, environ: Mapping[str, str]) -> AdminBackend:
    """The Flyte that `settings` name; the first call connects. It may be shared between threads.

    UsageError where the file of its authorities cannot be read; FlyteError where a server that
    is not to be verified shows no certificate.
    """
    return AdminBackend(settings.endpoint, Client(settings, environ))
