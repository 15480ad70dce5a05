"""An execution as people watch it: a line for each task, now or whenever it changes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

from mfbuild.executions.memory import OUT_OF_MEMORY, ran_out
from mfbuild.flyte.backend import Execution, TaskRun
from mfbuild.flyte.names import base_name
from mfbuild.report import PlainReporter

_SHOWN = 40


class Board:
    """Shows an execution through a reporter: in place on a terminal, else a line per change."""

    def __init__(self, reporter: PlainReporter) -> None:
        self._reporter = reporter
        self._lines: list[str] = []
        self._live = reporter.board(lambda: self._lines)
        self._told: dict[str, tuple[str, int]] = {}

    def show(self, execution: Execution, tasks: Sequence[TaskRun]) -> None:
        """Show how the execution and its tasks stand now."""
        self._lines = [] if execution.is_done else task_lines(tasks)[-_SHOWN:]
        if self._live:
            return
        for task in tasks:
            state = (task.phase, task.attempt)
            if self._told.get(task.node) != state and task.phase != "queued":
                self._told[task.node] = state
                self._reporter.note(task_line(task))


def task_lines(tasks: Sequence[TaskRun]) -> list[str]:
    """A line for each task, in columns."""
    width = max((len(_name(task)) for task in tasks), default=0)
    return [task_line(task, width) for task in tasks]


def task_line(task: TaskRun, width: int = 0) -> str:
    """`fit  succeeded  12 s  attempt 1`, with the error of one that failed."""
    words = [f"{_name(task):{width}}", f"{task.phase:9}", duration(task.began, task.ended)]
    if task.attempt:
        words.append(f"attempt {task.attempt}")
    if task.error and task.phase != "succeeded":
        last = task.error.strip().splitlines()[-1][:200]
        words.append(OUT_OF_MEMORY if ran_out(task.error) else last)
    return "  ".join(words).rstrip()


def duration(began: datetime | None, ended: datetime | None) -> str:
    """How long it took or takes, `12 s` or `3 min 20 s`; "" for what has not begun."""
    if began is None:
        return ""
    seconds = round(((ended or datetime.now(timezone.utc)) - began).total_seconds())
    minutes, rest = divmod(max(seconds, 0), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _name(task: TaskRun) -> str:
    """The step, and the node where that says more: `body[2]`."""
    step = base_name(task.task)
    last = task.node.rpartition("/")[2]
    return step if last.replace("-", "_") == step else f"{step} ({task.node})"
