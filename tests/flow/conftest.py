"""Fixtures of the flow tests: a loader on an empty workspace."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flow.loading import Loader


@pytest.fixture
def loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loader:
    """A loader whose workspace is empty and is the current folder."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    monkeypatch.chdir(workspace)
    return Loader(workspace, tmp_path / "cache")
