"""Options that say where flows are registered and in whose name, and what they mean."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mfbuild.cli import options
from mfbuild.config import Config
from mfbuild.errors import UsageError
from mfbuild.runtime.environment import user_of

if TYPE_CHECKING:
    from mfbuild.build.session import Session
    from mfbuild.flow.spec import Destination, FlowSpec
    from mfbuild.flyte.backend import Execution
    from mfbuild.push.deployment import Deployment
    from mfbuild.push.names import FlowWord
    from mfbuild.push.target import PushTarget

_FILE = re.compile(r"(.+?\.py|//.+?)((?:@[^@:/]*)?(?::[^@:/]*)?)")
"""A word of a flow that is named by its file or label, and what comes after that."""


def arguments(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Project and domain, and @project's branch."""
    parser.add_argument(
        "-d",
        "--domain",
        dest="domains",
        action="append" if several else "store",
        type=str if several else lambda name: [name],
        default=[],
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


def metaflow_arguments(parser: argparse.ArgumentParser) -> None:
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


@dataclass(frozen=True, slots=True)
class Where:
    """What the command line says of where flows go and in whose name; `domains` () if nothing.

    `activate` is whether what is pushed goes live, whatever the domain's own policy is.
    """

    domains: tuple[str, ...]
    project: str | None
    deployment: Deployment
    activate: bool


def where_of(args: argparse.Namespace, config: Config) -> Where:
    """What `arguments` and `metaflow_arguments` have read, and `--activate`."""
    from mfbuild.push.deployment import Deployment

    deployment = Deployment(
        owner=user_of(config.environ),
        namespace=getattr(args, "namespace", None),
        tags=tuple(getattr(args, "tags", ())),
        branch=args.branch,
        production=args.production,
    )
    domains = tuple(dict.fromkeys(getattr(args, "domains", ())))
    return Where(domains, args.project, deployment, getattr(args, "activate", False))


def destinations(where: Where, spec: FlowSpec | None, config: Config) -> list[Destination]:
    """Every domain that is named, else the one that is chosen for the flow; each with a project.

    The project is the flag's, else @flyte's, else None: BUILD.toml's.
    """
    from mfbuild.flow.spec import Destination
    from mfbuild.push.target import choose_domain

    flyte = spec.flyte if spec else None
    domains = where.domains or (choose_domain(None, flyte, _branch(where, spec), config),)
    project = where.project or (flyte.project if flyte else None)
    return [Destination(project, domain) for domain in domains]


def target_at(to: Destination, session: Session) -> PushTarget:
    """The backend and the bundles of a domain; UsageError as of `target_of`."""
    from mfbuild.push.target import target_of

    assert to.domain, "BUG: a destination without a domain"
    return target_of(to.domain, session.config, session.store, session.reporter, to.project)


def only_target(where: Where, session: Session, spec: FlowSpec | None = None) -> PushTarget:
    """The target that a verb works on which takes no more than one."""
    return target_at(destinations(where, spec, session.config)[0], session)


def activates(where: Where, domain: str, config: Config) -> bool:
    """Whether what is pushed to a domain goes live."""
    return where.activate or config.domains[domain].activate


def registered(
    args: argparse.Namespace, session: Session, text: str, *, single: bool = False
) -> tuple[PushTarget, FlowWord]:
    """The target of `FLOW[@VERSION]`, and the word as that has it."""
    where = where_of(args, session.config)
    word, spec = _flow_word(text, where, session, single=single)
    return only_target(where, session, spec), word


def execution(args: argparse.Namespace, session: Session) -> tuple[PushTarget, Execution]:
    """The execution that `args.execution` names, and its target."""
    from mfbuild.push.names import find_execution

    target = only_target(where_of(args, session.config), session)
    return target, find_execution(target, args.execution)


def workspace(*words: str) -> Path:
    """The workspace of flows that are named by file or by what they are registered as."""
    return options.workspace_of([found[1] for word in words if (found := _FILE.fullmatch(word))])


def registered_word(text: str) -> FlowWord:
    """`FLOW[@VERSION]`, where FLOW is a registered name alone."""
    from mfbuild.push.names import FlowWord

    if _FILE.fullmatch(text):
        hint = "give the name that was pushed, as `mfbuild push` prints it"
        raise UsageError(f"`{text}` is a file, and no registered name", hint=hint)
    return FlowWord.parse(text, single=False)


def _flow_word(
    text: str, where: Where, session: Session, *, single: bool
) -> tuple[FlowWord, FlowSpec | None]:
    """`FLOW[@VERSION]`, and with `single` `:STEP`; FLOW is a registered name, a file or a label.

    A file stands for the name that it is registered under, with the prefix of @project.
    """
    from mfbuild.push.names import FlowWord

    found = _FILE.fullmatch(text)
    if found is None:
        return FlowWord.parse(text, single=single), None
    from mfbuild.build.load import load_one

    flow = load_one(session, found[1])
    word = FlowWord.parse(f"{flow.spec.name}{found[2]}", single=single)
    return replace(word, name=where.deployment.prefix(flow.spec) + flow.spec.name), flow.spec


def _branch(where: Where, spec: FlowSpec | None) -> str | None:
    """@project's branch as Metaflow calls it; without a flow, what the flags say of it."""
    deployment = where.deployment
    if spec and spec.project:
        return deployment.prefix(spec)[len(spec.project.name) + 1 : -1]
    kind = "prod" if deployment.production else "test" if deployment.branch else None
    return ".".join(filter(None, (kind, deployment.branch))) if kind else None
