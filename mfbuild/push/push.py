"""A push, from a bundle to a live version: its six stages (docs/push.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flyteidl.core.identifier_pb2 import Identifier

from mfbuild.engine.model import Digest
from mfbuild.flyte.backend import LaunchPlan, Registrations, describe
from mfbuild.flyte.names import CODE, PLAN
from mfbuild.flyte.resolve import Resolved, Site, resolve
from mfbuild.flyte.templates import Compiled, address, fixed
from mfbuild.push.record import EMBEDDED
from mfbuild.push.register import register
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


def push(bundle: Source, site: Site, target: PushTarget, *, activate: bool) -> Pushed:
    """Bring `bundle` to `target`, as far as it is not there; `site` is of `site_of`.

    resolve -> images -> files -> register -> activate -> result (docs/push.md)

    The launch plan is registered last: where it is `found`, so is everything else. The images are
    asked for once all the same, since a registry may have lost them, and so are the files, where
    anybody may remove them. PushError and FlyteError for what cannot be sent or is another there.
    """
    registrations = target.backend.registrations

    resolved = resolved_of(bundle, site)
    found = registrations.launch_plan(resolved.launch_plan_id)

    sent_images = target.bundles.put(bundle, site.repository)

    files = send_files(files_of(bundle, resolved), site, registrations, found)

    # What is kept in files may be lost in part: there the launch plan says nothing of the rest.
    wanted = resolved.entities(files.addresses)
    registered = register(registrations, wanted, found, each=target.embedded)

    active = found is not None and found.active
    if activate and not active:
        registrations.set_active(resolved.launch_plan_id, active=True)

    return Pushed(
        launch_plan=resolved.launch_plan_id,
        images=site.images,
        sent=registered.sent,
        sent_images=sent_images,
        active=active or activate,
        notes=(*registered.notes, *_lost(found, code=files.sent, images=sent_images)),
    )


def resolved_of(bundle: Source, site: Site) -> Resolved:
    """The entities of a bundle at its site, their launch plan without addresses yet."""
    templates = Compiled.decode(bundle.read(bundle.manifest.flyte))
    return resolve(templates, site, version=bundle.manifest.version)


@dataclass(frozen=True, slots=True)
class File:
    """What tasks download: `input` is the launch plan's that has its address."""

    input: str
    name: str
    digest: Digest
    size: int
    read: Callable[[], bytes]


def files_of(bundle: Source, resolved: Resolved) -> tuple[File, ...]:
    """The code of a bundle, and its expansion plan where it has one."""
    code, plan = bundle.manifest.code, resolved.expansion_plan
    found = File(CODE, "code.tar.gz", code.digest, code.size, lambda: bundle.read(code))
    if plan is None:
        return (found,)
    return found, File(PLAN, "plan.json", Digest.of(plan), len(plan), lambda: plan)


@dataclass(frozen=True, slots=True)
class SentFiles:
    """The address of each file, and whether any was sent."""

    addresses: Mapping[str, str]
    sent: bool


def send_files(
    files: Sequence[File], site: Site, registrations: Registrations, found: LaunchPlan | None = None
) -> SentFiles:
    """Upload `files`; those of a launch plan that is `found` only where they were lost."""
    addresses, sent = {}, False
    for file in files:
        url = fixed(found.spec, file.input).partition("#")[0] if found else None
        if url is None or not registrations.keeps(file.digest, file.size):
            uploaded = registrations.upload(site.project, site.domain, file.name, file.read())
            url, sent = url or uploaded, True
        addresses[file.input] = address(url, file.digest)
    return SentFiles(addresses, sent)


def _lost(found: LaunchPlan | None, *, code: bool, images: bool) -> tuple[str, ...]:
    """What to tell of a version that is there, of which something had to be sent."""
    if found is None:
        return ()
    plan = describe(found.id)
    told = {
        f"the code of {plan} was lost, and was sent again": code,
        f"the images of {plan} were lost, and were sent again": images,
    }
    return tuple(sentence for sentence, is_so in told.items() if is_so)
