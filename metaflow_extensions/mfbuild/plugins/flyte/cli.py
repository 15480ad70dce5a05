"""`python flow.py flyte …`."""

from __future__ import annotations

import gc
from contextlib import ExitStack
from typing import Any

from metaflow._vendor import click

from .deploy_cli import create, deactivate, delete, package
from .installed import installed
from .remote import top_level_words
from .runs_cli import list_runs, resume, run, status, terminate, trigger
from .show_cli import show
from .step_cli import step


@click.group()
def cli() -> None:
    """Metaflow wants a group around the group."""


@cli.group(help="Commands related to Flyte.")
@click.option("--project", default=None, help="Flyte's project. @flyte or BUILD.toml by default.")
@click.option("--domain", default=None, help="Flyte's domain. @flyte or BUILD.toml by default.")
@click.pass_context
def flyte(ctx: Any, project: str | None = None, domain: str | None = None) -> None:
    """What all of its commands know."""
    # What Metaflow has made stays: no collection is to go through it while mfbuild is imported.
    gc.freeze()
    command = ExitStack()
    command.enter_context(installed())
    ctx.call_on_close(command.close)
    obj = ctx.obj
    obj.flyte_project, obj.flyte_domain = project, domain
    obj.flyte_words = top_level_words()


for command in (create, deactivate, delete, package, show, step):
    flyte.add_command(command)
for command in (list_runs, resume, run, status, terminate, trigger):
    flyte.add_command(command)
