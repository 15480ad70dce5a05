"""How the steps of a local run are started on Flyte: packaged once, registered once per target."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from metaflow._vendor import click

from .installed import installed
from .remote import FlyteException, Remote, elsewhere, remote_of, shaping, top_level_words

if TYPE_CHECKING:
    from mfbuild.bundle.read import Bundle
    from mfbuild.executions.single_steps import Tasks

_PASSED_ON = (
    *("run-id", "task-id", "input-paths", "split-index", "retry-count", "max-user-code-retries"),
    *("tag", "namespace"),
)
_SHARED = ("azure", "gs", "s3")


@dataclass
class Launch:
    """The registered tasks of the steps with @flyte, by project and domain (None: the flow's)."""

    tasks: dict[tuple[str | None, str | None], tuple[Remote, Tasks]] = field(default_factory=dict)

    @classmethod
    @installed()
    def of(cls, flow: Any) -> Launch:
        """Package the flow that runs and register what its steps need, before any of it runs.

        FlyteException for what cannot be packaged or pushed.
        """
        context = click.get_current_context()
        obj = context.obj
        added = [
            word for spec in context.params.get("decospecs") or () for word in ("--with", spec)
        ]
        obj.flyte_project = obj.flyte_domain = None
        obj.flyte_words = (*top_level_words(), *shaping(added))
        launch = cls()
        with remote_of(obj) as remote:
            launch._register(remote, remote.package(), flow, obj.flow_datastore)
        return launch

    def _register(self, remote: Remote, bundle: Bundle, flow: Any, datastore: Any) -> None:
        from mfbuild.executions.single_steps import push_tasks
        from mfbuild.push.record import site_of

        for where, steps in _steps(flow).items():
            there = elsewhere(remote, *where)
            if datastore.TYPE not in _SHARED and not there.target.embedded:
                raise FlyteException(
                    "@flyte needs a datastore that pods reach: --datastore=s3, "
                    "--datastore=azure or --datastore=gs."
                )
            site = site_of(bundle.manifest, there.target, there.deployment)
            self.tasks[where] = (there, push_tasks(bundle, site, there.target, steps))

    @installed()
    def replace(self, cli_args: Any, step: str, where: tuple[str | None, str | None]) -> None:
        """Let the task of `step` be started on Flyte, instead of here."""
        remote, tasks = self.tasks[where]
        to = remote.target
        cli_args.entrypoint[0] = sys.executable
        cli_args.commands = [
            *("flyte", f"--project={to.project}", f"--domain={to.domain}", "step"),
        ]
        given = cli_args.command_options
        cli_args.command_options = {name: given.get(name) for name in _PASSED_ON}
        cli_args.command_options["code"] = tasks.code
        cli_args.command_options["version"] = tasks.ids[step].version


def _steps(flow: Any) -> dict[tuple[str | None, str | None], list[str]]:
    """The steps that have @flyte, by where it says that they run."""
    found: dict[tuple[str | None, str | None], list[str]] = {}
    for step in flow:
        for decorator in step.decorators:
            if decorator.name == "flyte":
                found.setdefault(decorator.where, []).append(step.__name__)
    return found
