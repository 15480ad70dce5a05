"""Options that say where flows are registered, and what they mean."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mfbuild.cli import options
from mfbuild.config import Config
from mfbuild.errors import UsageError
from mfbuild.runtime.environment import user_of

if TYPE_CHECKING:
    from mfbuild.build.session import Session
    from mfbuild.flow.spec import FlowSpec
    from mfbuild.flyte.backend import Execution
    from mfbuild.push.deployment import Deployment
    from mfbuild.push.names import FlowWord
    from mfbuild.push.target import PushTarget

_FILE = re.compile(r"(.+?\.py|//.+?)((?:@[^@:/]*)?(?::[^@:/]*)?)")
"""A word of a flow that is named by its file or label, and what comes after that."""


def where(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Project and domain, and @project's branch."""
    parser.add_argument(
        "-d",
        "--domain",
        dest="domains" if several else "domain",
        action="append" if several else "store",
        metavar="DOMAIN",
        help="a domain of BUILD.toml"
        + ("; repeatable" if several else "")
        + " (default: @flyte, MFBUILD_DOMAIN, the branch's, development)",
    )
    parser.add_argument(
        "-p", "--project", help="the Flyte project (default: @flyte, else [flyte] of BUILD.toml)"
    )
    parser.add_argument("--branch", metavar="NAME", help="the branch of a flow with @project")
    parser.add_argument(
        "--production", action="store_true", help="the production branch of a flow with @project"
    )


def metaflow(parser: argparse.ArgumentParser) -> None:
    """What a push sets for Metaflow, in no version."""
    parser.add_argument(
        "--tag",
        dest="tags",
        action="append",
        default=[],
        metavar="TAG",
        help="a tag of every run; repeatable",
    )
    parser.add_argument("--namespace", metavar="NAME", help="Metaflow's namespace for the runs")


def domains_of(args: argparse.Namespace, config: Config, spec: FlowSpec | None) -> Sequence[str]:
    """The domains that a flow goes to: of the flags, or the one that is chosen for it."""
    from mfbuild.push.destination import choose_domain

    if given := getattr(args, "domains", None):
        return list(dict.fromkeys(given))
    said = spec.flyte if spec else None
    chosen = getattr(args, "domain", None)
    return [choose_domain(chosen, said, _branch(args, spec, config), config)]


def registered(
    args: argparse.Namespace, session: Session, spec: FlowSpec | None = None
) -> tuple[PushTarget, str, str]:
    """The place, the project and the domain that a verb works on, which takes no more than one."""
    domain = domains_of(args, session.config, spec)[0]
    found = target(args, session, domain, spec)
    return found, deployment(args, session, found, domain, spec).project, domain


def execution(args: argparse.Namespace, session: Session) -> tuple[PushTarget, Execution]:
    """The execution that `args.execution` names, and its place."""
    from mfbuild.push.names import find_execution

    found, project, domain = registered(args, session)
    return found, find_execution(found, project, domain, args.execution)


def _branch(args: argparse.Namespace, spec: FlowSpec | None, config: Config) -> str | None:
    """@project's branch as Metaflow calls it; without a flow, what the flags say of it."""
    if spec and spec.project:
        prefix = _named(args, config).prefix(spec)
        return prefix[len(spec.project.name) + 1 : -1]
    kind = "prod" if args.production else "test" if args.branch else None
    return ".".join(filter(None, (kind, args.branch))) if kind else None


def _named(args: argparse.Namespace, config: Config) -> Deployment:
    """What of a deployment is in the names that it gives."""
    from mfbuild.push.deployment import Deployment

    who = user_of(config.environ)
    return Deployment("", "", who, branch=args.branch, production=args.production)


def target(
    args: argparse.Namespace, session: Session, domain: str, spec: FlowSpec | None = None
) -> PushTarget:
    """The backend and the bundles of a domain."""
    from mfbuild.push.target import target_of

    said = project(args, spec)
    return target_of(domain, session.config, session.store, session.reporter, said)


def project(args: argparse.Namespace, spec: FlowSpec | None) -> str | None:
    """The flag's project, else @flyte's."""
    given: str | None = args.project
    return given or (spec.flyte.project if spec and spec.flyte else None)


def deployment(
    args: argparse.Namespace,
    session: Session,
    target: PushTarget,
    domain: str,
    spec: FlowSpec | None,
) -> Deployment:
    """Where a flow goes and in whose name, of the flags, its @flyte and BUILD.toml."""
    from mfbuild.push.deployment import Deployment
    from mfbuild.push.target import project_of

    return Deployment(
        project=project_of(project(args, spec), session.config, target),
        domain=domain,
        owner=user_of(session.config.environ),
        namespace=getattr(args, "namespace", None),
        tags=tuple(getattr(args, "tags", ())),
        branch=args.branch,
        production=args.production,
    )


def workspace(*words: str) -> Path:
    """The workspace of flows that are named by file or by what they are registered as."""
    return options.workspace_of([found[1] for word in words if (found := _FILE.fullmatch(word))])


def flow_word(
    args: argparse.Namespace, session: Session, text: str, *, single: bool = False
) -> tuple[FlowWord, FlowSpec | None]:
    """`FLOW[@VERSION]`, where FLOW is a registered name, or a file or label of a flow.

    With `single`, `:STEP` may follow.
    A file stands for the name that it is registered under, with the prefix of @project.
    """
    from dataclasses import replace

    from mfbuild.push.names import FlowWord

    found = _FILE.fullmatch(text)
    if found is None:
        return FlowWord.parse(text, single=single), None
    from mfbuild.build.load import load_one

    flow = load_one(session, found[1])
    word = FlowWord.parse(f"{flow.spec.name}{found[2]}", single=single)
    return replace(
        word, name=_named(args, session.config).prefix(flow.spec) + flow.spec.name
    ), flow.spec


def registered_word(text: str) -> FlowWord:
    """`FLOW[@VERSION]`, where FLOW is a registered name alone."""
    from mfbuild.push.names import FlowWord

    if _FILE.fullmatch(text):
        hint = "give the name that was pushed, as `mfbuild push` prints it"
        raise UsageError(f"`{text}` is a file, and no registered name", hint=hint)
    return FlowWord.parse(text, single=False)
