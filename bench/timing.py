"""Whole commands timed in turn, so that a machine's drift hits all of them alike."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass
class Timed:
    """A command, what to do before each of its runs, and the wall seconds that they took."""

    name: str
    command: Sequence[str]
    before: Callable[[], None] = lambda: None
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def run(self) -> None:
        """Run it once; CalledProcessError with its stderr when it fails."""
        self.before()
        began = time.perf_counter()
        done = subprocess.run(
            self.command,
            # As on people's machines: bytecode is kept, whatever the shell of this one says.
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": ""} | dict(self.env),
            cwd=self.cwd,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.seconds.append(time.perf_counter() - began)
        if done.returncode:
            raise SystemExit(f"{self.name} failed:\n{done.stderr}")


def in_turn(timed: Sequence[Timed], runs: int) -> None:
    """One warm-up of each, then `runs` rounds of all."""
    for one in timed:
        one.run()
        one.seconds.clear()
    for _ in range(runs):
        for one in timed:
            one.run()


def table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def times(timed: Timed) -> str:
    """`min / median` in seconds."""
    return f"{min(timed.seconds):.3f} / {timed.median:.3f}"
