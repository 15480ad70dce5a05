"""A deployment: what belongs to a person, and so to no version (docs/push.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mfbuild.engine.model import canonical
from mfbuild.errors import UsageError
from mfbuild.flow.options import BOOLEANS, flow_options, value_of
from mfbuild.flow.spec import FlowSpec

_WORD = re.compile(r"[a-z0-9_]{1,128}\Z")


@dataclass(frozen=True, slots=True)
class Deployment:
    """In whose name a flow is registered.

    `branch` and `production` are @project's; `namespace`, `tags` and `production_token` Metaflow's
    own. `owner` is the person's name as Metaflow has it; without one, the steps run as `flyte`.
    """

    owner: str | None
    namespace: str | None = None
    tags: tuple[str, ...] = ()
    branch: str | None = None
    production: bool = False
    production_token: str | None = None

    def person(self) -> str:
        """The launch plan's fixed input `person`: canonical JSON of what is set (docs/flyte.md)."""
        values = {
            "user": self.owner,
            "namespace": self.namespace,
            "tags": list(self.tags),
            "branch": self.branch,
            "production": self.production,
            "production_token": self.production_token,
        }
        return canonical({name: value for name, value in values.items() if value})

    def prefix(self, spec: FlowSpec) -> str:
        """`<project>.<branch>.` before the names of a flow with @project, as Metaflow forms it.

        UsageError where that would be nobody's branch, for a branch that Metaflow would refuse
        (plugins/project_decorator.py, `format_name`), or one that the decorator contradicts.
        """
        if spec.project is None:
            return ""
        branch, production = _branch_of(spec, self)
        if branch and not _WORD.match(branch):
            raise UsageError(
                f"the branch `{branch}` is not made of lower-case letters, digits and `_`"
            )
        if not (branch or production or self.owner):
            raise UsageError(
                "a flow with @project goes to a branch, and nothing says who you are",
                hint="give --branch or --production, or set METAFLOW_USER",
            )
        kind = "prod" if production else "test" if branch else "user"
        rest = branch or (None if production else self.owner)
        return ".".join(part for part in (spec.project.name, kind, rest) if part) + "."


def read_branch(name: str) -> tuple[str | None, str | None, bool]:
    """The owner, the branch and production of what Metaflow calls a branch.

    `user.ada`, `test.exp`, `prod` or `prod.exp`; "" is the branch of a flow without @project.
    """
    kind, _, rest = name.partition(".")
    return (
        rest if kind == "user" else None,
        rest if kind != "user" and rest else None,
        kind == "prod",
    )


def deployment_of(name: str) -> Deployment:
    """The deployment that gives a flow its name, `[<project>.<branch>.]<Flow>`: what that says."""
    owner, branch, production = read_branch(name.rpartition(".")[0].partition(".")[2])
    return Deployment(owner, branch=branch, production=production)


def branch_of_run(options: Sequence[str], environ: Mapping[str, str]) -> tuple[str | None, bool]:
    """@project's branch and production as `python flow.py run` has them.

    Of Metaflow's top-level options, else of the variables that click and Metaflow make of these.
    """

    def variable(name: str) -> str:
        return environ.get(f"METAFLOW_{name}") or environ.get(f"METAFLOW_FLOW_{name}") or ""

    given = value_of(options, "--branch")
    branch = variable("BRANCH") or None if given is None else given
    production = any(option.name == "--production" for option in flow_options(options))
    return branch, production or BOOLEANS.get(variable("PRODUCTION").lower(), False)


def _branch_of(spec: FlowSpec, deployment: Deployment) -> tuple[str | None, bool]:
    """@project's branch and whether it is production: of its attributes, else of the deployment."""
    attributes = next((d.attributes for d in spec.decorators if d.name == "project"), {})
    branch, production = attributes.get("branch"), bool(attributes.get("production"))
    if branch and deployment.branch and branch != deployment.branch:
        raise UsageError(f"`--branch` contradicts @project(branch={branch!r})")
    return branch or deployment.branch, production or deployment.production
