"""A Flyte as a backend."""

from __future__ import annotations

from dataclasses import dataclass

from mfbuild.flyte.admin.client import Client
from mfbuild.flyte.admin.executions import AdminExecutions
from mfbuild.flyte.admin.registrations import AdminRegistrations
from mfbuild.flyte.settings import Settings


@dataclass(frozen=True, slots=True)
class AdminBackend:
    """Both ports of the Flyte at the endpoint `name`."""

    name: str
    registrations: AdminRegistrations
    executions: AdminExecutions


def connect(settings: Settings) -> AdminBackend:
    """The Flyte that `settings` name; the first call connects. It may be shared between threads.

    UsageError where the file of its authorities cannot be read; FlyteError where a server that
    is not to be verified shows no certificate.
    """
    client = Client(settings)
    return AdminBackend(settings.endpoint, AdminRegistrations(client), AdminExecutions(client))
