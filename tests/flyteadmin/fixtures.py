"""A Flyte for acceptance tests: the double, or the whole one that MFBUILD_TEST_FLYTE names.

    from tests.flyteadmin.fixtures import flyte_place

    def test_something(flyte_place: Place) -> None: ...

MFBUILD_TEST_FLYTE is `host:port`, without TLS, or `https://host[:port]`; MFBUILD_TEST_FLYTE_PROJECT
a project there, by default `flytesnacks`. Whoever tests against it uses names that nobody else has,
and asks `double` for calls and faults only where it is not None.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.flyteadmin.double import Double, flyteadmin

PROJECT = "flytesnacks"


@dataclass(frozen=True)
class Place:
    """Where tests register: `endpoint` is `host:port`; `double` is None for a whole Flyte."""

    endpoint: str
    insecure: bool
    project: str
    double: Double | None


@pytest.fixture
def flyte_place(tmp_path: Path) -> Iterator[Place]:
    """A Flyte with the domains development, staging and production."""
    if named := os.environ.get("MFBUILD_TEST_FLYTE"):
        endpoint = named.removeprefix("https://")
        project = os.environ.get("MFBUILD_TEST_FLYTE_PROJECT", PROJECT)
        yield Place(endpoint, endpoint == named, project, None)
        return
    with flyteadmin(tmp_path / "flyteadmin", projects=(PROJECT,)) as double:
        yield Place(double.endpoint, True, PROJECT, double)
