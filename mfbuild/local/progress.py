"""Shows a run through the reporter of every other verb: a line for each step that ends."""

from __future__ import annotations

from dataclasses import dataclass

from mfbuild.local.model import Attempt, Failure
from mfbuild.report import PlainReporter


def step_of(task: str) -> str:
    """The step that a task `<Flow>.<step>` runs."""
    return task.rpartition(".")[2]


def place_of(attempt: Attempt) -> str:
    """Where in its foreaches an attempt stands, outermost first: `0/3`, "" outside."""
    path = attempt.values.get("path")
    parts = [path.scalar.primitive.string_value] if path else []
    if split := attempt.values.get("split"):
        parts.append(str(split.scalar.primitive.integer))
    return "/".join(part for part in parts if part)


def label_of(attempt: Attempt) -> str:
    """What people call an attempt: its step, its place, and which iteration it is of a loop."""
    words = [step_of(attempt.task.id.name), place_of(attempt)]
    iteration = attempt.values.get("iteration")
    if iteration and iteration.scalar.primitive.integer:
        words.append(f"#{iteration.scalar.primitive.integer}")
    return " ".join(word for word in words if word)


@dataclass(slots=True)
class Progress:
    """A watcher that tells a reporter. Steps inside a foreach are set in below it."""

    reporter: PlainReporter
    attempts: int = 0

    def started(self, attempt: Attempt) -> None:
        self.attempts += 1
        again = f"attempt {attempt.number}" if attempt.number else ""
        self.reporter.started(_indented(attempt), again)

    def ended(self, attempt: Attempt, seconds: float, failure: Failure | None, again: bool) -> None:
        how = "failed" if failure else "done"
        self.reporter.finished(_indented(attempt), how, seconds)
        if failure and again:
            self.reporter.note(f"  {failure.message}: attempt {attempt.number + 1} follows")

    def tick(self) -> None:
        self.reporter.progress("", 0, None)


def _indented(attempt: Attempt) -> str:
    place = place_of(attempt)
    return "  " * (place.count("/") + bool(place)) + label_of(attempt)
