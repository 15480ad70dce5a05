"""What a push would register, as the archive of `flytectl register files`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mfbuild.flyte.archive import flytectl_archive
from mfbuild.flyte.resolve import Entities
from mfbuild.flyte.templates import address
from mfbuild.push.deployment import Deployment
from mfbuild.push.push import File, files_of, resolved_of, send_files
from mfbuild.push.record import site_of
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
    bundle: Source, deployment: Deployment, target: PushTarget, *, blobs: str | None
) -> Exported:
    """The archive of `bundle`, for a real Flyte whatever the target is.

    Code and plan are uploaded to `target`; with `blobs`, a URL, they come back by their names below
    it instead. UsageError for what is missing for a Flyte.
    """
    site = site_of(bundle.manifest, replace(target, embedded=False), deployment)
    resolved = resolved_of(bundle, site)
    files = files_of(bundle, resolved)
    kept: Mapping[str, bytes] = {}
    if blobs is None:
        addresses = send_files(files, site, target.backend.registrations).addresses
    else:
        addresses, kept = _below(blobs.rstrip("/"), files)
    return Exported(
        archive=_archive(resolved.entities(addresses)),
        version=bundle.manifest.version,
        blobs=kept,
        notes=tuple(
            f"flytectl drops `primary_container_name` of the pod of `{task.id.name}`: "
            "push it instead"
            for task in resolved.tasks.values()
            if task.HasField("k8s_pod")
        ),
    )


def _below(url: str, files: Sequence[File]) -> tuple[Mapping[str, str], Mapping[str, bytes]]:
    """The addresses of `files` below a URL, and their content by the paths below it."""
    paths = {file.input: f"{file.digest.hex}/{file.name}" for file in files}
    addresses = {file.input: address(f"{url}/{paths[file.input]}", file.digest) for file in files}
    return addresses, {paths[file.input]: file.read() for file in files}


def _archive(entities: Entities) -> bytes:
    return flytectl_archive([*entities.tasks, *entities.workflows, entities.launch_plan])
