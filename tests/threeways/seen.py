"""A run by Metaflow itself, and what its Client sees of any run."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uv import find_uv_bin

from tests.e2e.conftest import Runner, run_tool
from tests.threeways.workspace import LOCKED, METAFLOWS_OWN

USER = "tester"


@dataclass(frozen=True)
class Seen:
    """A run through Metaflow's Client.

    By step: of each task its place in foreaches, attempts, whether it succeeded, and artifacts.
    """

    successful: bool
    tasks: Mapping[str, Sequence[tuple[tuple[int, ...], int, bool, Mapping[str, Any]]]]

    @property
    def attempts(self) -> int:
        """How many attempts there were of all steps that a user wrote."""
        own = (tasks for step, tasks in self.tasks.items() if step != "_parameters")
        return sum(attempts for tasks in own for _, attempts, _, _ in tasks)


def options(parameters: Mapping[str, str]) -> list[str]:
    """Parameters as `flow.py run` and `mfbuild run` take them."""
    return [word for name, value in parameters.items() for word in (f"--{name}", value)]


def environment(root: Path, **settings: str) -> dict[str, str]:
    """The variables that make Metaflow keep its files in `root`, as the user USER."""
    own = {"METAFLOW_USER": USER, "METAFLOW_DEFAULT_METADATA": "local"}
    return {**os.environ, **own, "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(root), **settings}


def run_by_metaflow(
    flow: str, workspace: Path, root: Path, parameters: Mapping[str, str], python: Path
) -> str:
    """The id of a run by Metaflow itself, `python flow.py run`, with its datastore in `root`.

    Steps that may run at once run one after the other.
    """
    file = workspace / METAFLOWS_OWN.get(flow, flow)
    id_file = root / "id"
    id_file.unlink(missing_ok=True)
    done = subprocess.run(
        [python, file, "--no-pylint", "run", "--max-workers=1",
         "--run-id-file", id_file, *options(parameters)],
        cwd=file.parent,
        env=environment(root),
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert id_file.exists(), done.stderr  # a run that fails has one too
    return id_file.read_text()


def seen(flow: str, runs: Sequence[str], root: Path, **settings: str) -> list[Seen]:
    """Runs of one flow. Their metadata is in `root`; their artifacts too, unless `settings` say."""
    script = Path(__file__).with_name("client.py")
    done = subprocess.run(
        [sys.executable, script, flow, *runs],
        env=environment(root, **settings),
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
    return [Seen(*found) for found in pickle.loads(done.stdout)]


def python_for(flow: str, workspace: Path, mfbuild: Runner) -> Path:
    """An interpreter that has what the steps of a flow of the workspace need, in their versions."""
    if flow != LOCKED:
        return Path(sys.executable)
    venv = workspace / "venv"
    if not venv.exists():
        export = ("lock", "--export", "pylock", "-o", venv.with_name("locks"), flow)
        for words in (("lock", flow), export):
            done = mfbuild(*words, cwd=workspace)
            assert done.code == 0, done.err
        lock = venv.with_name("locks") / "pylock.train.toml"
        run_tool(find_uv_bin(), "venv", "-q", "--python", sys.executable, venv)
        run_tool(find_uv_bin(), "pip", "install", "-q", "--python", venv, "-r", lock)
    return venv / "bin/python"
