"""The flows that are run three ways: by Metaflow itself, by `mfbuild run` and on the engine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHAPES = {
    file.stem: file
    for file in (ROOT / "tests/flows").glob("*.py")
    if file.stem not in {"gang", "inherited_base"}
}
"""Every flow of tests/flows but one that Flyte cannot run (and a file that is none)."""
NOT_RUN = {"decorated": "asks a cloud for secrets"}
TUTORIALS = (
    "tutorials/00-helloworld/helloworld.py",
    "tutorials/01-playlist/playlist.py",
    "tutorials/02-statistics/stats.py",
    "tutorials/03-playlist-redux/playlist.py",
)
"""Metaflow's tutorials that need neither a network nor a cloud."""
FLOWS = (
    *(f"flows/{name}.py" for name in sorted(SHAPES.keys() - NOT_RUN.keys())),
    *sorted(str(file.relative_to(ROOT)) for file in ROOT.glob("examples/*/flow.py")),
    *TUTORIALS,
)
"""Every flow that is run, by its path in the workspace."""
# Metaflow's own run takes no list as a default, which its deployers do.
PARAMETERS = {"flows/parameters.py": {"needed": "given", "named": '["deploy", "named"]'}}
BEFORE = {"tutorials/03-playlist-redux/playlist.py": "tutorials/02-statistics/stats.py"}
"""The flow whose latest run a flow reads."""
LOCKED = "examples/train/flow.py"
"""The flow whose steps need packages. All that its step `train` has, the others can do with."""
METAFLOWS_OWN = {LOCKED: "metaflow/flow.py"}
"""What Metaflow itself runs in a flow's place: the same without @pypi.

With that it would make an environment, by a program that it downloads.
"""

# No more CPUs than a small machine has.
SETTINGS = {"packages": {}, "cpu": 1, "python": "3.11"}
PYPI_BASE = (
    '@pypi_base(packages=config_expr("settings.packages"), python=config_expr("settings.python"))\n'
)
CHANGED: Mapping[str, Mapping[str, str]] = {
    "flows/configured.py": {PYPI_BASE: ""},  # as in METAFLOWS_OWN
    # The rest is what these leave to chance, and to the order of a set.
    "tutorials/01-playlist/playlist.py": {
        "from random import choice": "choice = min",
        "from random import shuffle": "shuffle = list.sort",
    },
    "tutorials/02-statistics/stats.py": {"list(self.genres)": "sorted(self.genres)"},
    "tutorials/03-playlist-redux/playlist.py": {
        "from random import shuffle": "shuffle = list.sort",
        'random.randint(0, len(df["genres"]) - 1)': 'len(df["genres"]) // 2',
    },
}

FAILING = """
from metaflow import FlowSpec, Parameter, catch, current, retry, step


class FailingFlow(FlowSpec):
    failing = Parameter("failing")

    @step
    def start(self):
        assert self.failing != "start"
        self.items = [0, 1]
        self.next(self.body, foreach="items")

    @step
    def body(self):
        assert self.failing != "body" or self.input != 1
        self.next(self.join)

    @step
    def join(self, inputs):
        assert self.failing != "join"
        self.next(self.tried)

    @retry(times=2, minutes_between_retries=0)
    @step
    def tried(self):
        self.attempt = current.retry_count
        assert self.attempt == 2
        assert self.failing != "tried"
        self.next(self.caught)

    @catch(var="failure")
    @retry(times=1, minutes_between_retries=0)
    @step
    def caught(self):
        self.attempt = current.retry_count
        raise ValueError("always")
        self.next(self.end)

    @step
    def end(self):
        self.told = str(self.failure.exception)
        assert self.failing != "end"


if __name__ == "__main__":
    FailingFlow()
"""
"""It fails in the step that `failing` names, and in two steps that may."""
FAILING_FLOW = "failing/flow.py"
PLACES = ("nowhere", "start", "body", "join", "tried", "end")


def run_first(name: str) -> tuple[str, ...]:
    """What is to be run for a flow: what it reads the latest run of, and the flow itself."""
    return (BEFORE[name], name) if name in BEFORE else (name,)


def workspace(folder: Path, policy: str = "") -> Path:
    """A workspace with all flows, FAILING_FLOW, and `policy` in its BUILD.toml."""
    found = find_spec("metaflow")
    assert found is not None and found.submodule_search_locations
    tutorials = Path(found.submodule_search_locations[0]) / "tutorials"
    sources = {"flows": ROOT / "tests/flows", "examples": ROOT / "examples", "tutorials": tutorials}
    for name, source in sources.items():
        ignored = shutil.ignore_patterns("__pycache__", ".*", "gang.py")
        shutil.copytree(source, folder / name, ignore=ignored)
    (folder / "flows/settings.json").write_text(json.dumps(SETTINGS))
    for name, changes in CHANGED.items():
        text = (folder / name).read_text()
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        (folder / name).write_text(text)
    own = {file: (folder / name).read_text() for name, file in METAFLOWS_OWN.items()}
    more = {file: text.replace("@pypi(", "# (") for file, text in own.items()}
    for file, text in {**more, FAILING_FLOW: FAILING}.items():
        (folder / file).parent.mkdir()
        (folder / file).write_text(text)
    (folder / "BUILD.toml").write_text(policy)
    return folder
