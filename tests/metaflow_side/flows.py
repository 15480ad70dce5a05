"""Flows as files, and `python flow.py …` as people type it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Done

HELLO = """
from metaflow import FlowSpec, Parameter, flyte, project, step, trigger


{above}
class Hello(FlowSpec):
    who = Parameter("who", default="world")

    {start}
    @step
    def start(self):
        self.greeting = f"hello, {{self.who}}"
        self.next(self.end)

    @step
    def end(self):
        print(self.greeting)


if __name__ == "__main__":
    Hello()
"""


SLOW = """
import time
from metaflow import FlowSpec, flyte, step


class Slow(FlowSpec):
    {start}
    @step
    def start(self):
        with open({started!r}, "w") as file:
            file.write("x")
        time.sleep(600)
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    Slow()
"""


def hello(path: Path, above: str = "", start: str = "") -> Path:
    """A small flow in the file `path`, with decorators of the flow and of its first step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HELLO.format(above=above, start=start))
    return path


@dataclass(frozen=True)
class Metaflow:
    """Runs `python flow.py …`, with a datastore below `root`; in `cwd`, or the flow's folder."""

    root: Path
    store: Path
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    interpreter: str = sys.executable

    def __call__(self, flow: Path, *words: str, **env: str) -> Done:
        return replace(self, cwd=self.cwd or flow.parent).python(str(flow), *words, **env)

    def python(self, *words: str, **env: str) -> Done:
        """What a process of the interpreter leaves; no user is known but `ada`."""
        done = subprocess.run(
            [self.interpreter, *words],
            cwd=self.cwd or self.root,
            env={**self.environ, **env},
            capture_output=True,
            text=True,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    @property
    def environ(self) -> dict[str, str]:
        return {
            **os.environ,
            "HOME": str(self.root / "home"),
            "METAFLOW_USER": "ada",
            "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(self.root),
            "MFBUILD_STORE": str(self.store),
            **self.env,
        }

    def write(self, name: str, text: str) -> Path:
        """A flow in the folder of flows."""
        flow = self.root / "flows" / name
        flow.parent.mkdir(exist_ok=True)
        flow.write_text(text)
        return flow

    def slow(self, start: str = "") -> Path:
        """A flow that runs until it is ended, and writes `started` when it has begun."""
        self.started.parent.mkdir()
        return self.write("slow.py", SLOW.format(start=start, started=str(self.started)))

    @property
    def started(self) -> Path:
        return self.root / ".metaflow/started"

    def triggered(self, flow: Path, *words: str, top: Sequence[str] = ()) -> str:
        """The id of a run that was triggered, and has ended well."""
        file = self.root / "run-id"
        command = ("flyte", "trigger", "--wait", "--run-id-file", str(file))
        succeed(self(flow, *top, *command, *words))
        return file.read_text()

    def client(self, expression: str) -> Any:
        """What an expression of Metaflow's client says, as JSON; `run(id)` is one of any flow."""
        code = (
            "import json, metaflow; metaflow.namespace(None)\n"
            "def run(id):\n"
            "    return next(f[id] for f in metaflow.Metaflow() if id in {r.id for r in f})\n"
            f"print(json.dumps({expression}))"
        )
        done = replace(self, cwd=self.root).python("-c", code)
        assert done.code == 0, done.err
        return json.loads(done.out)


def text(done: Done) -> str:
    """What a command of Metaflow has told, in one line, without what colours it."""
    return " ".join(done.err.replace("\x1b[K", "").split())


def succeed(done: Done) -> Done:
    """`done`, which must have succeeded."""
    assert done.code == 0, done.err
    return done
