"""Runs a flow by `mfbuild run` and by Metaflow itself, and reads back what each of them left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Done, Runner

READER = Path(__file__).parents[1] / "runtime/print_artifacts.py"


def settings(root: Path) -> dict[str, str]:
    """A local datastore below `root`, and a user."""
    root.mkdir(parents=True, exist_ok=True)
    return {"METAFLOW_DATASTORE_SYSROOT_LOCAL": str(root), "METAFLOW_USER": "ada"}


def ours(mfbuild: Runner, flow: Path, root: Path, *words: str, **env: str) -> Done:
    """`mfbuild run` of `flow`, started in its folder, with its datastore below `root`."""
    return mfbuild("run", flow.name, *words, cwd=flow.parent, **settings(root), **env)


def theirs(flow: Path, root: Path, *words: str) -> Done:
    """`python flow.py run`, started in its folder, with its datastore below `root`."""
    done = subprocess.run(
        [sys.executable, flow.name, "run", *words],
        cwd=flow.parent,
        env={**os.environ, **settings(root)},
        capture_output=True,
        text=True,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def artifacts(root: Path, run: str | None = None) -> Mapping[str, Any]:
    """The artifacts of a run (the only one if it is not named), by step, through the Client."""
    if run is None:
        (latest,) = root.glob(".metaflow/*/latest_run")
        run = latest.read_text()
    done = subprocess.run(
        [sys.executable, READER, run.rpartition("/")[2]],
        env={**os.environ, **settings(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def attempts(folder: Path) -> list[tuple[str, int, str]]:
    """Every attempt that the only run below `folder` made: node, number and how it ended."""
    (journal,) = folder.glob(".mfbuild/runs/*/journal")
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    return [(e["node"], e["attempt"], e["phase"]) for e in lines if e["phase"] != "running"]
