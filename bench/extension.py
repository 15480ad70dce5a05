"""What `python flow.py flyte …` costs over Metaflow's own commands, and the extension over none.

A deployed flow of three steps, unchanged, on the embedded backend.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from timing import Timed, in_turn, table

FLOW = """
from metaflow import FlowSpec, step


class Flow(FlowSpec):
    @step
    def start(self):
        self.next(self.middle)

    @step
    def middle(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    Flow()
"""
WITHOUT = """
import sys

class NoExtension:
    def find_spec(self, name, path=None, target=None):
        if name == "metaflow_extensions":
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, NoExtension())
import metaflow
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--runs", type=int, default=10, help="rounds after one warm-up")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        print(measure(Path(work), options.runs))


def measure(work: Path, runs: int) -> str:
    flow = work / "flow.py"
    flow.write_text(FLOW)
    env = {
        "METAFLOW_USER": "bench",
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(work),
        "HOME": str(work),
    }

    def python(name: str, *words: str) -> Timed:
        return Timed(name, [sys.executable, *words], env=env, cwd=str(work))

    show = python("flow.py show", str(flow), "show")
    create = python("flow.py flyte create", str(flow), "flyte", "create")
    imported = python("import metaflow", "-c", "import metaflow")
    without = python("the same without extensions", "-c", WITHOUT)
    create.run()  # a first one makes the images
    in_turn([show, create, imported, without], runs)
    alive = [first_sign(flow, env) for _ in range(runs)]
    rows = [
        row("`flyte create`, unchanged, over `show`", create, show),
        row("`import metaflow` with the extension, over none", imported, without),
        [
            "first sign of life of `flyte run`, over `import metaflow`",
            f"{min(alive) - min(imported.seconds):.3f} s",
            f"{sorted(alive)[len(alive) // 2] - imported.median:.3f} s",
        ],
    ]
    return table(rows, ["figure", "minimum", "median"])


def row(name: str, ours: Timed, theirs: Timed) -> list[str]:
    """Seconds of `ours` over `theirs`: of the quickest runs, and the median of each round's."""
    rounds = sorted(a - b for a, b in zip(ours.seconds, theirs.seconds, strict=True))
    least = min(ours.seconds) - min(theirs.seconds)
    return [name, f"{least:.3f} s", f"{rounds[len(rounds) // 2]:.3f} s"]


def first_sign(flow: Path, env: Mapping[str, str]) -> float:
    """Seconds until `flyte run` has said anything."""
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, str(flow), "flyte", "run"],
        cwd=flow.parent,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "", **env},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    ) as process:
        assert process.stderr
        process.stderr.read(1)
        seconds = time.perf_counter() - began
        process.stderr.read()
    return seconds


if __name__ == "__main__":
    main()
