"""What runs on the engine: only with `scripts/test --cluster`, and where the machine has it all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.build import missing, program
from tests.cluster.engine import Engine, engine
from tests.flyteadmin.double import Double
from tests.flyteadmin.engine_executor import flyteadmin_on


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run every flow on the engine, not three")


@pytest.fixture(scope="session")
def flyte(pytestconfig: pytest.Config) -> Iterator[Engine]:
    """The engine, one for the session."""
    # The option is known only where this folder was named on the command line.
    if not hasattr(pytestconfig.option, "all"):
        pytest.skip("the engine is started by `scripts/test --cluster`")
    if lacks := missing():
        pytest.skip(f"the engine needs {', '.join(lacks)}")
    with engine() as running:
        yield running


@pytest.fixture(scope="module")
def admin(flyte: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    """The double of flyteadmin in front of it, to which it reports."""
    with flyteadmin_on(flyte, tmp_path_factory.mktemp("flyteadmin")) as double:
        yield double


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder for sockets, whose paths have at most 107 characters."""
    with tempfile.TemporaryDirectory(prefix="mfbuild-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def compiler() -> None:
    """Flyte's compiler, which needs no engine."""
    if not program("flyteworkflow").exists():
        pytest.skip("flyteworkflow is not built (`scripts/test --cluster` builds it)")
