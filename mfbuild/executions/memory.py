"""Steps that ran out of memory, as Kubernetes and the runtime name it, and what to write."""

from __future__ import annotations

from collections.abc import Sequence

from mfbuild.errors import named
from mfbuild.flyte.backend import TaskRun
from mfbuild.flyte.names import base_name

OUT_OF_MEMORY = "out of memory (OOMKilled)"


def ran_out(error: str | None) -> bool:
    """Whether the error of a task or an execution comes of a container's limit of memory.

    It may stand anywhere in Flyte's words: `[primary] terminated with exit code (137). Reason
    [OOMKilled]. Message: .` (flyteplugins, flytek8s/pod_helper.go).
    """
    return "OOMKilled" in (error or "")


def steps_that_ran_out(tasks: Sequence[TaskRun]) -> list[str]:
    """The steps whose tasks failed so, each once."""
    failed = (task for task in tasks if task.phase == "failed" and ran_out(task.error))
    return list(dict.fromkeys(base_name(task.task) for task in failed))


def advice(steps: Sequence[str]) -> str:
    """The line to write for `steps`."""
    where = f"step {named(steps)}" if len(steps) == 1 else f"the steps {named(steps)}"
    return f"ask for more memory, in MB, above {where}: `@resources(memory=…)`"
