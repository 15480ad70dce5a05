"""Fixtures of the compiler's tests: the flows of tests/flows and examples, loaded once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from os import cpu_count, environ
from pathlib import Path

import pytest

from mfbuild.flow.load import load_flow
from mfbuild.flow.spec import FlowSpec
from tests.flyte.flows import FLOWS, ROOT


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], FlowSpec]:
    """The FlowSpec of a file, by its path from the repository's root."""
    folder = tmp_path_factory.mktemp("flows")

    @cache
    def spec(name: str) -> FlowSpec:
        return load_flow(
            ROOT / name,
            workspace=ROOT,
            python=Path(sys.executable),
            cache_dir=folder,
            env={"HOME": str(folder), "PATH": environ["PATH"], "USER": "someone"},
        ).spec

    with ThreadPoolExecutor(cpu_count()) as pool:
        list(pool.map(spec, FLOWS))
    return spec
