"""What Metaflow's clients of datastores write beside themselves while logs are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mfbuild.executions.logs import Logs, show_logs


def test_nothing_is_left_in_the_folder_of_the_datastore(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Metaflow's S3 makes folders there, and does not come to remove them when it is ended."""
    python, folder = tmp_path / "python", tmp_path / "flow"
    python.write_text('#!/bin/sh\nmkdir "${METAFLOW_ARTIFACT_LOCALROOT:=.}/metaflow.s3.x"\npwd\n')
    python.chmod(0o755)
    folder.mkdir()
    show_logs(python, os.environ, Logs("TrainFlow", "flyte-r1"), folder=folder)
    assert capfd.readouterr().out == f"{folder}\n"
    assert list(folder.iterdir()) == []
