"""The two ways to Flyte from Metaflow: `flow.py flyte run`, and the Deployer elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.threeways.seen import options
from tests.threeways.workspace import PARAMETERS, run_first

FIRST = ("flows/nested_foreach.py", "flows/parameters.py", "examples/branch/flow.py")
"""Those that run where not all are asked for."""
NOT_DEPLOYED = {
    "tutorials/03-playlist-redux/playlist.py": "reads a run of another flow, in its own namespace"
}
"""What is deployed has a namespace of its own, that of its production token."""
TYPED: Mapping[str, Mapping[str, Any]] = {
    "flows/parameters.py": {"needed": "given", "named": ["deploy", "named"]}
}
"""Parameters as the Deployer takes them."""

DEPLOYER = """
import json, sys
from metaflow import Deployer

flow, options, given = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
deployed = Deployer(flow, show_output=False, **options).flyte().create()
run = deployed.trigger(**given)
run.wait_for_completion(check_interval=1)
print(run.status, run.pathspec)
"""
"""It never imports the flow."""


@dataclass(frozen=True)
class Person:
    """Somebody in the folder `cwd`, whose Metaflow keeps its metadata in `metadata`."""

    cwd: Path
    metadata: Path
    environment: Mapping[str, str]

    def python(self, *words: str | Path) -> str:
        """What a process of the interpreter prints, which must succeed."""
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.cwd,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def runs_of(name: str, folder: Path, person: Person) -> tuple[str, list[str]]:
    """Run a flow of the workspace `folder` each way; its name, and the runs' ids."""
    runs = []
    ways = (by_command_line,) if name in NOT_DEPLOYED else (by_command_line, by_deployer)
    for way in ways:
        for flow in run_first(name):
            own_name, _, run = way(person, folder / flow, flow).partition("/")
        runs.append(run)
    return own_name, runs


def by_command_line(person: Person, file: Path, flow: str) -> str:
    """The pathspec of a run of the flow `flow`, which is in `file`, by `flow.py flyte run`."""
    run_id = person.cwd / "flyte-run-id"
    given = options(PARAMETERS.get(flow, {}))
    person.python(file, *_top(file), "flyte", "run", "--run-id-file", run_id, *given)
    (found,) = person.metadata.glob(f".metaflow/*/{run_id.read_text()}")
    return f"{found.parent.name}/{found.name}"


def by_deployer(person: Person, file: Path, flow: str) -> str:
    """The pathspec of a run of it by the Deployer."""
    chosen = json.dumps({"environment": "pypi"} if _top(file) else {})
    given = json.dumps(TYPED.get(flow, {}))
    status, pathspec = person.python("-c", DEPLOYER, file, chosen, given).split()[-2:]
    assert status == "Succeeded"
    return pathspec


def _top(file: Path) -> list[str]:
    """Metaflow wants to be told that @pypi is meant."""
    return ["--environment=pypi"] if "@pypi(" in file.read_text() else []
