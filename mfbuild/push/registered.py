"""The bundle of what is registered: what `promote` pushes, `diff` compares, a single step needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mfbuild.errors import UsageError
from mfbuild.flyte.backend import LaunchPlan
from mfbuild.flyte.names import base_name
from mfbuild.push.names import FlowWord, find_launch_plan
from mfbuild.push.target import PushTarget

if TYPE_CHECKING:
    from mfbuild.push.bundles import Source


def registered_bundle(target: PushTarget, word: FlowWord) -> Source:
    """The bundle of a version that is registered at `target`.

    UsageError if it is not registered there; of what is registered, but whose bundle is gone, too.
    """
    return bundle_of(target, find_launch_plan(target, word))


def bundle_of(target: PushTarget, plan: LaunchPlan) -> Source:
    """The bundle that a registered launch plan runs; UsageError if it is gone."""
    flow, version = base_name(plan.id.name), plan.spec.workflow_id.version
    found = target.bundles.find(flow, version)
    if found is None:
        raise UsageError(
            f"the bundle of `{plan.id.name}@{version[:12]}` is gone from where {plan.id.domain} "
            "keeps its bundles",
            hint="package and push the same sources again: it gets the same version",
        )
    return found
