"""Words that name what is registered: `FLOW`, `FLOW@VERSION`, and executions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice

from flyteidl.core.identifier_pb2 import Identifier, ResourceType

from mfbuild.errors import UsageError, did_you_mean
from mfbuild.flyte.backend import Execution, ExecutionId, LaunchPlan
from mfbuild.push.target import PushTarget

_VERSION = re.compile(r"[0-9a-f]{4,40}\Z")
_WHOLE = 40


@dataclass(frozen=True, slots=True)
class FlowWord:
    """`FLOW[@VERSION][:STEP]`; a version may be abbreviated to its first digits."""

    name: str
    version: str | None = None
    step: str | None = None

    @classmethod
    def parse(cls, text: str, *, single: bool = True) -> FlowWord:
        """Read the word; UsageError for a version that is none, or a step where not `single`."""
        rest, colon, step = text.partition(":")
        name, at, version = rest.partition("@")
        wrong_step = colon and not (single and step)
        if not name or wrong_step or (at and not _VERSION.match(version)):
            form = "FLOW[@VERSION][:STEP]" if single else "FLOW[@VERSION]"
            raise UsageError(
                f"`{text}` is not {form}",
                hint="a version is 4 to 40 hex digits, as `mfbuild versions` prints them",
            )
        return cls(name, version or None, step or None)


def find_launch_plan(target: PushTarget, word: FlowWord) -> LaunchPlan:
    """The registered version that `word` means: without a version the active one, else the newest.

    UsageError if there is none, or more than one that begins with these digits.
    """
    registrations = target.backend.registrations
    if word.version and len(word.version) == _WHOLE:
        found = registrations.launch_plan(launch_plan_id(target, word.name, word.version))
        versions = [found] if found else []
    else:
        versions = list(registrations.launch_plans(target.project, target.domain, word.name))
    if not versions:
        raise _unknown(target, word)
    if word.version is None:
        return next((plan for plan in versions if plan.active), versions[0])
    matching = [plan for plan in versions if plan.id.version.startswith(word.version)]
    if len(matching) != 1:
        hint = "; ".join(plan.id.version for plan in matching) or None
        how = "more than one version" if matching else "no version"
        raise UsageError(f"`{word.name}` has {how} that begins with `{word.version}`", hint=hint)
    return matching[0]


def versions_of(target: PushTarget, word: FlowWord) -> list[LaunchPlan]:
    """Every registered version that `word` means, newest first; UsageError if there is none."""
    plans = target.backend.registrations.launch_plans(target.project, target.domain, word.name)
    found = [plan for plan in plans if plan.id.version.startswith(word.version or "")]
    if not found:
        raise _unknown(target, word)
    return found


def launch_plan_id(target: PushTarget, name: str, version: str) -> Identifier:
    """The identifier of a launch plan."""
    return Identifier(
        resource_type=ResourceType.LAUNCH_PLAN,
        project=target.project,
        domain=target.domain,
        name=name,
        version=version,
    )


def find_execution(target: PushTarget, word: str) -> Execution:
    """An execution by its name, or by the run id that Metaflow has for it (`[Flow/]flyte-…`).

    UsageError if there is none, with one that is called alike.
    """
    name = word.rpartition("/")[2].removeprefix("flyte-")
    executions = target.backend.executions
    if found := executions.get(ExecutionId(target.project, target.domain, name)):
        return found
    recent = islice(executions.list(target.project, target.domain), 20)
    names = [execution.id.name for execution in recent]
    hint = did_you_mean(name, names) if names else "nothing has run there yet"
    raise UsageError(f"there is no execution `{name}` in {target}", hint=hint)


def check_project(target: PushTarget) -> None:
    """UsageError, with those that there are, if the project or its domain is not there."""
    known = target.backend.registrations.projects()
    project, domain = target.project, target.domain
    if project not in known:
        hint = did_you_mean(project, sorted(known)) if known else None
        raise UsageError(f"there is no project `{project}` at {target.shown}", hint=hint)
    if domain not in known[project]:
        hint = did_you_mean(domain, sorted(known[project]))
        raise UsageError(
            f"the project `{project}` has no domain `{domain}` at {target.shown}", hint=hint
        )


def _unknown(target: PushTarget, word: FlowWord) -> UsageError:
    check_project(target)
    what = f"`{word.name}@{word.version}`" if word.version else f"`{word.name}`"
    return UsageError(
        f"nothing is registered as {what} in {target}",
        hint=f"register it first: mfbuild push --domain {target.domain}",
    )
