"""What each step of a flow needs, as lock requests and bases: pure, from FlowSpec and Config."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mfbuild.bases.model import Base
from mfbuild.errors import FlowError, Problem, UsageError, did_you_mean
from mfbuild.flow.spec import FlowSpec, StepSpec
from mfbuild.python.model import Request

if TYPE_CHECKING:
    from mfbuild.config import Config

_DATASTORES = {kind: f"datastore_sysroot_{kind}" for kind in ("azure", "gs", "s3")}
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?(?:\[[A-Za-z0-9._, -]+\])?\Z")


@dataclass(frozen=True, slots=True)
class StepNeed:
    """One step's base and its lock request."""

    base: Base
    request: Request


def datastores(config: Config) -> tuple[str, ...]:
    """The Metaflow datastores that the domains of BUILD.toml name, for their clients to be locked.

    A domain names one by `default_datastore`, or by the sysroot that it sets.
    """
    named: set[str] = set()
    for domain in config.domains.values():
        settings = domain.metaflow
        chosen = settings.get("default_datastore")
        roots = [kind for kind, key in _DATASTORES.items() if key in settings]
        named.update([chosen] if chosen else roots)
    return tuple(sorted(named))


def check_targets(spec: FlowSpec, flow: str, config: Config) -> None:
    """UsageError for every target of BUILD.toml that names a step which the flow `flow` lacks."""
    steps = [step.name for step in spec.steps]
    problems = [
        Problem(
            f"there is no step for the target `{label}`",
            where=str(config.file),
            hint=did_you_mean(label, [f"{flow}:{step}" for step in steps]),
        )
        for label in config.targets
        if label.startswith(f"{flow}:") and label.removeprefix(f"{flow}:") not in steps
    ]
    UsageError.raise_for(problems)


def base_names(spec: FlowSpec, flow: str, config: Config) -> dict[str, str]:
    """The name of each step's base: BUILD.toml's target, @kubernetes(image=…), the workspace's.

    FlowError names every step whose image is not pinned by digest: a tag would make the same
    flow give other bytes tomorrow.
    """
    found = {s.name: config.target(flow, s.name).base or s.image or config.base for s in spec.steps}
    problems = [
        Problem(
            f"step `{s.name}` asks for the image `{s.image}`, which is not pinned by digest",
            where=f"{s.file or spec.file}:{s.line}",
            hint="write `repository@sha256:…`, or name a folder of images/ in BUILD.toml",
        )
        for s in spec.steps
        if s.image and found[s.name] == s.image and "@sha256:" not in s.image
    ]
    FlowError.raise_for(problems)
    return found


def step_needs(
    spec: FlowSpec, names: Mapping[str, str], bases: Mapping[str, Base]
) -> dict[str, StepNeed]:
    """Each step's base and request. FlowError: a Python that the base does not have, a package
    that is not written as a name and a version."""
    problems: list[Problem] = []
    needs = {}
    for step in spec.steps:
        base = bases[names[step.name]]
        problems += _python_problems(spec, step, base)
        needs[step.name] = StepNeed(base, _request(spec, step, base, problems))
    FlowError.raise_for(problems)
    return needs


def other_patches(spec: FlowSpec, needs: Mapping[str, StepNeed]) -> list[Problem]:
    """The steps that ask for a patch version of Python which is not their base's.

    What it can do is that of the minor version; Metaflow's own @pypi would have it to the patch.
    """
    return [
        Problem(
            f"step `{step.name}` asks for Python {step.python}, and runs with "
            f"{needs[step.name].request.python} of its base `{needs[step.name].base.name}`",
            where=f"{step.file or spec.file}:{step.line}",
        )
        for step in spec.steps
        if step.python
        and step.python.count(".") > 1
        and step.python != needs[step.name].request.python
    ]


def _python_problems(spec: FlowSpec, step: StepSpec, base: Base) -> list[Problem]:
    if step.python is None or step.python.split(".")[:2] == base.python.split("."):
        return []
    problem = Problem(
        f"step `{step.name}` asks for Python {step.python}, and its base `{base.name}` "
        f"has {base.python}",
        where=f"{step.file or spec.file}:{step.line}",
        hint="set `base` in BUILD.toml to an image with that Python, or change @pypi(python=…)",
    )
    return [problem]


def _request(spec: FlowSpec, step: StepSpec, base: Base, problems: list[Problem]) -> Request:
    without = tuple(sorted(s.name for s in spec.host.sources))
    requirements = []
    for name, version in step.packages.items():
        text = requirement(name, version)
        if text is None:
            problems.append(_bad_package(spec, step, name, version))
        else:
            requirements.append(text)
    return Request(
        python=base.python_release,
        glibc=base.glibc,
        base=_carried(spec.host.requirements, step.packages),
        requirements=tuple(sorted(requirements)),
        without=without,
    )


def _carried(requirements: Sequence[str], packages: Iterable[str]) -> tuple[str, ...]:
    """What every environment carries, less what the step names itself: its version counts.

    As with Metaflow's own @pypi; Metaflow itself is always the one that the flow was loaded with.
    """
    asked = {_plain(name) for name in packages}
    return tuple(sorted(r for r in requirements if "metaflow" in r or _plain(r) not in asked))


def _plain(requirement: str) -> str:
    """The name alone, as PEP 503 normalizes it."""
    found = re.match(r"[\w.-]+", requirement)
    return re.sub(r"[-_.]+", "-", found.group()).lower() if found else ""


def requirement(name: str, version: str) -> str | None:
    """A @pypi entry as PEP 508: `2.2.3` means `==2.2.3`, a specifier stays, "" is any version.

    None for what is neither (a URL, a path, a git reference).
    """
    version = version.strip()
    if not _NAME.match(name) or "://" in version or version.startswith("@"):
        return None
    if version[:1] in ("", "<", ">", "=", "!", "~"):
        return name + version.replace(" ", "")
    return f"{name}=={version}"


def _bad_package(spec: FlowSpec, step: StepSpec, name: str, version: str) -> Problem:
    return Problem(
        f"step `{step.name}` asks for the package `{name}` as `{version}`: "
        "not supported, only versions from an index can be locked",
        where=f"{step.file or spec.file}:{step.line}",
        hint='write a version or a specifier, as in {"pandas": ">=2.2"}',
    )
