"""Runs one step through Metaflow's own command line, in this process."""

from __future__ import annotations

import copy
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from . import literals
from .arguments import Arguments
from .code import Code
from .errors import Failure, NonRecoverable
from .ids import PARAMETERS, parameters_id, pathspec, task_id
from .inputs import input_name
from .logs import LogDestination
from .outcome import check_transition, give_up, write_outcome
from .parents import TaskPosition, follows_foreach, joined_foreach, parents, start_step
from .progress_pipe import Teller
from .resume import take_over, take_over_parameters
from .storage import Storage

_OPTIONS = ("--quiet", "--no-pylint", "--environment=pypi")
_FEW = 4  # as Metaflow has it: reading many at once starts processes, on S3
_CODE = {"version": 0, "archive_format": "tgz", "mfcontent_version": 1}


@dataclass(frozen=True, slots=True)
class Step:
    """A step and what it needs of its container."""

    arguments: Arguments
    code: Code
    storage: Storage
    teller: Teller

    def run(self, cli: Any, flow: Any) -> None:
        """Call metaflow.cli for `flow`; ends with SystemExit, as `python flow.py step` does.

        `cli` is adapted already.
        """
        given = json.loads(os.environ.get("MFBUILD_OPTIONS", "[]"))
        if task := self.arguments.run.task:
            given += task.options
        sys.argv = [sys.argv[0], *given, *_OPTIONS, "step", self.arguments.step]
        find = cli.start.get_command
        click: Any = import_module("metaflow._vendor.click")

        def get_command(context: Any, name: str) -> Any:
            def run(step: str) -> None:
                self._command(context, find)

            return click.Command(name, params=[click.Argument(["step"])], callback=run)

        cli.start.get_command = get_command
        cli.main(flow)

    def _command(self, context: Any, find: Callable[[Any, str], Any]) -> None:
        """What runs in place of Metaflow's `step`: the same with all that is around it."""
        try:
            self._run(context, find)
        except NonRecoverable as error:
            code = give_up(error, self.arguments, self.storage)
        except Failure as error:
            sys.stderr.write(f"error: {error}\n")
            code = 1
        else:
            code = 0
        self.teller.finished()
        sys.exit(code)

    def _run(self, context: Any, find: Callable[[Any, str], Any]) -> None:
        """`context` is that of Metaflow's group of commands, with its state as `obj`."""
        state, a = context.obj, self.arguments
        position = TaskPosition(a.run.id, a.step, a.path, a.iteration, a.count)
        store = state.flow_datastore
        self.teller.started(
            LogDestination(
                *(state.flow.name, position.run, position.step, self._task(position), a.attempt),
                *(store.TYPE, store.datastore_root),
            )
        )
        _set_code(store, self.code.archive)
        _leave_out_flyte_secrets(getattr(state.flow, position.step).decorators)
        if position.step == start_step(state.graph) and not (position.iteration or self._alone):
            self._init(context, find, position)
        resume, tags = a.run.resume, a.person.tags
        earlier = take_over(state, position, resume, a.attempt, tags) if resume else None
        if earlier:
            transition, splits = earlier["_transition"], earlier["_foreach_num_splits"]
        else:
            self._perform(context, find, position)
            transition, splits = state.flow._transition, state.flow._foreach_num_splits
        node = state.graph[a.step]
        check_transition(node, transition)
        write_outcome(node, transition, splits, a, self._inputs, self.storage)

    @property
    def _alone(self) -> bool:
        """Whether the task is no part of a workflow: Flyte was asked for just this one."""
        return bool(self.arguments.run.task or self.arguments.run.onto)

    def _task(self, position: TaskPosition) -> str:
        task = self.arguments.run.task
        return task.id if task else position.task

    def _perform(
        self, context: Any, find: Callable[[Any, str], Any], position: TaskPosition
    ) -> None:
        """Run the user's code."""
        state, a = context.obj, self.arguments
        options = self._options(state.graph, state.flow_datastore, position)
        _wait(state, (state.flow.name, position.run, position.step, self._task(position)), a)
        try:
            _call(find(context, "step"), context, state, options)
        finally:
            if a.run.task:
                _sync_metadata(state, position, self._task(position), a.attempt)

    def _init(self, context: Any, find: Callable[[Any, str], Any], position: TaskPosition) -> None:
        """Save the parameters as the task `_parameters`, unless an attempt before has done so."""
        state = copy.copy(context.obj)
        task = parameters_id(position.task)
        if done(state.flow_datastore, [f"{position.run}/{PARAMETERS}/{task}"]):
            return
        if resume := self.arguments.run.resume:
            take_over_parameters(state, position, resume, self.arguments.person.tags)
            return
        # A flow of its own: the values that `init` sets must not become the step's artifacts.
        state.flow = type(state.flow)(use_cli=False)
        tags = [f"--tag={tag}" for tag in self.arguments.person.tags]
        values = self._parameters(state.flow)
        options = [f"--run-id={position.run}", f"--task-id={task}", *tags, *values]
        _call(find(context, "init"), context, state, options)

    def _parameters(self, flow: Any) -> list[str]:
        """The parameters that were given, as options; None stands for one that was not."""
        inputs = self._inputs() if self.arguments.input else {}
        names = [p.name for _, p in flow._get_parameters() if not p.IS_CONFIG_PARAMETER]
        given = {name: inputs.get(input_name(name)) for name in names}
        values = {n: literals.read_literal(data) for n, data in given.items() if data is not None}
        return [f"--{name}={value}" for name, value in values.items() if value is not None]

    def _inputs(self) -> dict[str, bytes]:
        """The task's inputs, each as the bytes of a core.Literal."""
        if self.arguments.input:
            return literals.read_literal_map(self.storage.get(self.arguments.input))
        return {name: literals.literal(v) for name, v in self.arguments.inputs.items()}

    def _options(self, graph: Any, store: Any, position: TaskPosition) -> list[str]:
        """The command line of `step`."""
        a = self.arguments
        inputs, split = self._given(graph, store, position)
        return [
            position.step,
            f"--run-id={position.run}",
            f"--task-id={self._task(position)}",
            f"--input-paths={inputs}",
            f"--retry-count={a.attempt}",
            f"--max-user-code-retries={a.user_retries}",
            *([f"--split-index={split}"] if split is not None else []),
            *([f"--clone-run-id={a.run.resume.run}"] if a.run.resume else []),
            *(f"--tag={tag}" for tag in a.person.tags),
            *([f"--namespace={a.person.namespace}"] if a.person.namespace else []),
        ]

    def _given(self, graph: Any, store: Any, position: TaskPosition) -> tuple[str, int | None]:
        """The input paths, and the split index of the first step inside a foreach."""
        run = self.arguments.run
        if run.task:
            return run.task.inputs, run.task.split
        if run.onto:
            position = replace(position, run=run.onto.run)
            position = replace(position, count=_number_of_splits(graph, store, position))
        try:
            paths = parents(graph, position, lambda specs: chosen(store, specs))
            if run.onto and (missing := sorted(set(paths) - done(store, paths))):
                raise LookupError(f"{missing[0]} is not done in the datastore")
        except LookupError as error:
            message = f"step `{position.step}` has no parent: {error}"
            if run.onto:  # nobody is at that run, which would mend it
                raise NonRecoverable("NoParent", message) from error
            raise Failure(message) from error
        inside = follows_foreach(graph, position) and not position.iteration
        return ",".join(paths), position.path[-1] if inside else None


def done(store: Any, specs: Sequence[str]) -> frozenset[str]:
    """Which tasks (`run/step/task`) have a last attempt that is done."""
    if len(specs) > _FEW:
        found = store.get_task_datastores(pathspecs=list(specs))
        return frozenset(task.pathspec for task in found)
    return frozenset(spec for spec in specs if _is_done(store, spec))


def chosen(store: Any, specs: Sequence[str]) -> dict[str, str]:
    """The step that each of the tasks (`run/step/task`) of switches that are done went on with."""
    if len(specs) > _FEW:
        many: Any = import_module("metaflow.datastore.datastore_set").TaskDataStoreSet
        found = many(store, None, pathspecs=specs, prefetch_data_artifacts=["_transition"])
    else:
        found = [store.get_task_datastore(*s.split("/")) for s in specs if _is_done(store, s)]
    return {task.pathspec: task["_transition"][0][0] for task in found}


def _is_done(store: Any, spec: str) -> bool:
    missing: Any = import_module("metaflow.datastore.exceptions").DataException
    try:
        store.get_task_datastore(*spec.split("/"))
    except missing:
        return False
    return True


def _call(command: Any, context: Any, state: Any, options: Sequence[str]) -> None:
    """Run a command of Metaflow below the group, as click does, with `state` as its object."""
    with command.make_context(command.name, list(options), parent=context, obj=state) as below:
        command.invoke(below)


def adapt(cli: Any, folder: Path) -> None:
    """Say where the package lies, leave out what the runtime does itself, tell of long waiting."""
    if (folder / ".mf_install").is_file():
        # Metaflow looks for `<root>/../.mf_meta`; its own root is in the image.
        root = str(folder / ".mf_meta")
        import_module("metaflow.packaging_sys").get_metaflow_root = lambda: root  # type: ignore[attr-defined]
    import_module("metaflow.plugins").SIDECARS.pop("save_logs_periodically", None)
    for name in ("kubernetes", "batch"):
        _accept_local(cli.decorators.get_all_step_decos().get(name))
    _tell_of_waiting(import_module("metaflow.plugins.datatools.s3.s3"))


def _tell_of_waiting(client: Any) -> None:
    """Let Metaflow say on stderr that it tries S3 again: it does so for more than half an hour."""
    sleep = getattr(client.S3, "_jitter_sleep", None)
    if sleep is None:  # a Metaflow of another time is silent
        return

    def told(self: Any, number: int, **how: Any) -> None:
        sys.stderr.write(f"waiting for S3: try {number + 1} has failed\n")
        sleep(self, number, **how)

    client.S3._jitter_sleep = told


class _Remote:
    """A datastore that passes for a remote one."""

    TYPE = "s3"


def _accept_local(decorator: Any) -> None:
    """Let a flow with @kubernetes run where its datastore is local: on a laptop."""
    if decorator is None:
        return
    step_init = decorator.step_init

    def initialise(self: Any, *arguments: Any) -> None:
        *others, datastore, logger = arguments
        step_init(self, *others, _Remote if datastore.TYPE == "local" else datastore, logger)

    decorator.step_init = initialise


def _leave_out_flyte_secrets(decorators: Sequence[Any]) -> None:
    """Flyte has put these into the environment; Metaflow knows no provider of their type."""

    def kind(source: Any) -> Any:
        return source.partition(".")[0] if isinstance(source, str) else source.get("type")

    for decorator in decorators:
        if decorator.name == "secrets":
            sources = decorator.attributes["sources"]
            decorator.attributes["sources"] = [s for s in sources if kind(s) != "flyte"]


def _set_code(store: Any, archive: Path) -> None:
    """Save the tarball where `Run.code` looks for it, and note it for the task's metadata."""
    content = archive.read_bytes()
    url, key = store.save_data([content], len_hint=1)[0]
    os.environ.update(
        METAFLOW_CODE_METADATA=json.dumps(_CODE),
        METAFLOW_CODE_SHA=key,
        METAFLOW_CODE_URL=url,
        METAFLOW_CODE_DS=store.TYPE,
    )


def _number_of_splits(graph: Any, store: Any, position: TaskPosition) -> int | None:
    """How many splits the foreach had that `position` joins, as its task has left it."""
    foreach = joined_foreach(graph, position.step)
    if foreach is None:
        return None
    task = task_id(position.run, foreach, position.path)
    if not _is_done(store, pathspec(position.run, foreach, task)):
        raise NonRecoverable("NoParent", f"step `{foreach}` of run `{position.run}` is not done")
    splits: int = store.get_task_datastore(position.run, foreach, task)["_foreach_num_splits"]
    return splits


def _sync_metadata(state: Any, position: TaskPosition, task: str, attempt: int) -> None:
    """Leave local metadata in the datastore, where who started the task looks for it.

    As @kubernetes does it; where the task's machine shares the folder there is nothing to do.
    """
    shared = "METAFLOW_DATASTORE_SYSROOT_LOCAL" in os.environ
    store = state.flow_datastore
    if state.metadata.TYPE != "local" or store.TYPE == "local" or shared:
        return
    config: Any = import_module("metaflow.metaflow_config")
    sync: Any = import_module("metaflow.metadata_provider.util").sync_local_metadata_to_datastore
    written = store.get_task_datastore(position.run, position.step, task, attempt=attempt, mode="w")
    sync(config.DATASTORE_LOCAL_DIR, written)


def _wait(state: Any, names: Sequence[str], arguments: Arguments) -> None:
    """Wait out what is left of minutes_between_retries since the attempt before has ended."""
    if not arguments.attempt or not arguments.retry_delay:
        return
    ended = _end_of(state, names, arguments.attempt - 1)
    left = arguments.retry_delay - (time.time() - ended if ended else 0)
    if left > 0:
        sys.stdout.write(f"waiting {left:.0f} s before attempt {arguments.attempt}\n")
        time.sleep(left)


def _end_of(state: Any, names: Sequence[str], attempt: int) -> float | None:
    """When the attempt ended, in seconds since the epoch; None where Metaflow has no note of it."""
    try:
        notes = state.metadata.get_object("task", "metadata", {}, None, *names) or []
    except Exception:  # a service that does not answer: the step itself will say so
        return None
    ends = [
        note["ts_epoch"] / 1000
        for note in notes
        if note["field_name"] == "attempt_ok" and f"attempt_id:{attempt}" in note["tags"]
    ]
    return max(ends, default=None)
