"""Fixtures of the Metaflow side: a person's machine, with nothing set up for Flyte."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import session_store as session_store
from tests.metaflow_side.flows import Metaflow


@pytest.fixture
def metaflow(tmp_path: Path, session_store: Path) -> Metaflow:
    return Metaflow(tmp_path, session_store)
