"""Options that say where flows are registered, and what they mean."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mfbuild.config import DEFAULT_DOMAINS, Config
from mfbuild.errors import UsageError

if TYPE_CHECKING:
    from mfbuild.flow.spec import FlowSpec
    from mfbuild.loading import Session
    from mfbuild.push.deployment import Deployment
    from mfbuild.push.names import FlowWord
    from mfbuild.push.places import Place

_USERS = ("METAFLOW_USER", "SUDO_USER", "USERNAME", "USER")
"""Where Metaflow looks for the person's name (util.py, `get_username`)."""


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
        + " (default: the flow's @flyte, else development)",
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
        "--tag", dest="tags", action="append", default=[], help="a tag of every run; repeatable"
    )
    parser.add_argument("--namespace", help="Metaflow's namespace for the runs")


def domains_of(args: argparse.Namespace, config: Config, spec: FlowSpec | None) -> Sequence[str]:
    """The domains that a flow goes to: of the flags, its @flyte, else the first that there is."""
    if given := getattr(args, "domains", None) or getattr(args, "domain", None):
        return [given] if isinstance(given, str) else list(dict.fromkeys(given))
    if spec and (said := flyte_of(spec).get("domain")):
        return [said]
    if DEFAULT_DOMAINS[0] in config.domains:
        return [DEFAULT_DOMAINS[0]]
    known = ", ".join(f"`{name}`" for name in config.domains)
    raise UsageError("nothing says which domain", hint=f"give --domain; there are {known}")


def domain_of(args: argparse.Namespace, config: Config) -> str:
    """The one domain that a verb works on."""
    (domain,) = domains_of(args, config, None)
    return domain


def flyte_of(spec: FlowSpec) -> Mapping[str, str]:
    """What @flyte on the flow says; empty without it."""
    found = (d.attributes for d in spec.decorators if d.name == "flyte")
    return {name: str(value) for name, value in next(found, {}).items() if value}


def place(session: Session, domain: str) -> Place:
    """The backend and the bundles of a domain."""
    from mfbuild.push.places import place_of

    return place_of(domain, session.config, session.store, session.reporter)


def deployment(
    args: argparse.Namespace, session: Session, place: Place, domain: str, spec: FlowSpec | None
) -> Deployment:
    """Where a flow goes and in whose name, of the flags, its @flyte and BUILD.toml."""
    from mfbuild.push.deployment import Deployment
    from mfbuild.push.places import project_of

    said = flyte_of(spec).get("project") if spec else None
    return Deployment(
        project=project_of(args.project or said, session.config, place),
        domain=domain,
        owner=owner(os.environ),
        namespace=getattr(args, "namespace", None),
        tags=tuple(getattr(args, "tags", ())),
        branch=args.branch,
        production=args.production,
    )


def flow_word(
    args: argparse.Namespace, session: Session, text: str
) -> tuple[FlowWord, FlowSpec | None]:
    """`FLOW[@VERSION][:STEP]`, where FLOW is a registered name, or a file or label of a flow.

    A file stands for the name that it is registered under, with the prefix of @project.
    """
    from dataclasses import replace

    from mfbuild.push.names import FlowWord

    name, mark, rest = text.partition(".py")
    if not mark and not text.startswith("//"):
        return FlowWord.parse(text), None
    from mfbuild.labels import find_flows
    from mfbuild.loading import load_flows
    from mfbuild.push.deployment import Deployment

    (file,) = find_flows([name + mark], session.config.root)
    ((flow),) = load_flows(session, [file])
    named = Deployment("", "", owner(os.environ), branch=args.branch, production=args.production)
    word = FlowWord.parse(f"{flow.spec.name}{rest}")
    return replace(word, name=named.prefix(flow.spec) + flow.spec.name), flow.spec


def owner(env: Mapping[str, str]) -> str | None:
    """The person's name as Metaflow has it; None for `root` and for nobody, as in a CI job."""
    found = (env.get(name) for name in _USERS)
    return next((name for name in found if name and name != "root"), None)
