"""Deployed flows without their files: a flow with the same parameters stands in for each."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaflow.runner.deployer import Deployer

from .installed import installed
from .remote import FlyteException, session_of

if TYPE_CHECKING:
    from mfbuild.flow.spec import ParameterSpec
    from mfbuild.push.target import PushTarget

_TYPES = {"int": "int", "float": "float", "bool": "bool", "str": "str", "json": "JSONType"}


@installed()
def stand_in(identifier: str) -> Any:
    """The Deployer of a flow that stands in for the deployed one; its files go with it.

    `identifier` is `[project/domain/]name`. FlyteException if nothing of that name is deployed.
    """
    *where, name = identifier.split("/")
    project, domain = where if len(where) == 2 else (None, None)
    with _found(project, domain) as (root, target):
        from mfbuild.flyte.parameters import parameters_of
        from mfbuild.push.deployment import deployment_of
        from mfbuild.push.names import FlowWord, find_launch_plan

        plan = find_launch_plan(target, FlowWord(name))
        parameters = parameters_of(plan.spec.default_inputs)
        to = deployment_of(name)
    before, _, flow = name.rpartition(".")
    folder = tempfile.TemporaryDirectory(prefix="mfbuild-deployed-")
    file = Path(folder.name, f"{flow.lower()}.py")
    file.write_text(_text(flow, before.partition(".")[0], parameters), encoding="utf-8")
    env = {"MFBUILD_WORKSPACE": str(root), **({"METAFLOW_OWNER": to.owner} if to.owner else {})}
    of_project = {"branch": to.branch, "production": to.production}
    chosen: dict[str, Any] = {name: value for name, value in of_project.items() if value}
    stands_in: Any = Deployer(str(file), env=env, **chosen)
    deployer = stands_in.flyte(project=target.project, domain=target.domain)
    deployer.name, deployer.flow_name, deployer.folder = name, flow, folder
    return deployer


@installed()
def deployed_names() -> list[str]:
    """The names of what is active where flows go by default."""
    with _found(None, None) as (_, target):
        from mfbuild.flyte.names import PERSON

        active = target.backend.registrations.active(target.project, target.domain)
        ours = [plan for plan in active if PERSON in plan.spec.fixed_inputs.literals]
        return sorted(plan.id.name for plan in ours)


@contextmanager
def _found(project: str | None, domain: str | None) -> Iterator[tuple[Path, PushTarget]]:
    """The workspace of the current folder, and its target."""
    from mfbuild.errors import MfbuildError
    from mfbuild.push.target import choose_domain, target_of

    lost = False
    try:
        with session_of([], quiet=True) as session:
            lost = not session.config.file.is_file()
            domain = choose_domain(domain, None, None, session.config)
            target = target_of(domain, session.config, session.store, session.reporter, project)
            yield session.config.root, target
    except MfbuildError as error:
        told = FlyteException.of(error)
        if lost:
            told.message += (
                f"\n  hint: there is no BUILD.toml in `{Path.cwd()}` or above it: look from the "
                "flow's workspace, or set MFBUILD_WORKSPACE to it"
            )
        raise told from None


def _text(flow: str, project: str, parameters: Sequence[ParameterSpec]) -> str:
    """The stand-in's source; names and help may have come from anybody, and are quoted."""
    if not flow.isidentifier():
        raise FlyteException(f"`{flow}` is no flow of Metaflow.")
    if wrong := [p.variable for p in parameters if not p.variable.isidentifier()]:
        raise FlyteException(f"`{wrong[0]}` is no variable of a flow.")
    lines = [f"    {p.variable} = {_parameter(p)}" for p in parameters]
    return "\n".join(
        [
            "from metaflow import FlowSpec, IncludeFile, JSONType, Parameter, project, step",
            *([f"@project(name={project!r})"] if project else []),
            f"class {flow}(FlowSpec):",
            *lines,
            "    @step",
            "    def start(self):",
            "        self.next(self.end)",
            "    @step",
            "    def end(self):",
            "        pass",
            "if __name__ == '__main__':",
            f"    {flow}()",
            "",
        ]
    )


def _parameter(parameter: ParameterSpec) -> str:
    words = f"{parameter.name!r}, help={parameter.help!r}, required={parameter.required!r}"
    if parameter.type == "file":
        encoding = parameter.encoding or "utf-8"
        return f"IncludeFile({words}, is_text={parameter.is_text!r}, encoding={encoding!r})"
    return f"Parameter({words}, type={_TYPES[parameter.type]})"
