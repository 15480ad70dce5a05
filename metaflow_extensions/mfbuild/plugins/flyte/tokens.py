"""Production tokens: who may deploy a flow, as Metaflow has it for its other schedulers."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from hashlib import sha1
from typing import TYPE_CHECKING, Any

from metaflow import current
from metaflow.exception import MetaflowException
from metaflow.plugins.aws.step_functions.production_token import load_token, new_token, store_token
from metaflow.util import get_username

if TYPE_CHECKING:
    from mfbuild.flyte.backend import LaunchPlan

    from .remote import Remote

_MARK = "production:"


class IncorrectProductionToken(MetaflowException):
    """Somebody else has deployed the flow, and this is not their token."""

    headline = "Incorrect production token"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has deployed a flow, and with which token."""

    user: str | None
    token: str | None


def holder_of(plan: LaunchPlan) -> Holder:
    """The holder of a registered version."""
    from mfbuild.flyte.names import PERSON
    from mfbuild.flyte.templates import fixed

    person = json.loads(fixed(plan.spec, PERSON) or "{}")
    return Holder(person.get("user"), person.get("production_token"))


def deployed(remote: Remote) -> LaunchPlan | None:
    """The version that somebody has deployed: the active one, else the newest.

    One without a token is not meant: it was pushed, or run by somebody who deployed nothing.
    """
    to = remote.target
    plans = to.backend.registrations.launch_plans(to.project, to.domain, remote.name)
    held = [plan for plan in plans if holder_of(plan).token]
    return next((plan for plan in held if plan.active), held[0] if held else None)


def check_token(
    obj: Any, remote: Remote, plan: LaunchPlan | None, authorize: str | None, what: str
) -> None:
    """MetaflowException unless this is the person who deployed `plan`, or has the token."""
    if plan is None or (holder := holder_of(plan)).token is None:
        return
    given = authorize.removeprefix(_MARK) if authorize else load_token(_prefix(remote))
    if holder.user == get_username() or given == holder.token:
        return
    obj.echo_always(
        f"There is an existing version of *{remote.name}* on Flyte which was deployed by the user "
        f"*{holder.user}*."
    )
    obj.echo_always(f"To {what}, you need to use the same production token that they used.")
    obj.echo_always("Please reach out to them to get it. Once you have it, add this option:")
    obj.echo_always("    --authorize MY_TOKEN", fg="green")
    raise IncorrectProductionToken("Try again with the correct production token.")


def token_for(
    obj: Any, remote: Remote, authorize: str | None, given: str | None, generate: bool
) -> str:
    """The token to deploy with: a given one, a new one, or the one that there is.

    MetaflowException where the person may not deploy the flow, or no token can be made.
    """
    plan = deployed(remote)
    check_token(obj, remote, plan, authorize, "deploy a new version of this flow")
    before = holder_of(plan).token if plan else None
    prefix = _prefix(remote)
    token = _chosen(prefix, before, given, generate)
    if token != before:
        obj.echo(f"The namespace of this production flow is\n    {_MARK}{token}", fg="green")
        obj.echo(f"Others may deploy it with\n    --authorize {token}", fg="green")
    if load_token(prefix) != token:
        store_token(prefix, token)
    return token


def _chosen(prefix: str, before: str | None, given: str | None, generate: bool) -> str:
    if given and current.get("project_name"):
        raise MetaflowException(
            "--new-token is not supported for @projects. Use --generate-new-token to create a "
            "new token."
        )
    if given:
        return given.removeprefix(_MARK)
    if before and not generate:
        return before
    token: str | None = new_token(prefix, before)
    if token is None:
        raise MetaflowException(
            "--generate-new-token option is not supported after using --new-token. Use "
            "--new-token to make a new namespace."
        )
    return token


def _prefix(remote: Remote) -> str:
    """What tokens of the flow begin with; as Argo Workflows has it, so that they are the same."""
    project = current.get("project_name")
    if not project:
        return remote.name.lower()
    branch = f"{project}.{current.get('branch_name')}".encode()
    return f"mfprj-{base64.b32encode(sha1(branch).digest()).decode()[:16]}".lower()
