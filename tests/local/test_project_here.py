"""Flows with @project by `mfbuild run`: the branch and the tags of `python flow.py run`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mfbuild.local.record.state import read_info, read_journal
from tests.e2e.conftest import Runner
from tests.local.compared import ours, settings

FLOW = """
from metaflow import FlowSpec, current, project, step

@project(name="recsys")
class Flow(FlowSpec):
    @step
    def start(self):
        names = "project_name project_flow_name branch_name is_user_branch is_production username"
        self.seen = {name: getattr(current, name) for name in names.split()}
        self.next(self.end)
    @step
    def end(self):
        pass

if __name__ == "__main__":
    Flow()
"""

READER = """
import json
from metaflow import Flow, namespace
namespace(None)
run = Flow("Flow").latest_run
tags = [sorted(t for t in thing.tags if not t.startswith("runtime:")) for thing in
        (run, run["start"].task, run["end"].task)]
print(json.dumps([run["start"].task.data.seen, tags]))
"""


def seen(root: Path) -> Any:
    """What the latest run of the flow saw, and the tags that it has."""
    env = {**os.environ, **settings(root)}
    done = subprocess.run([sys.executable, "-c", READER], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("words", "env", "prefix"),
    [
        ([], {}, "recsys.user.ada."),
        (["--branch", "b1"], {}, "recsys.test.b1."),
        (["--branch=b1", "--production"], {}, "recsys.prod.b1."),
        (["--production"], {}, "recsys.prod."),
        ([], {"METAFLOW_BRANCH": "b2"}, "recsys.test.b2."),
        ([], {"METAFLOW_OWNER": "grace"}, "recsys.user.grace."),
    ],
)
def test_a_project_is_that_of_metaflow_s_own_run(
    mfbuild: Runner, tmp_path: Path, words: list[str], env: Mapping[str, str], prefix: str
) -> None:
    flow = tmp_path / "flow.py"
    flow.write_text(FLOW)
    options = [f"--flow-option={word}" for word in words]
    done = ours(mfbuild, flow, tmp_path / "ours", "--in", "host", *options, **env)
    assert done.code == 0, done.err
    subprocess.run(
        [sys.executable, "flow.py", *words, "run"],
        cwd=tmp_path,
        env={**os.environ, **settings(tmp_path / "theirs"), **env},
        check=True,
        capture_output=True,
    )
    found = seen(tmp_path / "ours")
    assert found == seen(tmp_path / "theirs")
    assert f"{found[0]['project_flow_name']}" == f"{prefix}Flow"
    (folder,) = (tmp_path / ".mfbuild/runs").iterdir()
    info = read_info(folder)
    assert (info.prefix, info.owner, info.here) == (prefix, "ada", str(tmp_path))
    tasks = [entry.task for entry in read_journal(folder) if entry.phase == "running"]
    assert tasks == [f"{prefix}Flow.start", f"{prefix}Flow.end"]
