"""The logs of an execution, which Metaflow's datastore has: where they are, and what they say."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mfbuild.config import Config
from mfbuild.errors import FlyteError, UsageError, did_you_mean
from mfbuild.executions.trigger import wait
from mfbuild.flow import probe_logs
from mfbuild.flow.options import value_of
from mfbuild.flyte.backend import Execution, ExecutionId, Executions
from mfbuild.flyte.names import base_name
from mfbuild.local.record.lock import is_held
from mfbuild.local.record.state import RUN_JSON, RUNS, read_info
from mfbuild.push.record import metaflow_settings
from mfbuild.push.target import PushTarget
from mfbuild.runtime.run import Run

_PROBE = Path(probe_logs.__file__)
_POLL = 0.5


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


@dataclass(frozen=True, slots=True)
class LogSource:
    """Where logs are read: a local datastore from `folder`, under Metaflow's `settings`.

    `until_end` returns when what writes them has ended.
    """

    logs: Logs
    settings: Mapping[str, str]
    folder: Path
    until_end: Callable[[], None]


def run_here(word: str, root: Path) -> Path | None:
    """The folder of the run that `mfbuild run` has made under this name; it is in no domain."""
    folder = root / RUNS / word.rpartition("/")[2].removeprefix("flyte-")
    return folder if (folder / RUN_JSON).is_file() and not read_info(folder).entity else None


def source_of_run(folder: Path, step: str | None) -> LogSource:
    """The logs of a run of `mfbuild run`, in the datastore that it used."""

    def until_end() -> None:
        while is_held(folder):
            time.sleep(_POLL)

    info = read_info(folder)
    return LogSource(Logs(info.flow, info.run, step), {}, Path(info.here or Path.cwd()), until_end)


def source_of_execution(
    target: PushTarget, execution: Execution, config: Config, step: str | None
) -> LogSource:
    """The logs of an execution, or of a step of it; UsageError for one that did not run in it."""

    def until_end() -> None:
        wait(executions, execution.id)

    executions = target.backend.executions
    if step and execution.is_done:
        _check_step(step, executions, execution.id)
    folder = Path.cwd()
    if target.embedded:  # where the run was started
        folder = Path(read_info(config.root / RUNS / execution.id.name).here or config.root)
    return LogSource(
        logs=logs_of(executions, execution, step),
        settings=metaflow_settings(config.domains[execution.id.domain].metaflow),
        folder=folder,
        until_end=until_end,
    )


def read_logs(python: Path, environ: Mapping[str, str], source: LogSource, *, follow: bool) -> None:
    """Print logs to stdout, and with `follow` go on until their end; errors as of `show_logs`."""
    show_logs(
        python,
        {**environ, **source.settings},
        source.logs,
        folder=source.folder,
        follow=source.until_end if follow else None,
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


def _check_step(name: str, executions: Executions, id: ExecutionId) -> None:
    """UsageError if an execution that has ended ran no step of this name."""
    ran = {base_name(task.task) for task in executions.tasks(id)}
    if name not in ran:
        hint = did_you_mean(name, sorted(ran)) if ran else None
        raise UsageError(f"no step `{name}` has run in `{id.name}`", hint=hint)
