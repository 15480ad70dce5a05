"""What a push would register, as the archive of `flytectl register files`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mfbuild.engine.model import Digest
from mfbuild.flyte.archive import flytectl_archive
from mfbuild.push.deployment import Deployment
from mfbuild.push.entities import entities
from mfbuild.push.push import addressed, resolved_of
from mfbuild.push.target import PushTarget

if TYPE_CHECKING:
    from mfbuild.push.bundles import Source


@dataclass(frozen=True, slots=True)
class Exported:
    """An archive, the blobs that are to be laid where it looks for them, and what to tell."""

    archive: bytes
    version: str
    blobs: Mapping[str, bytes]
    notes: tuple[str, ...]


def export(
    bundle: Source, deployment: Deployment, target: PushTarget | None, *, blobs: str | None
) -> Exported:
    """The archive of `bundle` for one deployment.

    Code and plan are uploaded to `target`; with `blobs`, a URL, they come back by their names below
    it instead. UsageError for what is missing for a Flyte.
    """
    kept: dict[str, bytes] = {}

    def keep(name: str, data: bytes) -> str:
        kept[f"{Digest.of(data).hex}/{name}"] = data
        return f"{(blobs or '').rstrip('/')}/{Digest.of(data).hex}/{name}"

    def upload(name: str, data: bytes) -> str:
        assert target is not None, "BUG: an export without --blobs has a place"
        registrations = target.backend.registrations
        return registrations.upload(deployment.project, deployment.domain, name, data)

    resolved = resolved_of(bundle, deployment, embedded=False)
    wanted = entities(addressed(bundle, resolved, deployment, keep if blobs else upload))
    pods = [i.name for i, task in wanted.tasks if task.template.HasField("k8s_pod")]
    return Exported(
        archive=flytectl_archive([*wanted.tasks, *wanted.workflows, wanted.launch_plan]),
        version=bundle.manifest.version,
        blobs=kept,
        notes=tuple(
            f"flytectl drops `primary_container_name` of the pod of `{name}`: push it instead"
            for name in pods
        ),
    )
