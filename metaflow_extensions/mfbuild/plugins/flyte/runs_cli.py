"""`python flow.py flyte …`: runs of what is deployed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaflow import JSONType, parameters
from metaflow._vendor import click
from metaflow.exception import CommandException
from metaflow.metaflow_config import UI_URL

from .options import attribute_file, authorize, deploying, run_options, write_attributes
from .remote import PREFIX, FlyteException, Remote, remote_of

if TYPE_CHECKING:
    from mfbuild.flyte.backend import ExecutionId, LaunchPlan

STATUS = {
    "queued": "Pending",
    "running": "Running",
    "succeeded": "Succeeded",
    "failed": "Failed",
    "aborted": "Aborted",
    "timed out": "TimedOut",
    "skipped": "Skipped",
}
"""Flyte's phases in the words of Metaflow's other schedulers."""

_LISTED = 20

run_id_file = click.option(
    "--run-id-file",
    default=None,
    show_default=True,
    type=str,
    help="Write the ID of this run to the file specified.",
)


@parameters.add_custom_parameters(deploy_mode=False)
@click.command(help="Trigger the workflow on Flyte.")
@run_id_file
@click.option("--wait", is_flag=True, help="Until it has ended; fail if it failed.")
@attribute_file
@click.pass_obj
def trigger(
    obj: Any,
    run_id_file: str | None = None,
    wait: bool = False,
    deployer_attribute_file: str | None = None,
    **kwargs: Any,
) -> None:
    """The deployed version runs; this returns at once unless it is to wait."""
    with _deployed(obj) as (remote, plan):
        id = _start(obj, remote, plan, list(_given(obj, kwargs)))
        _tell_run(obj, remote, id, run_id_file, deployer_attribute_file)
        if wait:
            _wait(obj, remote, id)


@parameters.add_custom_parameters(deploy_mode=False)
@click.command(help="Deploy the workflow, run it on Flyte, and wait until it has ended.")
@run_id_file
@run_options
@attribute_file
@click.pass_obj
def run(
    obj: Any,
    run_id_file: str | None = None,
    deployer_attribute_file: str | None = None,
    **kwargs: Any,
) -> None:
    """What is written now runs, as this person's own; the active version stays what it is."""
    options = {name: kwargs.pop(name) for name in _RUN_OPTIONS}
    with deploying(obj, **options) as (remote, plan):
        id = _start(obj, remote, plan, list(_given(obj, kwargs)))
        _tell_run(obj, remote, id, run_id_file, deployer_attribute_file)
        _wait(obj, remote, id)


_RUN_OPTIONS = ("tags", "user_namespace", "max_workers")


@click.command(help="Deploy the workflow, and go on with a run of it that failed on Flyte.")
@click.argument("run-id")
@click.option("--step", default=None, help="Run this step again, and all that follow it.")
@run_id_file
@click.option("--wait/--no-wait", default=True, show_default=True, help="Until it has ended.")
@click.option(
    "--deployed", is_flag=True, help="With the deployed version, instead of the code as it is now."
)
@run_options
@attribute_file
@click.pass_obj
def resume(
    obj: Any,
    run_id: str,
    step: str | None = None,
    run_id_file: str | None = None,
    wait: bool = True,
    deployed: bool = False,
    deployer_attribute_file: str | None = None,
    **options: Any,
) -> None:
    """A new run, in which what has succeeded is cloned."""
    from .resume import parameters_of, resumed

    if step and step not in obj.graph.nodes:
        raise CommandException(f"There is no step *{step}*.")
    origin = run_id.rpartition("/")[2]
    pairs = parameters_of(obj, origin)
    there = _deployed(obj) if deployed else deploying(obj, **options)
    with there as (remote, plan):
        id = _start(obj, remote, plan, pairs, run=resumed(origin, step))
        _tell_run(obj, remote, id, run_id_file, deployer_attribute_file)
        if wait:
            _wait(obj, remote, id)


@click.command(help="Fetch flow execution status on Flyte.")
@click.argument("run-id")
@click.pass_obj
def status(obj: Any, run_id: str) -> None:
    """One word on stdout, and why it failed on stderr."""
    with remote_of(obj) as remote:
        found = remote.execution(run_id)
        obj.echo_always(STATUS[found.phase], err=False)
        if found.error:
            obj.echo_always(found.error, no_bold=True)


@click.command(help="List the latest runs of the workflow on Flyte.")
@click.option("--max-runs", default=_LISTED, show_default=True, type=int, help="How many.")
@click.option("--as-json", is_flag=True, help="As JSON.")
@click.pass_obj
def list_runs(obj: Any, max_runs: int = _LISTED, as_json: bool = False) -> None:
    """Newest first."""
    with remote_of(obj) as remote:
        to = remote.target
        found = to.backend.executions.list(to.project, to.domain, remote.name)
        listed = list(islice(found, max_runs))
    runs = [
        {
            "run_id": f"{PREFIX}{e.id.name}",
            "status": STATUS[e.phase],
            "started_at": e.began.isoformat() if e.began else None,
            "version": e.of.version,
        }
        for e in listed
    ]
    if as_json:
        obj.echo_always(json.dumps(runs), err=False, no_bold=True)
        return
    for told in runs:
        began = _local(told["started_at"])
        obj.echo_always(
            f"{told['run_id']}  {told['status']:9}  {began}  {told['version'][:12]}",
            err=False,
            no_bold=True,
        )


@click.command(help="Terminate flow execution on Flyte.")
@authorize
@click.argument("run-id")
@click.pass_obj
def terminate(obj: Any, run_id: str, authorize: str | None = None) -> None:
    """What runs is ended; what has ended is left as it is."""
    from .tokens import check_token

    with remote_of(obj) as remote:
        found = remote.execution(run_id)
        plan = remote.target.backend.registrations.launch_plan(found.of)
        check_token(obj, remote, plan, authorize, "terminate this run")
        if found.is_done:
            obj.echo(f"Run *{run_id}* had ended: {STATUS[found.phase]}.", bold=True)
            return
        remote.target.backend.executions.terminate(found.id, "terminated through Metaflow")
        obj.echo(f"Run *{run_id}* terminated.", bold=True)


@contextmanager
def _deployed(obj: Any) -> Iterator[tuple[Remote, LaunchPlan]]:
    with remote_of(obj) as remote:
        yield remote, remote.launch_plan()


def _start(
    obj: Any,
    remote: Remote,
    plan: LaunchPlan,
    pairs: list[tuple[str, str]],
    run: str | None = None,
) -> ExecutionId:
    from mfbuild.executions.trigger import trigger as start

    return start(remote.target, plan, pairs, run=run)


def _given(obj: Any, kwargs: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The Parameters that were given, as text; a file was uploaded by Metaflow itself."""
    for _, parameter in obj.flow._get_parameters():
        value = kwargs.get(parameter.name.replace("-", "_").lower())
        if value is None or parameter.IS_CONFIG_PARAMETER:
            continue
        if isinstance(value, parameters.DelayedEvaluationParameter):
            value = value(return_str=True)
        elif parameter.kwargs.get("type") == JSONType:
            value = json.dumps(value)
        elif isinstance(value, bool):
            value = str(value).lower()
        yield parameter.name, str(value)


def _tell_run(
    obj: Any, remote: Remote, id: ExecutionId, run_id_file: str | None, attributes: str | None
) -> None:
    run_id = f"{PREFIX}{id.name}"
    if run_id_file:
        Path(run_id_file).write_text(run_id, encoding="utf-8")
    write_attributes(
        attributes,
        name=remote.name,
        metadata=obj.metadata.metadata_str(),
        pathspec=f"{obj.flow.name}/{run_id}",
    )
    obj.echo(f"Workflow *{remote.name}* triggered on Flyte (run-id *{run_id}*).", bold=True)
    if UI_URL:
        url = f"{UI_URL.rstrip('/')}/{obj.flow.name}/{run_id}"
        obj.echo(f"See the run in the UI at {url}", bold=True)


def _wait(obj: Any, remote: Remote, id: ExecutionId) -> None:
    """Show the run until it has ended; ^C ends the showing alone."""
    from mfbuild.executions.progress import Board
    from mfbuild.executions.trigger import wait

    reporter, run_id = remote.session.reporter, f"{PREFIX}{id.name}"
    try:
        ended = wait(remote.target.backend.executions, id, Board(reporter).show)
    except KeyboardInterrupt:
        reporter.close()
        obj.echo_always(f"Run *{run_id}* goes on: see flyte status, flyte terminate.")
        sys.exit(130)
    reporter.close()
    if ended.phase != "succeeded":
        reason = f": {ended.error}" if ended.error else "."
        logs = f"mfbuild logs {id.name} -d {id.domain}"
        raise FlyteException(f"Run *{run_id}* {ended.phase}{reason}\n  hint: its logs: {logs}")
    obj.echo(f"Run *{run_id}* succeeded.", bold=True, fg="green")


def _local(moment: str | None) -> str:
    return datetime.fromisoformat(moment).astimezone().strftime("%F %T") if moment else "-" * 19
