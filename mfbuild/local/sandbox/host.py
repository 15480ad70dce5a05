"""`--in host`: steps run in the caller's interpreter, with the caller's packages."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mfbuild.local.sandbox.environment import on_host
from mfbuild.local.sandbox.executor import LauncherStart
from mfbuild.local.sandbox.runtime_tree import LAUNCHER


@dataclass(frozen=True, slots=True)
class HostSandbox:
    """The Sandbox that is this machine as it is. `environ` is the caller's environment."""

    python: Path
    toolbox: Path
    environ: Mapping[str, str]

    def environment(self, image: str) -> str:
        return "host"

    def launch(self, environment: str, variables: Mapping[str, str]) -> LauncherStart:
        env = {**on_host(self.environ), **variables}
        # The runtime is no package of the caller's.
        paths = [str(self.toolbox / "lib"), env.get("PYTHONPATH", "")]
        env["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        python = str(self.python)
        return LauncherStart((python, str(self.toolbox / LAUNCHER)), env, python)

    def close(self) -> None:
        """Nothing is kept."""
