"""`create`: a flow's bundle in Flyte, and the launch plan that says in whose name it runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flyteidl.core.identifier_pb2 import Identifier

    from mfbuild.bundle.read import Bundle
    from mfbuild.flyte.backend import LaunchPlan

    from .remote import Remote


def deploy(
    remote: Remote, bundle: Bundle, *, max_workers: int | None, activate: bool
) -> LaunchPlan:
    """Push `bundle` and make it the version that is triggered and scheduled; its launch plan.

    A version is a bundle's. Where it was registered in another name (another token, other tags),
    that stays as it is, and a launch plan for the same workflow is registered beside it.
    """
    from mfbuild.push.record import site_of
    from mfbuild.push.results import push_and_tell

    site = site_of(bundle.manifest, remote.target, remote.deployment)
    result = push_and_tell(bundle, site, remote.target, remote.session.reporter, activate=False)
    plan = _in_this_name(remote, result.pushed.launch_plan, max_workers)
    if activate:
        remote.target.backend.registrations.set_active(plan.id, active=True)
    return plan


def _in_this_name(remote: Remote, pushed: Identifier, max_workers: int | None) -> LaunchPlan:
    """`pushed`, or the launch plan of the same workflow that has this person and these workers."""
    from mfbuild.flyte.names import PERSON
    from mfbuild.flyte.pod_text import escaped_json
    from mfbuild.flyte.resolve import own_version
    from mfbuild.flyte.templates import fix

    registrations = remote.target.backend.registrations
    found = registrations.launch_plan(pushed)
    assert found, "BUG: a push ends with a launch plan"
    spec = type(found.spec)()
    spec.CopyFrom(found.spec)
    fix(spec, {PERSON: escaped_json(remote.deployment.person())})
    if max_workers is not None:
        spec.max_parallelism = max_workers
    if spec == found.spec:
        return found
    beside = type(pushed)()
    beside.CopyFrom(pushed)
    beside.version = own_version(spec)
    registrations.create(beside, spec)
    return replace(found, id=beside, spec=spec)
