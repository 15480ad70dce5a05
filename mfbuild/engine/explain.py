"""Says in words why an action would run, down to what first changed, or why it last ran."""

from __future__ import annotations

from dataclasses import dataclass

from mfbuild.engine.graph import producers
from mfbuild.engine.plan import Last, Plan, PlannedAction, Status


@dataclass(frozen=True, slots=True)
class Finding:
    """One action's part of an explanation: what is to be said of it, and the reasons."""

    label: str
    verdict: str
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return "\n  ".join([f"`{self.label}` {self.verdict}", *self.reasons])


def explain(plan: Plan, label: str, last: Last) -> tuple[Finding, ...]:
    """Why `label` would run, then the same for each action before it that is among the reasons.

    For an action that is up to date: why it last ran in this workspace, as far as `last` knows.
    Digests and values are given in full. KeyError if the plan has no such label.
    """
    step = plan.step(label)
    if step.status is Status.CACHED:
        return (_past(label, last),)
    steps = {step.action.label: step for step in plan.steps}
    wanted = {label}
    for other in reversed(plan.steps):
        if other.action.label in wanted:
            wanted.update(p for p in producers(other.action) if _runs(steps[p]))
    return tuple(_present(other) for other in reversed(plan.steps) if other.action.label in wanted)


def _runs(step: PlannedAction) -> bool:
    return step.status is not Status.CACHED


def _present(step: PlannedAction) -> Finding:
    verdict = "must run" if step.status is Status.RUN else "runs if its inputs change"
    return Finding(step.action.label, f"{verdict}:", tuple(map(str, step.reasons)))


def _past(label: str, last: Last) -> Finding:
    record = last(label)
    if record is None or not record.why:
        return Finding(label, "is up to date", ())
    return Finding(label, "is up to date; the last time:", record.why)
