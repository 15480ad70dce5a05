"""Which version of a flow is live."""

from __future__ import annotations

from mfbuild.flyte.backend import LaunchPlan
from mfbuild.push.names import FlowWord, find_launch_plan
from mfbuild.push.target import PushTarget
from mfbuild.report import PlainReporter


def switch(
    target: PushTarget, word: FlowWord, reporter: PlainReporter, *, active: bool
) -> LaunchPlan:
    """Make the version that `word` means active or inactive, and say so; UsageError for none."""
    plan = find_launch_plan(target, word)
    if plan.active != active:
        target.backend.registrations.set_active(plan.id, active=active)
    state = "active" if active else "inactive"
    changed = "" if plan.active != active else " already"
    reporter.note(f"{plan.id.name} is {state}{changed} in {target.project}/{target.domain}")
    return plan
