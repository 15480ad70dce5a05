"""Loads flows in tests: an environment of their own, and a cache folder per loader."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mfbuild.flow.load import Loaded, load_flow

START = """
from metaflow import FlowSpec, Parameter, step


class F(FlowSpec):
"""
STEPS = """
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    F()
"""
FLOW = START + STEPS


@dataclass(frozen=True)
class Loader:
    """`load` with a workspace and settings that are the test's own; no $USER, no profile."""

    workspace: Path
    cache: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def __call__(
        self,
        name: str = "flow.py",
        *,
        options: Sequence[str] = (),
        refresh: bool = False,
        datastores: Sequence[str] = (),
        **env: str,
    ) -> Loaded:
        return load_flow(
            self.workspace / name,
            workspace=self.workspace,
            python=Path(sys.executable),
            options=options,
            cache_dir=self.cache,
            refresh=refresh,
            datastores=datastores,
            env=self.environment(**env),
        )

    def environment(self, **more: str) -> dict[str, str]:
        home = str(self.cache / "home")
        return {"HOME": home, "PATH": os.environ["PATH"], **self.env, **more}
