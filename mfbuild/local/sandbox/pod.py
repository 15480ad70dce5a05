"""What Flyte's pod plugin promises a container, and what it makes of how the container ended.

The command line and the environment are those of flyteplugins (template.go, k8s_resource_adds.go,
array/execution_context.go); the ending is judged as plugin_manager.go and pod_helper.go do.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from flyteidl.core.dynamic_job_pb2 import DynamicJobSpec
from flyteidl.core.errors_pb2 import ContainerError, ErrorDocument
from flyteidl.core.literals_pb2 import LiteralMap
from flyteidl.core.tasks_pb2 import TaskTemplate

from mfbuild.errors import RunError
from mfbuild.files import write_atomically
from mfbuild.flyte.pod_text import escaped, expanded, expanded_environment
from mfbuild.local.sandbox.executor import ProcessJob, last_lines
from mfbuild.local.sandbox.render import render
from mfbuild.local.workflow.bindings import literal_map
from mfbuild.local.workflow.model import Attempt, AttemptFailure, Ending, Success

INPUTS, OUTPUTS, FUTURES, ERROR, LOG = "inputs.pb", "outputs.pb", "futures.pb", "error.pb", "log"
MAX_DOWNLOAD = 2 << 20
"""The most bytes that propeller reads of an outputs.pb or futures.pb (storage.limits)."""

KILLED = (137, -9)
_OUT_OF_MEMORY = "out of memory (OOMKilled)"
"""What the runtime says, in its last lines, where the kernel has killed a process of a step."""
_TOLD_LINES = 3
_TERMINATED = (143, -15)


@dataclass(frozen=True, slots=True)
class PodContext:
    """What names a run towards its containers; `nodes` is the folder that holds theirs."""

    project: str
    domain: str
    workflow: str
    name: str
    nodes: Path

    def folder(self, attempt: Attempt) -> Path:
        """Where an attempt's files are: `<nodes>/<node>/<attempt>`."""
        return self.nodes / attempt.node / str(attempt.number)


@dataclass(frozen=True, slots=True)
class Container:
    """The container of a task template."""

    image: str
    command: tuple[str, ...]
    env: Mapping[str, str]


def container_of(task: TaskTemplate) -> Container:
    """The primary container of a task; RunError if it has none."""
    target = task.WhichOneof("target")
    if target == "container":
        container = task.container
        env = {pair.key: pair.value for pair in container.env}
        return Container(container.image, (*container.command, *container.args), env)
    if target == "k8s_pod":
        return _of_pod(task)
    raise RunError(f"the task `{task.id.name}` has no container")


def _of_pod(task: TaskTemplate) -> Container:
    from google.protobuf.json_format import MessageToDict

    spec: dict[str, Any] = MessageToDict(task.k8s_pod.pod_spec)
    containers = spec.get("containers") or [{}]
    primary = task.config.get("primary_container_name", containers[0].get("name"))
    found = next((c for c in containers if c.get("name") == primary), containers[0])
    env = {e["name"]: str(e.get("value", "")) for e in found.get("env", ())}
    command = (*found.get("command", ()), *found.get("args", ()))
    return Container(found.get("image", ""), command, env)


def prepare(attempt: Attempt, execution: PodContext, environ: Mapping[str, str]) -> ProcessJob:
    """Lay out the attempt's folder and say what to start in it.

    `environ` is the caller's environment, from which the task's secrets are taken. RunError if
    the command line cannot be rendered; OSError if the disk refuses.
    """
    folder = execution.folder(attempt)
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in (OUTPUTS, FUTURES, ERROR):  # of a process that was killed with its parent
        (folder / leftover).unlink(missing_ok=True)
    given = folder if attempt.array is None else execution.nodes / attempt.array
    if attempt.array is None or not (given / INPUTS).exists():
        given.mkdir(parents=True, exist_ok=True)
        write_atomically(given / INPUTS, literal_map(attempt.inputs).SerializeToString())
    container = container_of(attempt.task)
    if any("tasktemplatepath" in text.lower() for text in container.command):
        write_atomically(folder / "task.pb", attempt.task.SerializeToString())
    secrets = {n: environ[n] for n in _secrets(attempt.task) if n in environ}
    told = {**container.env, **_environment(attempt, execution)}
    env = secrets | expanded_environment(told)
    places = {n: escaped(p) for n, p in _places(attempt, execution, given).items()}
    words = render(container.command, places, attempt.values)
    argv = tuple(expanded(word, env) for word in words)
    return ProcessJob(f"{attempt.node}/{attempt.number}", container.image, argv, env, folder)


def judge(attempt: Attempt, folder: Path, status: int, *, timed_out: bool = False) -> Ending:
    """What an attempt came to that ended with `status` (an exit code, or minus a signal)."""
    if timed_out:
        return AttemptFailure("user", f"timeout in node: it took longer than {attempt.timeout:g} s")
    if status in KILLED:
        if _OUT_OF_MEMORY in last_lines(folder / LOG, _TOLD_LINES):  # the user's on Flyte too
            return AttemptFailure("user", f"the process was killed: {_OUT_OF_MEMORY}")
        return AttemptFailure("system", "the process was killed (SIGKILL)")
    if status:
        return AttemptFailure("user", _status(status))
    if (folder / ERROR).exists():
        return _told(folder / ERROR)
    success = succeeded(folder)
    if isinstance(success, AttemptFailure) or success.futures is not None:
        return success
    missing = attempt.task.interface.outputs.variables.keys() - success.outputs.keys()
    if missing:
        names = ", ".join(f"`{name}`" for name in sorted(missing))
        return AttemptFailure("user", f"the task wrote no output {names}")
    return success


def succeeded(folder: Path) -> Success | AttemptFailure:
    """What a successful attempt left in its folder; Failure if it cannot be read."""
    try:
        futures = _read(folder / FUTURES, DynamicJobSpec)
        outputs = _read(folder / OUTPUTS, LiteralMap)
    except RunError as error:
        return AttemptFailure("final", str(error))
    return Success(dict(outputs.literals) if outputs else {}, futures)


def outputs_digest(folder: Path) -> str:
    """The sha256, in hex, of what a successful attempt left in its folder."""
    digest = hashlib.sha256()
    for name in (FUTURES, OUTPUTS):
        data = (folder / name).read_bytes() if (folder / name).exists() else b""
        digest.update(b"%s %d\0" % (name.encode(), len(data)) + data)
    return digest.hexdigest()


_Message = TypeVar("_Message")


def _read(path: Path, kind: type[_Message]) -> _Message | None:
    """The message in `path`, None if there is none; RunError if propeller could not read it."""
    from google.protobuf.message import DecodeError

    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(data) > MAX_DOWNLOAD:
        raise RunError(
            f"`{path.name}` has {len(data)} bytes, more than the {MAX_DOWNLOAD} that Flyte reads"
        )
    try:
        return kind.FromString(data)  # type: ignore[attr-defined, no-any-return]
    except DecodeError:
        raise RunError(f"`{path.name}` is damaged") from None


def _told(path: Path) -> AttemptFailure:
    """The failure that the container itself reported."""
    try:
        document = _read(path, ErrorDocument)
    except RunError as error:
        return AttemptFailure("final", str(error))
    told = document.error if document else ContainerError()
    message = f"{told.code}: {told.message}" if told.code else told.message
    final = told.kind == ContainerError.NON_RECOVERABLE
    return AttemptFailure("final" if final else "user", message)


def _status(status: int) -> str:
    if status in _TERMINATED:
        return "the process was terminated (SIGTERM)"
    return f"exit code {status}" if status > 0 else f"the process was ended by signal {-status}"


def _places(attempt: Attempt, execution: PodContext, given: Path) -> dict[str, str]:
    """What the templates stand for, by their names in lower case."""
    folder = execution.folder(attempt)
    unique = f"{execution.name}-{attempt.node}-{attempt.number}"
    before = str(folder.parent / str(attempt.number - 1) / "checkpoint")
    return {
        "input": str(given / INPUTS),
        "inputprefix": str(given),
        "outputprefix": str(folder),
        "rawoutputdataprefix": str(folder / "data"),
        "perretryuniquekey": re.sub(r"\W+", "_", re.sub(r"^[^a-zA-Z_]+", "a", unique)),
        "tasktemplatepath": str(folder / "task.pb"),
        "checkpointoutputprefix": str(folder / "checkpoint"),
        "prevcheckpointprefix": before if attempt.number else '""',
        "namespace": f"{execution.project}-{execution.domain}",
    }


def _environment(attempt: Attempt, execution: PodContext) -> dict[str, str]:
    task = attempt.task.id
    found = {
        "FLYTE_INTERNAL_EXECUTION_ID": execution.name,
        "FLYTE_INTERNAL_EXECUTION_PROJECT": execution.project,
        "FLYTE_INTERNAL_EXECUTION_DOMAIN": execution.domain,
        "FLYTE_INTERNAL_EXECUTION_WORKFLOW": ":".join(
            (execution.project, execution.domain, execution.workflow)
        ),
        "FLYTE_ATTEMPT_NUMBER": str(attempt.number),
        "FLYTE_INTERNAL_TASK_PROJECT": task.project,
        "FLYTE_INTERNAL_TASK_DOMAIN": task.domain,
        "FLYTE_INTERNAL_TASK_NAME": task.name,
        "FLYTE_INTERNAL_TASK_VERSION": task.version,
    }
    if attempt.index is not None:
        found["FLYTE_K8S_ARRAY_INDEX"] = str(attempt.index)
        found["BATCH_JOB_ARRAY_INDEX_VAR_NAME"] = "FLYTE_K8S_ARRAY_INDEX"
    return found


def _secrets(task: TaskTemplate) -> list[str]:
    """The variables in which the task expects its Flyte secrets."""
    return [
        secret.env_var or f"_FSEC_{secret.group}_{secret.key}".upper()
        for secret in task.security_context.secrets
    ]
