"""`python flow.py flyte step`: one task of a local run, on Flyte."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaflow._vendor import click
from metaflow.exception import METAFLOW_EXIT_DISALLOW_RETRY
from metaflow.metadata_provider.util import sync_local_metadata_from_datastore
from metaflow.metaflow_config import DATASTORE_LOCAL_DIR
from metaflow.mflog import TASK_LOG_SOURCE, get_log_tailer, tail_logs

from .remote import FlyteException, Remote, remote_of

if TYPE_CHECKING:
    from mfbuild.flyte.backend import Execution, ExecutionId

_POLL, _SLOWEST = 0.5, 5.0
_OURS = ("branch", "production")
"""Options of @project, which travel as the deployment's."""


@click.command(
    help="Execute a single task on Flyte. Typically you do not call this command directly; it is "
    "used internally by Metaflow."
)
@click.argument("step-name")
@click.option("--code", required=True, help="The address of the code.")
@click.option("--version", required=True, help="The version of the task.")
@click.option("--run-id", help="Passed to the top-level 'step'.")
@click.option("--task-id", help="Passed to the top-level 'step'.")
@click.option("--input-paths", help="Passed to the top-level 'step'.")
@click.option("--split-index", type=int, help="Passed to the top-level 'step'.")
@click.option("--retry-count", type=int, default=0, help="Passed to the top-level 'step'.")
@click.option(
    "--max-user-code-retries", type=int, default=0, help="Passed to the top-level 'step'."
)
@click.option("--tag", "tags", multiple=True, help="Passed to the top-level 'step'.")
@click.option("--namespace", default=None, help="Passed to the top-level 'step'.")
@click.pass_context
def step(ctx: Any, step_name: str, code: str, version: str, **task: Any) -> None:
    """Start it, show its log until it has ended, and end as it has."""
    obj, names = ctx.obj, (task["run_id"], step_name, task["task_id"])
    tags, namespace = tuple(task["tags"] or ()), task["namespace"] or None
    with _unretried(obj), remote_of(obj, tags=tags, namespace=namespace) as remote:
        id = _start(remote, step_name, code, version, {**task, "options": _options(ctx)})
        obj.echo_always(f"Task is starting on Flyte ({id.project}/{id.domain}/{id.name}).")
        ended = _follow(obj, remote, id, names, task["retry_count"])
    if ended.phase != "succeeded":
        obj.echo_always(f"{id.name} {ended.phase}: {ended.error or 'no reason was given'}")
        sys.exit(METAFLOW_EXIT_DISALLOW_RETRY if ended.phase == "aborted" else 1)


def _start(remote: Remote, step: str, code: str, version: str, task: dict[str, Any]) -> ExecutionId:
    from flyteidl.core.identifier_pb2 import Identifier, ResourceType

    from mfbuild.executions.single_steps import start_task

    to = remote.target
    identifier = Identifier(
        resource_type=ResourceType.TASK,
        project=to.project,
        domain=to.domain,
        name=f"{remote.name}.{step}",
        version=version,
    )
    run = {
        "id": task["run_id"],
        "task": {
            "id": task["task_id"],
            "inputs": task["input_paths"],
            "split": task["split_index"],
            "attempt": task["retry_count"],
            "user_retries": task["max_user_code_retries"],
            "options": task["options"],
        },
    }
    return start_task(
        remote.target, identifier, code=code, run=run, person=remote.deployment.person()
    )


def _options(ctx: Any) -> list[str]:
    """The top-level options by which the task finds the run's datastore and metadata.

    Others are in the task's environment, where packaging has put them; those of flow decorators
    are passed on as Metaflow's runtime does.
    """
    obj = ctx.obj
    given = {
        "metadata": obj.metadata.TYPE,
        "datastore": obj.flow_datastore.TYPE,
        "datastore-root": obj.flow_datastore.datastore_root,
    }
    for decorators in obj.flow._flow_decorators.values():
        for decorator in decorators:
            given.update(decorator.get_top_level_options())
    kept = {name: value for name, value in given.items() if name not in _OURS}
    return [
        f"--{name}" if value is True else f"--{name}={value}"
        for name, value in kept.items()
        if value is not None and value is not False
    ]


def _follow(
    obj: Any, remote: Remote, id: ExecutionId, names: tuple[str, str, str], attempt: int
) -> Execution:
    """Show the task's log, until it has ended; whoever ends this ends the task."""
    watched = _Watched(remote, id)
    store = obj.flow_datastore.get_task_datastore(*names, attempt=attempt, mode="w")
    with _ended_with(remote, id):
        tail_logs(
            f"[{id.name}] ".encode(),
            _tail(obj.flow_datastore.TYPE, store, "stdout"),
            _tail(obj.flow_datastore.TYPE, store, "stderr"),
            lambda line, stream, **kwargs: obj.echo_always(line, err=stream == "stderr", **kwargs),
            watched.goes_on,
        )
    if obj.metadata.TYPE == "local" and obj.flow_datastore.TYPE != "local":
        left = obj.flow_datastore.get_task_datastore(*names, attempt=attempt, allow_not_done=True)
        if left.has_metadata("local_metadata"):  # else the pod shares the folder, or got nowhere
            sync_local_metadata_from_datastore(DATASTORE_LOCAL_DIR, left)
    return watched.found


class _Watched:
    """An execution that is asked for now and then, ever less often."""

    def __init__(self, remote: Remote, id: ExecutionId) -> None:
        self._remote, self._id = remote, id
        self._pause, self._next = _POLL, 0.0
        self.found: Execution

    def goes_on(self) -> bool:
        from mfbuild.errors import FlyteError

        if time.monotonic() < self._next:
            return True
        found = self._remote.target.backend.executions.get(self._id)
        if found is None:
            raise FlyteError(f"there is no execution `{self._id.name}`")
        self.found = found
        self._pause = min(self._pause * 1.1, _SLOWEST)
        self._next = time.monotonic() + self._pause
        return not found.is_done


class _LocalTail:
    """The lines that a log on this machine has gained, each time that it is asked."""

    def __init__(self, path: str) -> None:
        self._path, self._read = Path(path), 0

    def __iter__(self) -> Iterator[bytes]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                lines = file.read().split(b"\n")[:-1]
        except FileNotFoundError:
            return
        for line in lines:
            self._read += len(line) + 1
            yield line


def _tail(datastore: str, store: Any, stream: str) -> Any:
    location = store.get_log_location(TASK_LOG_SOURCE, stream)
    return _LocalTail(location) if datastore == "local" else get_log_tailer(location, datastore)


@contextmanager
def _unretried(obj: Any) -> Iterator[None]:
    """What keeps a task from being started does so at the next attempt, too."""
    try:
        yield
    except FlyteException as error:
        obj.echo_always(error.message, no_bold=True)
        sys.exit(METAFLOW_EXIT_DISALLOW_RETRY)


@contextmanager
def _ended_with(remote: Remote, id: ExecutionId) -> Iterator[None]:
    """^C and SIGTERM, by which Metaflow ends the tasks of a run, end the execution."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        remote.target.backend.executions.terminate(id, "the run was ended where it was started")
        sys.exit(METAFLOW_EXIT_DISALLOW_RETRY)
