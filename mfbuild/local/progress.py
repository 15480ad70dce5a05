"""Shows a run through the reporter of every other verb: a line per task, or a tree of steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mfbuild.flow.spec import StepSpec
from mfbuild.flyte.names import ITERATION, PATH, SPLIT, base_name
from mfbuild.local.workflow.model import Attempt, AttemptFailure
from mfbuild.report import PlainReporter


def position_of(attempt: Attempt) -> str:
    """Where in its foreaches an attempt stands, outermost first: `0/3`, "" outside."""
    path = attempt.values.get(PATH)
    parts = [path.scalar.primitive.string_value] if path else []
    if split := attempt.values.get(SPLIT):
        parts.append(str(split.scalar.primitive.integer))
    return "/".join(part for part in parts if part)


def label_of(attempt: Attempt) -> str:
    """What people call an attempt: its step, its position, and which iteration it is of a loop."""
    words = [base_name(attempt.task.id.name), position_of(attempt)]
    iteration = attempt.values.get(ITERATION)
    if iteration and iteration.scalar.primitive.integer:
        words.append(f"#{iteration.scalar.primitive.integer}")
    return " ".join(word for word in words if word)


@dataclass(slots=True)
class StepLine:
    """What a tree shows of one step; `depth` is the number of foreaches around it."""

    name: str
    depth: int
    running: int = 0
    done: int = 0
    again: int = 0
    aborted: int = 0
    failed: int = 0
    began: float | None = None
    ended: float = 0.0

    def text(self, width: int, now: float) -> str:
        """`  body    3 done, 2 running   1.2 s`, its name in `width` columns."""
        counts = {"done": self.done, "running": self.running, "again": self.again}
        counts |= {"aborted": self.aborted, "FAILED": self.failed}
        one = self.depth == 0 and sum(counts.values()) == 1
        said = [word if one else f"{n} {word}" for word, n in counts.items() if n]
        name = f"{'  ' * self.depth}{self.name}".ljust(width)
        if self.began is None:
            return f"  {name}  waiting"
        seconds = (now if self.running else self.ended) - self.began
        return f"  {name}  {', '.join(said).ljust(24)} {seconds:7.1f} s"


@dataclass(slots=True)
class Progress:
    """A watcher that tells a reporter, of each task or, on a terminal, of the tree of steps."""

    reporter: PlainReporter
    steps: dict[str, StepLine]
    clock: Callable[[], float] = time.monotonic
    _drawn: bool = field(default=False, init=False)

    @classmethod
    def of(cls, reporter: PlainReporter, steps: Iterable[StepSpec]) -> Progress:
        """A watcher of the flow that has these steps, which begins to be shown."""
        steps = list(steps)
        foreaches = {step.name for step in steps if step.type == "foreach"}
        lines = {
            s.name: StepLine(s.name, sum(parent in foreaches for parent in _around(s)))
            for s in steps
        }
        return cls(reporter, lines)

    def __post_init__(self) -> None:
        self._drawn = self.reporter.board(self.tree)

    def started(self, attempt: Attempt) -> None:
        line = self.steps[base_name(attempt.task.id.name)]
        line.running += 1
        line.began = line.began or self.clock()
        if not self._drawn:
            again = f"attempt {attempt.number}" if attempt.number else ""
            self.reporter.started(_indented(attempt), again)
        self.tick()

    def ended(
        self, attempt: Attempt, seconds: float, failure: AttemptFailure | None, again: bool
    ) -> None:
        line = self.steps[base_name(attempt.task.id.name)]
        line.running -= 1
        line.ended = self.clock()
        line.done += failure is None
        line.again += again
        aborted = failure is not None and failure.kind == "aborted"
        line.aborted += aborted
        line.failed += failure is not None and not again and not aborted
        if not self._drawn:
            said = "aborted" if aborted else "failed" if failure else "done"
            self.reporter.finished(_indented(attempt), said, seconds)
        if failure and again:
            label = label_of(attempt)
            follows = f"attempt {attempt.number + 1} follows"
            self.reporter.note(f"  {label}: {failure.message}: {follows}")
        self.tick()

    def tick(self) -> None:
        self.reporter.progress("", 0, None)

    def close(self) -> None:
        """Leave the tree as it is now."""
        if self._drawn:
            self.reporter.board(lambda: [])
            self.reporter.note("\n".join(self.tree()))

    def tree(self) -> list[str]:
        """A line for each step, in the order of the graph."""
        width = max(len(line.name) + 2 * line.depth for line in self.steps.values())
        now = self.clock()
        return [line.text(width, now) for line in self.steps.values()]


def _around(step: StepSpec) -> tuple[str, ...]:
    """The splits that are open at a step; a join closes the last of its own."""
    return step.split_parents[:-1] if step.type == "join" else step.split_parents


def _indented(attempt: Attempt) -> str:
    position = position_of(attempt)
    return "  " * (position.count("/") + bool(position)) + label_of(attempt)
