"""What several commands of `python flow.py flyte …` share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from metaflow._vendor import click
from metaflow.tagging_util import validate_tags

if TYPE_CHECKING:
    from mfbuild.flyte.backend import LaunchPlan

    from .remote import Remote

Command = Callable[[Callable[..., Any]], Callable[..., Any]]


def _together(*options: Command) -> Command:
    """One decorator for several options, in the order in which help is to show them."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


token_options = _together(
    click.option(
        "--authorize",
        default=None,
        help="Authorize using this production token. You need this when you are re-deploying an "
        "existing flow for the first time. The token is cached in METAFLOW_HOME, so you only need "
        "to specify this once.",
    ),
    click.option(
        "--generate-new-token",
        is_flag=True,
        help="Generate a new production token for this flow. This will move the production flow "
        "to a new namespace.",
    ),
    click.option(
        "--new-token",
        "given_token",
        default=None,
        help="Use the given production token for this flow. This will move the production flow to "
        "the given namespace.",
    ),
)

run_options = _together(
    click.option(
        "--tag",
        "tags",
        multiple=True,
        default=None,
        help="Annotate all objects produced by runs on Flyte with the given tag. You can specify "
        "this option multiple times to attach multiple tags.",
    ),
    click.option(
        "--namespace",
        "user_namespace",
        default=None,
        help="Change the namespace from the default (production token, or your own) to the given "
        "tag.",
    ),
    click.option(
        "--max-workers", default=None, type=int, help="Maximum number of nodes that run at once."
    ),
)

attribute_file = click.option(
    "--deployer-attribute-file", default=None, type=str, hidden=True, help="For the Deployer API."
)


@contextmanager
def deploying(
    obj: Any,
    *,
    tags: Sequence[str] | None,
    user_namespace: str | None,
    max_workers: int | None,
    token: Callable[[Remote], str] | None = None,
) -> Iterator[tuple[Remote, LaunchPlan]]:
    """Check, package and push the flow: its counterpart, and its launch plan.

    With `token`, which gives the production token or refuses, it is the active version, and its
    runs are in the token's namespace; else they are this person's own.
    """
    from .deploy import deploy
    from .remote import remote_of

    validate_tags(tags)
    obj.check(obj.graph, obj.flow, obj.environment, pylint=obj.pylint)
    with remote_of(obj, tags=tuple(tags or ()), namespace=user_namespace) as remote:
        remote.load()  # what cannot be loaded needs no token
        if token:
            remote = remote.with_token(token(remote))
        yield (
            remote,
            deploy(remote, remote.package(), max_workers=max_workers, activate=token is not None),
        )


authorize = click.option("--authorize", default=None, help="Authorize using this production token.")


def write_attributes(path: str | None, **attributes: Any) -> None:
    """Answer the Deployer, which waits at a pipe."""
    if path:
        with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
            json.dump(attributes, file)
