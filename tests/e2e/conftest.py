"""The whole program as people run it: processes, real indexes, one store for the session."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

FLOW = """
from metaflow import FlowSpec, Parameter, pypi, step

import helper


class SmallFlow(FlowSpec):
    alpha = Parameter("alpha", default=0.3)

    @pypi(packages={"six": "1.16.0"})
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        print(helper.GREETING)


if __name__ == "__main__":
    SmallFlow()
"""


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code, and what it printed."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


@dataclass(frozen=True)
class Runner:
    """Runs mfbuild as a process of its own, with a store."""

    store: Path
    env: Mapping[str, str] = field(default_factory=dict)
    python: str = sys.executable

    def __call__(self, *words: str | Path, cwd: Path, **env: str) -> Done:
        done = subprocess.run(
            [self.python, "-m", "mfbuild", *map(str, words)],
            cwd=cwd,
            env={**os.environ, "MFBUILD_STORE": str(self.store), **self.env, **env},
            capture_output=True,
            text=True,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def package(self, *words: str | Path, cwd: Path, **env: str) -> list[dict[str, Any]]:
        """The bundles that `mfbuild package --json` reports."""
        bundles: list[dict[str, Any]] = self(
            "package", "--json", "-q", *words, cwd=cwd, **env
        ).json()["bundles"]
        return bundles

    def version(self, *words: str | Path, cwd: Path, **env: str) -> str:
        """The version of the one bundle that a command makes."""
        (bundle,) = self.package(*words, cwd=cwd, **env)
        version: str = bundle["version"]
        return version


@pytest.fixture(scope="session")
def session_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for the session, so that packages are downloaded once.

    MFBUILD_TEST_CACHE keeps it from one session to the next.
    """
    kept = os.environ.get("MFBUILD_TEST_CACHE")
    return Path(kept) / "store" if kept else tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def mfbuild(session_store: Path) -> Iterator[Runner]:
    yield Runner(session_store)


def write_flow(folder: Path, files: Mapping[str, str] | None = None) -> Path:
    """The small flow, with the module that it imports, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {"flow.py": FLOW, "helper.py": 'GREETING = "hello"\n', **(files or {})}
    for name, text in contents.items():
        (folder / name).write_text(text)
    return folder / "flow.py"


def run_tool(*command: str | Path, **options: Any) -> str:
    """The output of a tool that must succeed."""
    words: Sequence[str] = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
    return str(done.stdout)
