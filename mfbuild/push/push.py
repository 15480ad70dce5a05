"""The stages of a push: images, blobs, registrations, activation (docs/push.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flyteidl.core.identifier_pb2 import Identifier

from mfbuild.engine.model import Digest, canonical
from mfbuild.flyte.backend import LaunchPlan, Registrations, describe
from mfbuild.flyte.names import CODE, PLAN
from mfbuild.flyte.resolve import Resolved, resolve
from mfbuild.flyte.templates import Compiled, address, image_of
from mfbuild.push.deployment import Deployment
from mfbuild.push.entities import entities
from mfbuild.push.record import EMBEDDED, repository_of, site_of
from mfbuild.push.register import accept, fixed, register
from mfbuild.push.target import PushTarget

if TYPE_CHECKING:
    from mfbuild.push.bundles import Source


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push ended with: the launch plan, each step's image, and what it had to send.

    `notes` are sentences for people: what is registered otherwise than it would be now.
    """

    launch_plan: Identifier
    images: Mapping[str, str]
    sent: tuple[Identifier, ...]
    sent_images: bool
    active: bool
    notes: tuple[str, ...] = ()

    @property
    def references(self) -> tuple[str, ...]:
        """The distinct images, as a registry has them; none on the embedded backend."""
        found = dict.fromkeys(self.images.values())
        return tuple(image for image in found if not image.startswith(f"{EMBEDDED}/"))


def push(bundle: Source, deployment: Deployment, target: PushTarget, *, activate: bool) -> Pushed:
    """Bring `bundle` to where `deployment` says, as far as it is not there, and activate it.

    The launch plan is registered last: where it is there, so is everything else; the images are
    asked for once all the same, since a registry may have lost them, and so are the code and the
    plan where they are files that anybody may remove. UsageError for what is missing for that
    place; PushError and FlyteError for what cannot be sent or is another there.
    """

    def upload(name: str, data: bytes) -> str:
        return registrations.upload(deployment.project, deployment.domain, name, data)

    manifest, registrations = bundle.manifest, target.backend.registrations
    repository = repository_of(manifest, deployment.domain)
    resolved = resolved_of(bundle, deployment, embedded=target.embedded)
    found = registrations.launch_plan(resolved.launch_plan_id)
    sent_images = target.bundles.put(bundle, repository)
    if found is None:
        registered = register(
            registrations, entities(addressed(bundle, resolved, deployment, upload))
        )
        sent, notes = registered.sent, registered.notes
    else:
        sent, notes = (), _known(bundle, resolved, deployment, found)
        if not _is_kept(bundle, resolved, registrations):
            addressed(bundle, resolved, deployment, upload)
            notes += (f"the code of {describe(found.id)} was lost, and was sent again",)
        if sent_images:
            notes += (f"the images of {describe(found.id)} were lost, and were sent again",)
    active = found is not None and found.active
    if activate and not active:
        registrations.set_active(resolved.launch_plan_id, active=True)
    return Pushed(
        launch_plan=resolved.launch_plan_id,
        images={step: image_of(task) for step, task in resolved.tasks.items()},
        sent=sent,
        sent_images=sent_images,
        active=active or activate,
        notes=notes,
    )


def resolved_of(bundle: Source, deployment: Deployment, *, embedded: bool) -> Resolved:
    """The entities of a bundle for one deployment, their launch plan without addresses yet."""
    site = site_of(bundle.manifest, deployment, embedded=embedded)
    templates = Compiled.decode(bundle.read(bundle.manifest.flyte))
    return resolve(templates, site, version=bundle.manifest.version)


def addressed(
    bundle: Source, resolved: Resolved, deployment: Deployment, upload: Callable[[str, bytes], str]
) -> Resolved:
    """`resolved` with its fixed inputs; `upload` gives the URL of the code and of the plan."""

    def address_of(name: str, data: bytes) -> str:
        return address(upload(name, data), Digest.of(data))

    plan = _plan(resolved)
    return resolved.with_addresses(
        code=address_of("code.tar.gz", bundle.read(bundle.manifest.code)),
        plan=address_of("plan.json", plan) if plan else "",
        person=deployment.person(),
    )


def _plan(resolved: Resolved) -> bytes | None:
    """The bytes of the plan; None where no container starts others."""
    return None if resolved.plan is None else canonical(resolved.plan).encode()


def _is_kept(bundle: Source, resolved: Resolved, registrations: Registrations) -> bool:
    """Whether the code and the plan are where a push has brought them."""
    code, plan = bundle.manifest.code, _plan(resolved)
    return registrations.keeps(code.digest, code.size) and (
        plan is None or registrations.keeps(Digest.of(plan), len(plan))
    )


def _known(
    bundle: Source, resolved: Resolved, deployment: Deployment, found: LaunchPlan
) -> tuple[str, ...]:
    """What to tell of the version that is there; nothing is uploaded to compare it."""
    there = {name: fixed(found.spec, name).partition("#")[0] for name in (CODE, PLAN)}
    plan = _plan(resolved)
    expected = resolved.with_addresses(
        code=address(there[CODE], bundle.manifest.code.digest),
        plan=address(there[PLAN], Digest.of(plan)) if plan else "",
        person=deployment.person(),
    )
    return accept(expected.launch_plan, found)
