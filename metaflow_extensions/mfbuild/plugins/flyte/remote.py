"""A flow's counterpart in Flyte, as one command of `python flow.py flyte …` finds it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaflow import current
from metaflow._vendor import click
from metaflow.exception import MetaflowException
from metaflow.util import get_username

if TYPE_CHECKING:
    from mfbuild.build.load import LoadedFlow
    from mfbuild.build.session import Session
    from mfbuild.bundle.read import Bundle
    from mfbuild.errors import MfbuildError
    from mfbuild.flow.options import FlowOption
    from mfbuild.flow.spec import Destination
    from mfbuild.flyte.backend import Execution, LaunchPlan
    from mfbuild.push.deployment import Deployment
    from mfbuild.push.target import PushTarget

PREFIX = "flyte-"
"""What Metaflow's run ids have before the name of the execution."""


class FlyteException(MetaflowException):
    """What mfbuild found wrong, in the way that Metaflow tells its own errors."""

    headline = "Flyte"

    @classmethod
    def of(cls, error: MfbuildError) -> FlyteException:
        """All problems of `error`, each with where it is and what to do."""
        lines = []
        for problem in error.problems:
            lines.append(problem.message)
            lines += [f"  at {problem.where}"] if problem.where else []
            lines += [f"  hint: {problem.hint}"] if problem.hint else []
        return cls("\n".join(lines))


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a flow is or goes, and the name that it has there. `flow` is its class's name."""

    session: Session
    target: PushTarget
    deployment: Deployment
    file: Path
    flow: str
    name: str

    def load(self) -> LoadedFlow:
        """The flow as mfbuild reads it; no process is started where nothing has changed."""
        from mfbuild.build.load import load_one

        return load_one(self.session, str(self.file))

    def package(self) -> Bundle:
        """The bundle of the flow, with what the command line says of it."""
        from mfbuild.build.pipeline import build
        from mfbuild.bundle.read import read_bundle

        (built,) = build(self.session, [str(self.file)])
        return read_bundle(built.path)

    def with_token(self, token: str) -> Remote:
        """The same, deployed in the name of a production token."""
        return replace(self, deployment=replace(self.deployment, production_token=token))

    def launch_plan(self) -> LaunchPlan:
        """The deployed version: the active one, else the newest; UsageError if there is none."""
        from mfbuild.push.names import FlowWord, find_launch_plan

        return find_launch_plan(self.target, FlowWord(self.name))

    def execution(self, run: str) -> Execution:
        """The execution of a run of this flow (and branch), by its run id or pathspec."""
        from mfbuild.errors import UsageError
        from mfbuild.push.names import find_execution

        if not run.rpartition("/")[2].startswith(PREFIX):
            raise UsageError(f"`{run}` is no run of Flyte: their ids begin with `{PREFIX}`")
        found = find_execution(self.target, run)
        if found.of.name != self.name:
            raise UsageError(
                f"the run `{run}` belongs to `{found.of.name}`, not to `{self.name}`",
                hint="with @project, --branch and --production say which one is meant",
            )
        return found


def session_of(
    words: Sequence[str], options: tuple[str, ...] = (), *, quiet: bool
) -> AbstractContextManager[Session]:
    """The session in the workspace of `words`; `options` are Metaflow's top-level ones."""
    from mfbuild.build.session import Options, open_session
    from mfbuild.config import read_config, workspace_of

    root = workspace_of(words, os.environ)
    config = read_config(root, os.environ, {}, cpus=os.cpu_count() or 1)
    return open_session(config, Options(Path(sys.executable), options), quiet=quiet)


@contextmanager
def remote_of(obj: Any, **deployment: Any) -> Iterator[Remote]:
    """The counterpart of Metaflow's CLI state `obj`; errors within are told as Metaflow's own.

    `deployment` is what else the deployment has, beside its owner and its branch.
    """
    from mfbuild.errors import MfbuildError

    file = Path(os.path.abspath(sys.argv[0]))  # noqa: PTH100 - keeps symlinks, as Metaflow does
    try:
        with session_of([str(file)], tuple(obj.flyte_words), quiet=obj.is_quiet) as session:
            target, found = _target(obj, session), _deployment(deployment)
            name = current.get("project_flow_name") or obj.flow.name
            yield Remote(session, target, found, file, obj.flow.name, name)
    except MfbuildError as error:
        raise FlyteException.of(error) from None


def _target(obj: Any, session: Session) -> PushTarget:
    """What the command line, @flyte, the branch and BUILD.toml say."""
    from mfbuild.push.target import choose_domain, target_of

    said = destination_of(obj.flow)
    domain = choose_domain(obj.flyte_domain, said, current.get("branch_name"), session.config)
    project = obj.flyte_project or (said.project if said else None)
    return target_of(domain, session.config, session.store, session.reporter, project)


def _deployment(more: dict[str, Any]) -> Deployment:
    """@project's branch as Metaflow has it, and whose it is."""
    from mfbuild.push.deployment import Deployment, read_branch

    owner, branch, production = read_branch(current.get("branch_name") or "")
    return Deployment(owner or get_username(), branch=branch, production=production, **more)


def destination_of(flow: Any) -> Destination | None:
    """What @flyte above the flow says."""
    from mfbuild.flow.spec import Destination

    for decorator in flow._flow_decorators.get("flyte", ()):
        return Destination(decorator.attributes["project"], decorator.attributes["domain"])
    return None


def elsewhere(remote: Remote, project: str | None, domain: str | None) -> Remote:
    """The same flow in another project or domain, where these are given."""
    from mfbuild.push.target import target_of

    to, session = remote.target, remote.session
    project, domain = project or to.project, domain or to.domain
    if (project, domain) == (to.project, to.domain):
        return remote
    target = target_of(domain, session.config, session.store, session.reporter, project)
    return replace(remote, target=target)


def top_level_words() -> tuple[str, ...]:
    """The words before the command, as far as they shape the flow."""
    root = click.get_current_context().find_root()
    return shaping(sys.argv[1 : len(sys.argv) - len(root.saved_args)])


_NOT_THE_FLOWS = (
    *("--branch", "--production", "--environment"),
    *("--quiet", "--not-quiet", "--pylint", "--no-pylint"),
)
"""Metaflow's options that shape no flow.

@project's branch belongs to the deployment, so that a version may have many. Images hold what @pypi
asks for whatever the environment is here.
"""


def shaping(words: Sequence[str]) -> tuple[str, ...]:
    """Those of `words` that shape what is packaged: also @flyte itself says nothing to that."""
    from mfbuild.flow.options import flow_options

    return tuple(
        word
        for option in flow_options(words)
        if option.name not in _NOT_THE_FLOWS and not _is_flyte(option)
        for word in option.words
    )


def _is_flyte(option: FlowOption) -> bool:
    return option.name == "--with" and [v.partition(":")[0] for v in option.values] == ["flyte"]
