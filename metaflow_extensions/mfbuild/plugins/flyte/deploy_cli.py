"""`python flow.py flyte …`: deployments."""

from __future__ import annotations

from typing import Any

from metaflow import current
from metaflow._vendor import click

from .options import (
    attribute_file,
    authorize,
    deploying,
    run_options,
    token_options,
    write_attributes,
)
from .remote import Remote, remote_of


@click.command(help="Deploy a new version of this workflow to Flyte.")
@token_options
@run_options
@attribute_file
@click.pass_obj
def create(
    obj: Any,
    authorize: str | None = None,
    generate_new_token: bool = False,
    given_token: str | None = None,
    deployer_attribute_file: str | None = None,
    **options: Any,
) -> None:
    """Package, push and activate."""
    from .tokens import token_for

    def token(remote: Remote) -> str:
        return token_for(obj, remote, authorize, given_token, generate_new_token)

    write_attributes(
        deployer_attribute_file,
        name=current.get("project_flow_name") or obj.flow.name,
        flow_name=obj.flow.name,
        metadata=obj.metadata.metadata_str(),
    )
    obj.echo(f"Deploying *{obj.flow.name}* to Flyte...", bold=True)
    with deploying(obj, token=token, **options) as (remote, plan):
        obj.echo(
            f"Workflow *{plan.id.name}* for flow *{obj.flow.name}* deployed to Flyte "
            f"successfully: version {plan.id.version[:12]} in {plan.id.project}/{plan.id.domain} "
            f"of {remote.target.backend.name}.",
            bold=True,
        )


@click.command(help="Make the bundle that `create` would deploy, and print where it is.")
@click.pass_obj
def package(obj: Any) -> None:
    """The bundle of `mfbuild package`, with the command line's options."""
    with remote_of(obj) as remote:
        obj.echo_always(str(remote.package().layout.path), err=False)


@click.command(help="End the schedule of the flow on Flyte: no version is active any more.")
@authorize
@click.pass_obj
def deactivate(obj: Any, authorize: str | None = None) -> None:
    """Until the next `create`."""
    _deactivate(obj, authorize, "deactivate this flow")


@click.command(help="The same as deactivate: Flyte keeps every version, for the runs of it.")
@authorize
@click.pass_obj
def delete(obj: Any, authorize: str | None = None) -> None:
    """What Metaflow's other schedulers call it."""
    _deactivate(obj, authorize, "delete this flow")


def _deactivate(obj: Any, authorize: str | None, what: str) -> None:
    """Runs under way are not affected."""
    from .tokens import check_token, deployed

    with remote_of(obj) as remote:
        plan = remote.launch_plan()
        check_token(obj, remote, deployed(remote), authorize, what)
        if plan.active:
            remote.target.backend.registrations.set_active(plan.id, active=False)
            obj.echo(f"*{remote.name}* is active no more.", bold=True)
        else:
            obj.echo(f"*{remote.name}* was not active.", bold=True)
