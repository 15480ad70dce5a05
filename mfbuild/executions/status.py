"""How executions stand: as lines, as JSON, and as an error where one has failed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from mfbuild.errors import RunError, named
from mfbuild.executions.memory import OUT_OF_MEMORY, advice, ran_out, steps_that_ran_out
from mfbuild.executions.progress import duration
from mfbuild.flyte.backend import Execution, TaskRun


def execution_line(execution: Execution) -> str:
    """An execution as a line of a list: name, phase, version, when it began, how long it took."""
    began = execution.began.astimezone().strftime("%Y-%m-%d %H:%M:%S") if execution.began else "-"
    words = [
        f"{execution.id.name:20}",
        f"{execution.phase:9}",
        f"{execution.of.name}@{execution.of.version[:12]}",
        began,
        duration(execution.began, execution.ended),
        _reason(execution.error),
    ]
    return "  ".join(word for word in words if word)


def execution_json(execution: Execution, tasks: Sequence[TaskRun]) -> dict[str, object]:
    """An execution and its tasks for machines; moments as ISO 8601."""
    return {
        "name": execution.id.name,
        "project": execution.id.project,
        "domain": execution.id.domain,
        "flow": execution.of.name,
        "version": execution.of.version,
        "phase": execution.phase,
        "began": _time(execution.began),
        "ended": _time(execution.ended),
        "error": execution.error,
        "tasks": [
            {
                "node": task.node,
                "task": task.task,
                "phase": task.phase,
                "attempt": task.attempt,
                "began": _time(task.began),
                "ended": _time(task.ended),
                "error": task.error,
                "logs": dict(task.logs),
            }
            for task in tasks
        ],
    }


def check_succeeded(execution: Execution, pathspec: str, tasks: Sequence[TaskRun]) -> None:
    """RunError if an execution with these tasks has ended otherwise than well."""
    if execution.phase == "succeeded":
        return
    told, hint = (
        execution.error,
        f"its logs: mfbuild logs {execution.id.name} -d {execution.id.domain}",
    )
    if steps := steps_that_ran_out(tasks):
        told, hint = f"{OUT_OF_MEMORY}: {named(steps)}", f"{advice(steps)}; {hint}"
    raise RunError(f"`{pathspec}` {execution.phase}" + (f": {told}" if told else ""), hint=hint)


def _reason(error: str | None) -> str:
    return OUT_OF_MEMORY if ran_out(error) else (error or "").strip().partition("\n")[0][:200]


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
