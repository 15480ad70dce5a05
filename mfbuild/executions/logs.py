"""The logs of an execution, which Metaflow's datastore has: where they are, and what they say."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mfbuild.errors import FlyteError
from mfbuild.flow import probe_logs
from mfbuild.flow.options import value_of
from mfbuild.flyte.backend import Execution, Executions
from mfbuild.flyte.names import base_name
from mfbuild.runtime.run import Run

_PROBE = Path(probe_logs.__file__)


@dataclass(frozen=True, slots=True)
class Logs:
    """The logs of a run: of all tasks, of one `step`, or of an `attempt` of one `task` of it.

    `datastore` is the type and the root of a datastore that is not the one of the settings.
    """

    flow: str
    run: str
    step: str | None = None
    task: str | None = None
    attempt: int | None = None
    datastore: tuple[str, str] | None = None


def logs_of(executions: Executions, execution: Execution, step: str | None = None) -> Logs:
    """Where the tasks of an execution, or those of one step, write their logs.

    The task of a local run writes into that one, in the datastore of whoever has started it.
    FlyteError if what the execution was given cannot be read.
    """
    try:
        run = Run.parse(executions.run_input(execution.id), execution.id.name)
    except ValueError as error:
        raise FlyteError(f"the run of `{execution.id.name}` is not known: {error}") from error
    if run.task is None:
        return Logs(execution.flow, run.id, step)
    kind, root = (value_of(run.task.options, f"--{n}") for n in ("datastore", "datastore-root"))
    return Logs(
        flow=execution.flow,
        run=run.id,
        step=step or base_name(execution.of.name),
        task=run.task.id,
        attempt=run.task.attempt,
        datastore=(kind, root) if kind and root else None,
    )


def show_logs(
    python: Path,
    env: Mapping[str, str],
    logs: Logs,
    *,
    folder: Path,
    follow: Callable[[], None] | None = None,
) -> None:
    """Print `logs` to stdout, read by `python` under Metaflow's settings `env`.

    A datastore in files is the one that Metaflow would use in `folder`.

    With `follow`, goes on while that is at work, and prints what was written until it returned.
    FlyteError where the datastore cannot be read, BrokenPipeError where nobody reads stdout.
    """
    request = {**asdict(logs), "follow": follow is not None}
    with (
        tempfile.TemporaryDirectory() as scratch,  # Metaflow's S3 would use `folder`, and leave it
        subprocess.Popen(
            [python, _PROBE, json.dumps(request)],
            stdin=subprocess.PIPE,
            env={**env, "METAFLOW_ARTIFACT_LOCALROOT": scratch},
            cwd=folder,
            start_new_session=True,  # ^C is for us, who end it
        ) as child,
    ):
        try:
            if follow:
                follow()
            child.communicate()  # closes its stdin: it looks once more
        except BaseException:
            child.terminate()
            raise
    if child.returncode == -signal.SIGPIPE:
        raise BrokenPipeError
    if child.returncode:
        raise FlyteError(
            f"the logs of `{logs.flow}/{logs.run}` cannot be read from Metaflow's datastore",
            hint="its settings are those of the domain in BUILD.toml, and the credentials yours",
        )
