"""A double for its own tests, with the project and domain of entities made by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.build import program
from tests.cluster.handmade import DOMAIN, PROJECT
from tests.flyteadmin.double import Client, Double, flyteadmin


@pytest.fixture
def double(tmp_path: Path) -> Iterator[Double]:
    with flyteadmin(tmp_path, projects=(PROJECT, "other"), domains=(DOMAIN, "staging")) as running:
        yield running


@pytest.fixture
def client(double: Double) -> Iterator[Client]:
    with double.connect() as connected:
        yield connected


@pytest.fixture
def compiler() -> None:
    """Flyte's own compiler, without which the double takes workflows as they are."""
    if not program("flyteworkflow").exists():
        pytest.skip("flyteworkflow is not built (`scripts/test --cluster` builds it)")
